# SPDX-License-Identifier: Apache-2.0
"""Hop records: a chain that shows what was dropped, moved or changed."""

import pytest

from protocol.errors import Malformed, TooLarge
from protocol.hop import (
    MAX_HOPS,
    HopRecord,
    append,
    check_route,
    count,
    last_digest,
    last_record,
    parse,
)
from protocol.ids import CityId, NodeId
from protocol.signature import digest_of
from tests.protocol.exchanges import hop_chain

HEADER = digest_of(b"a routing header")
BROKERS = ("minato/broker", "yamanami/broker", "hoshino/broker")


def chain() -> bytes:
    """Return three hop records."""
    return hop_chain(HEADER, *BROKERS)


def lines() -> list[bytes]:
    """Return them one by one."""
    return chain().splitlines(keepends=True)


def test_chain_tells_the_brokers_in_order() -> None:
    """What the two ends are to learn."""
    assert tuple(record.by for record in parse(chain(), HEADER)) == BROKERS


def test_no_hops_are_a_valid_chain() -> None:
    """Before the first broker there is nothing."""
    assert parse(b"", HEADER) == ()


def test_count_needs_no_parsing() -> None:
    """A broker counts hops on the hot path."""
    assert [count(b""), count(lines()[0]), count(chain())] == [0, 1, 3]


def test_last_record_is_the_peers() -> None:
    """A broker holds the last record to the peer that handed the exchange over."""
    assert last_record(chain()).by == "hoshino/broker"
    assert last_record(lines()[0]).by == "minato/broker"


def test_first_record_names_the_header() -> None:
    """So a chain cannot be moved to another exchange."""
    assert last_digest(b"", HEADER) == HEADER
    with pytest.raises(Malformed, match="broken"):
        parse(chain(), digest_of(b"another header"))


@pytest.mark.parametrize("gone", [0, 1])
def test_dropped_record_shows(gone: int) -> None:
    """A broker that hides the one before it breaks the chain."""
    left = [line for i, line in enumerate(lines()) if i != gone]
    with pytest.raises(Malformed, match="broken"):
        parse(b"".join(left), HEADER)


def test_reordered_records_show() -> None:
    """The order is part of the chain."""
    first, second, third = lines()
    with pytest.raises(Malformed, match="broken"):
        parse(first + third + second, HEADER)


def test_duplicated_record_shows() -> None:
    """The same line twice does not follow itself."""
    first, second, third = lines()
    with pytest.raises(Malformed, match="broken"):
        parse(first + second + second + third, HEADER)


def test_changed_record_shows() -> None:
    """Whoever rewrites a time breaks what stands after it."""
    first, second, third = lines()
    other = HopRecord.decode(second[:-1]).model_copy(update={"at_ms": 1}).encode()
    with pytest.raises(Malformed, match="broken"):
        parse(first + other + b"\n" + third, HEADER)


def test_truncated_record_shows() -> None:
    """The last line must be whole, its line feed included."""
    with pytest.raises(Malformed, match="broken"):
        parse(chain()[:-1], HEADER)
    with pytest.raises(Malformed):
        parse(chain()[:-9], HEADER)


def test_broker_twice_in_a_chain_is_a_loop() -> None:
    """Loops are impossible, also for one who links the records rightly."""
    looped = hop_chain(HEADER, "minato/broker", "hoshino/broker", "minato/broker")
    with pytest.raises(Malformed, match="twice"):
        parse(looped, HEADER)


def test_record_in_another_spelling_is_refused() -> None:
    """White space or a carriage return would make a second spelling of one record."""
    for spelling in (chain().replace(b":", b": ", 1), chain().replace(b"\n", b"\r\n")):
        with pytest.raises(Malformed):
            parse(spelling, HEADER)


def test_more_records_than_hops_are_refused() -> None:
    """The number of records is bounded before any of them is read."""
    full = hop_chain(HEADER, *(f"city-{n}/broker" for n in range(MAX_HOPS)))
    assert len(parse(full, HEADER)) == MAX_HOPS
    with pytest.raises(TooLarge):
        parse(b"\n" * (MAX_HOPS + 1), HEADER)


def test_long_records_are_refused_unread() -> None:
    """A single record cannot be as long as it likes."""
    with pytest.raises(TooLarge):
        parse(b"x" * (MAX_HOPS * 1024 + 1), HEADER)
    with pytest.raises(Malformed):
        parse(b"x" * (MAX_HOPS * 1024), HEADER)


def test_append_leaves_earlier_records_alone() -> None:
    """Nothing is re-serialized on the way."""
    record = last_record(chain())
    assert append(chain(), record) == chain() + record.encode() + b"\n"


def _route(*steps: tuple[str, str], decision: str = "forward") -> list[HopRecord]:
    return [
        HopRecord(
            by=NodeId(f"{city}/broker"),
            next=following,
            at_ms=1,
            decision=decision,
            prev="A" * 43,
        )
        for city, following in steps
    ]


HOSHINO, MINATO, YAMANAMI = CityId("hoshino"), CityId("minato"), CityId("yamanami")
WHOLE = (("hoshino", "minato"), ("minato", "yamanami"), ("yamanami", "member"))


def test_route_from_sender_to_receiver_passes() -> None:
    """Over three cities, within one, and by a second broker of the last."""
    check_route(_route(*WHOLE), HOSHINO, YAMANAMI)
    check_route(_route(("hoshino", "member")), HOSHINO, HOSHINO)
    check_route([], HOSHINO, HOSHINO)
    beside = _route(*WHOLE[:2], ("yamanami", "yamanami"))
    check_route(beside, HOSHINO, YAMANAMI)


@pytest.mark.parametrize(
    "steps",
    [
        WHOLE[1:],
        WHOLE[:2],
        (WHOLE[0], WHOLE[2]),
        (WHOLE[1], WHOLE[0], WHOLE[2]),
        (*WHOLE, ("yamanami", "member")),
    ],
    ids=["first", "last", "between", "order", "twice"],
)
def test_route_with_a_record_missing_or_out_of_place_is_refused(
    steps: tuple[tuple[str, str], ...],
) -> None:
    """Attack: a last broker that makes the chain before it anew."""
    with pytest.raises(Malformed):
        check_route(_route(*steps), HOSHINO, YAMANAMI)


def test_broker_that_refused_has_handed_nothing_on() -> None:
    """Attack: take a refusal for a record of the way."""
    with pytest.raises(Malformed):
        check_route(_route(*WHOLE, decision="no-route"), HOSHINO, YAMANAMI)
