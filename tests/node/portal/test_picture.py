# SPDX-License-Identifier: Apache-2.0
"""The picture of where data is: everything inside, nothing on top of another."""

from hypothesis import given
from hypothesis import strategies as st

from node.portal.picture import Box, draw
from protocol.ids import NodeId

NODES = st.builds(
    lambda city, label: NodeId(f"{city}/{label}"),
    st.sampled_from(["hoshino", "minato", "yamanami"]),
    st.sampled_from(["clinic", "pharmacy", "market", "hall"]),
)
HOLDERS = st.dictionaries(NODES, st.integers(0, 10_000), max_size=12)
RELEASES = st.dictionaries(st.tuples(NODES, NODES), st.integers(1, 99), max_size=12)


def _overlap(one: Box, other: Box) -> bool:
    return (
        one.x < other.x + other.width
        and other.x < one.x + one.width
        and one.y < other.y + other.height
        and other.y < one.y + one.height
    )


@given(HOLDERS, RELEASES)
def test_everything_is_inside_and_apart(
    holders: dict[NodeId, int], releases: dict[tuple[NodeId, NodeId], int]
) -> None:
    """Whatever was found."""
    releases = {pair: n for pair, n in releases.items() if pair[0] in holders}
    picture = draw(holders, releases, {}, "{count} records")
    assert len(picture.nodes) == len({*holders, *(to for _, to in releases)})
    assert len(picture.arrows) == len(releases)
    for boxes in (picture.cities, picture.nodes):
        for at, box in enumerate(boxes):
            assert 0 <= box.x <= box.x + box.width <= picture.width
            assert 0 <= box.y <= box.y + box.height <= picture.height
            assert not any(_overlap(box, other) for other in boxes[at + 1 :])


def test_nothing_found_is_an_empty_picture() -> None:
    """No box, no arrow."""
    picture = draw({}, {}, {}, "{count}")
    assert (picture.cities, picture.nodes, picture.arrows) == ((), (), ())


def test_names_and_counts_are_shown() -> None:
    """A recipient that holds nothing has no count."""
    clinic, shop = NodeId("hoshino/clinic"), NodeId("minato/shop")
    names = {clinic: "Clinic with a very long name of its own", "hoshino": "Hoshino"}
    picture = draw({clinic: 3}, {(clinic, shop): 2}, names, "{count} records")
    holder, recipient = picture.nodes
    assert (holder.label, holder.note) == ("Clinic with a very long…", "3 records")
    assert (recipient.label, recipient.kind, recipient.note) == (
        "minato/shop",
        "recipient",
        "",
    )
    assert picture.cities[0].label == "Hoshino"
