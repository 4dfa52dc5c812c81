# SPDX-License-Identifier: Apache-2.0
"""The rules of one relay step: who may hand over what, for how long, under what."""

from __future__ import annotations

import pytest

from federation.exchange import About
from federation.relay import (
    Turned,
    check_agreements,
    check_budget,
    check_peer,
    check_times,
    hop_record,
)
from protocol.agreement import Terms
from protocol.envelope import Envelope, RoutingHeader
from protocol.ids import DatasetTypeName, PurposeName
from protocol.membership import DataClass, Role
from tests.federation.forged import sealed
from tests.federation.world import (
    CHECKUP,
    EVERYTHING,
    TREATMENT,
    City,
    Node,
    World,
)

SKEW_MS, LONGEST_MS = 5_000, 120_000
Row = tuple[World, City, City, City]


@pytest.fixture
def row(world: World) -> Row:
    """Return hoshino, minato and yamanami in a row; the middle one carries."""
    hoshino, minato, yamanami = world.chain("hoshino", "minato", "yamanami")
    return world, hoshino, minato, yamanami


@pytest.fixture
def hall(row: Row) -> Node:
    """Return a member of hoshino."""
    return row[1].admit("hall")


@pytest.fixture
def clinic(row: Row) -> Node:
    """Return a member of yamanami."""
    return row[3].admit("clinic")


def code(turned: Turned | None) -> str:
    """Return the code of a refusal; `pass` for none."""
    return "pass" if turned is None else turned.code


def carried_by(envelope: Envelope, *brokers: Node) -> Envelope:
    """Return the envelope with a hop record of each broker."""
    for broker in brokers:
        record = hop_record(
            envelope, by=broker.node, goes_to="next", now_ms=0, decision="forward"
        )
        envelope = envelope.with_hop(record)
    return envelope


# --------------------------------------------------------------------- who speaks


def test_member_speaks_for_itself(row: Row, hall: Node, clinic: Node) -> None:
    """The ordinary case passes."""
    envelope = sealed(hall, clinic.target())
    assert check_peer(envelope, hall.peer, hall.city.id) is None


def test_member_cannot_speak_for_another_member(
    row: Row, hall: Node, clinic: Node
) -> None:
    """Forged sender: the link proves who a member is."""
    market = row[1].admit("market")
    envelope = sealed(hall, clinic.target())
    assert code(check_peer(envelope, market.peer, row[1].id)) == "wrong-issuer"


def test_member_cannot_bring_hop_records(row: Row, hall: Node, clinic: Node) -> None:
    """A made-up history would blame others for the route."""
    envelope = carried_by(sealed(hall, clinic.target()), row[2].broker)
    assert code(check_peer(envelope, hall.peer, row[1].id)) == "malformed"


@pytest.mark.parametrize(
    "about",
    [
        About(CHECKUP, TREATMENT, DataClass.SPECIAL_CARE),
        About(CHECKUP, TREATMENT, None),
        About(None, None, DataClass.SPECIAL_CARE),
    ],
    ids=["class beyond the membership", "class left out", "type left out"],
)
def test_membership_bounds_the_data_class(row: Row, clinic: Node, about: About) -> None:
    """Leaving out the class, or the type, is no way past the membership."""
    shop = row[1].admit("shop", classes=(DataClass.OPEN,))
    envelope = sealed(shop, clinic.target(), about=about)
    assert code(check_peer(envelope, shop.peer, row[1].id)) == "membership-class"


def test_housekeeping_needs_no_data_class(row: Row, clinic: Node) -> None:
    """A member without any data class can still renew and ping."""
    shop = row[1].admit("shop", classes=())
    envelope = sealed(shop, clinic.target(), about=About())
    assert check_peer(envelope, shop.peer, row[1].id) is None


def test_neighbor_brings_its_own_hop_record(row: Row, hall: Node, clinic: Node) -> None:
    """What the broker of the sender's city has carried passes."""
    broker = row[1].broker
    envelope = carried_by(sealed(hall, clinic.target()), broker)
    assert check_peer(envelope, broker.peer, row[2].id) is None


def test_neighbor_cannot_speak_for_our_members(
    row: Row, hall: Node, clinic: Node
) -> None:
    """Forged sender: nothing of ours comes back in from outside."""
    broker = row[2].broker
    envelope = carried_by(sealed(hall, clinic.target()), broker)
    assert code(check_peer(envelope, broker.peer, row[1].id)) == "wrong-issuer"


def test_neighbor_without_its_hop_record_is_refused(
    row: Row, hall: Node, clinic: Node
) -> None:
    """A broker cannot leave itself out of the route."""
    envelope = sealed(hall, clinic.target())
    turned = check_peer(envelope, row[1].broker.peer, row[2].id)
    assert code(turned) == "malformed"


def test_neighbor_cannot_end_the_route_with_another_broker(
    row: Row, hall: Node, clinic: Node
) -> None:
    """The last record is the peer's own."""
    envelope = carried_by(sealed(hall, clinic.target()), row[3].broker)
    turned = check_peer(envelope, row[1].broker.peer, row[2].id)
    assert code(turned) == "malformed"


def test_broker_of_another_city_asks_in_its_own_name(row: Row, clinic: Node) -> None:
    """What a broker itself asks has no hop record yet."""
    broker = row[1].broker
    envelope = sealed(broker, clinic.target())
    assert check_peer(envelope, broker.peer, row[2].id) is None


def test_only_brokers_carry_between_cities(row: Row, hall: Node, clinic: Node) -> None:
    """A member of another city gets no service even for itself."""
    envelope = sealed(hall, clinic.target())
    assert code(check_peer(envelope, hall.peer, row[2].id)) == "no-agreement"


# --------------------------------------------------------------------- times, hops


@pytest.mark.parametrize(
    ("age_ms", "lasts_ms", "expected"),
    [
        (0, 10_000, "pass"),
        (9_999, 10_000, "pass"),
        (10_000, 10_000, "deadline-passed"),
        (-SKEW_MS, 10_000, "pass"),
        (-SKEW_MS - 1, 10_000, "not-yet-valid"),
        (0, LONGEST_MS, "pass"),
        (0, LONGEST_MS + 1, "malformed"),
    ],
)
def test_exchange_has_its_time(
    hall: Node, clinic: Node, age_ms: int, lasts_ms: int, expected: str
) -> None:
    """Over, from the future, or for ever: refused; the borders are exact."""
    now_ms = hall.clock.now_ms()
    header = sealed(
        hall, clinic.target(), iat_ms=now_ms - age_ms, lasts_ms=lasts_ms
    ).header
    assert code(check_times(header, now_ms, SKEW_MS, LONGEST_MS)) == expected


def test_each_broker_costs_one_hop(row: Row, hall: Node, clinic: Node) -> None:
    """A budget of two lets two brokers carry it."""
    envelope = sealed(hall, clinic.target(), hops=2)
    assert check_budget(envelope, 8) is None
    envelope = carried_by(envelope, row[1].broker)
    assert check_budget(envelope, 8) is None
    envelope = carried_by(envelope, row[2].broker)
    assert code(check_budget(envelope, 8)) == "hop-budget-exhausted"


def test_our_own_limit_bounds_the_budget(row: Row, hall: Node, clinic: Node) -> None:
    """The sender's budget cannot widen ours."""
    envelope = carried_by(sealed(hall, clinic.target(), hops=16), row[1].broker)
    assert code(check_budget(envelope, 1)) == "hop-budget-exhausted"


# --------------------------------------------------------------------- agreements


def judged(
    row: Row,
    header: RoutingHeader,
    *,
    came_from: City,
    city: City,
    goes_to: City,
    carried: int = 1,
) -> str:
    """Return what the agreements of `city` say to one step."""
    world = row[0]
    return code(
        check_agreements(
            header,
            city=city.id,
            came_from=came_from.id,
            goes_to=goes_to.id,
            a=lambda other: world.agreed(city.id, other),
            carried=carried,
        )
    )


def first_step(row: Row, header: RoutingHeader) -> str:
    """Hoshino sends to minato."""
    _, hoshino, minato, _ = row
    return judged(row, header, came_from=hoshino, city=hoshino, goes_to=minato)


def middle_step(row: Row, header: RoutingHeader) -> str:
    """Minato carries on from hoshino to yamanami."""
    _, hoshino, minato, yamanami = row
    return judged(
        row, header, came_from=hoshino, city=minato, goes_to=yamanami, carried=2
    )


def last_step(row: Row, header: RoutingHeader) -> str:
    """Yamanami takes it from minato."""
    _, _, minato, yamanami = row
    return judged(
        row, header, came_from=minato, city=yamanami, goes_to=yamanami, carried=3
    )


STEPS = [first_step, middle_step, last_step]


def test_agreements_on_everything_let_it_pass(
    row: Row, hall: Node, clinic: Node
) -> None:
    """All three steps of a way over three cities."""
    header = sealed(hall, clinic.target()).header
    assert [step(row, header) for step in STEPS] == ["pass"] * 3


def test_without_agreement_nothing_passes(row: Row, hall: Node, clinic: Node) -> None:
    """Neither in nor out."""
    row[0].agreements.clear()
    header = sealed(hall, clinic.target()).header
    assert [step(row, header) for step in STEPS] == ["no-agreement"] * 3


def test_expired_agreement_is_none(row: Row, hall: Node, clinic: Node) -> None:
    """An agreement ends on its day."""
    row[0].clock.move(366 * 86_400_000)
    header = sealed(hall, clinic.target()).header
    assert [step(row, header) for step in STEPS] == ["no-agreement"] * 3


NARROW: dict[str, dict[str, object]] = {
    "agreement-dataset-type": {"dataset_types": (DatasetTypeName("town.bus"),)},
    "agreement-purpose": {"purposes": (PurposeName("research"),)},
    "agreement-data-class": {"data_classes": (DataClass.OPEN,)},
    "transit-refused": {"transit": False},
    "hop-budget-exhausted": {"hop_limit": 1},
}


@pytest.mark.parametrize("refusal", NARROW)
def test_terms_hold_for_what_hoshino_asks_of_minato(
    row: Row, hall: Node, clinic: Node, refusal: str
) -> None:
    """Both brokers of the agreement refuse; the one beyond judges its own."""
    world, hoshino, minato, _ = row
    narrow = EVERYTHING.model_copy(update=NARROW[refusal])
    world.agree(hoshino, minato, a_to_b=narrow)
    header = sealed(hall, clinic.target()).header
    found = [step(row, header) for step in STEPS]
    assert found == [refusal, refusal, "pass"]


@pytest.mark.parametrize("refusal", NARROW)
def test_terms_of_the_other_direction_do_not_matter(
    row: Row, hall: Node, clinic: Node, refusal: str
) -> None:
    """What minato may ask of hoshino says nothing about the reverse."""
    world, hoshino, minato, _ = row
    narrow = EVERYTHING.model_copy(update=NARROW[refusal])
    world.agree(hoshino, minato, b_to_a=narrow)
    header = sealed(hall, clinic.target()).header
    assert [step(row, header) for step in STEPS] == ["pass"] * 3


def test_terms_hold_for_the_request_that_goes_back(row: Row, hall: Node) -> None:
    """The same agreement, asked from its other side."""
    world, hoshino, minato, _ = row
    world.agree(hoshino, minato, b_to_a=Terms())
    nursery = minato.admit("nursery")
    header = sealed(nursery, hall.target()).header
    out = judged(row, header, came_from=minato, city=minato, goes_to=hoshino)
    into = judged(row, header, came_from=minato, city=hoshino, goes_to=hoshino)
    assert (out, into) == ("agreement-data-class", "agreement-data-class")


def test_transit_is_not_needed_between_neighbors(row: Row, hall: Node) -> None:
    """An agreement without transit still serves the two cities themselves."""
    world, hoshino, minato, _ = row
    world.agree(
        hoshino, minato, a_to_b=EVERYTHING.model_copy(update={"transit": False})
    )
    header = sealed(hall, minato.admit("nursery").target()).header
    out = judged(row, header, came_from=hoshino, city=hoshino, goes_to=minato)
    into = judged(row, header, came_from=hoshino, city=minato, goes_to=minato)
    assert (out, into) == ("pass", "pass")


def test_transit_of_the_last_agreement_is_not_asked(
    row: Row, hall: Node, clinic: Node
) -> None:
    """Yamanami is the destination: minato needs no transit through it."""
    world, _, minato, yamanami = row
    world.agree(
        minato, yamanami, a_to_b=EVERYTHING.model_copy(update={"transit": False})
    )
    header = sealed(hall, clinic.target()).header
    assert [step(row, header) for step in STEPS] == ["pass"] * 3


def test_closed_data_never_leaves_its_city(row: Row, hall: Node, clinic: Node) -> None:
    """No agreement can allow it: `closed` counts for nothing in terms."""
    world, hoshino, minato, _ = row
    terms = EVERYTHING.model_copy(update={"data_classes": tuple(DataClass)})
    world.agree(hoshino, minato, terms, terms)
    about = About(CHECKUP, TREATMENT, DataClass.CLOSED)
    header = sealed(hall, clinic.target(), about=about).header
    assert [step(row, header) for step in STEPS] == ["closed-outside-city"] * 3


def test_closed_data_moves_within_its_city(row: Row, hall: Node) -> None:
    """Two members of one city may exchange it."""
    about = About(CHECKUP, TREATMENT, DataClass.CLOSED)
    market = row[1].admit("market")
    header = sealed(hall, market.target(), about=about).header
    here = row[1]
    assert judged(row, header, came_from=here, city=here, goes_to=here) == "pass"


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        (About(CHECKUP, TREATMENT, None), "agreement-data-class"),
        (About(CHECKUP, None, DataClass.OPEN), "agreement-purpose"),
    ],
)
def test_what_is_left_out_is_not_covered(
    row: Row, hall: Node, clinic: Node, about: About, expected: str
) -> None:
    """A header without class or purpose passes no agreement that names some."""
    world, hoshino, minato, _ = row
    named = EVERYTHING.model_copy(update={"purposes": (TREATMENT,)})
    world.agree(hoshino, minato, a_to_b=named)
    header = sealed(hall, clinic.target(), about=about).header
    assert first_step(row, header) == expected


def test_housekeeping_needs_an_agreement_and_no_more(
    row: Row, hall: Node, clinic: Node
) -> None:
    """Pings and renewals name no dataset type; empty terms let them pass."""
    world, hoshino, minato, _ = row
    world.agree(hoshino, minato, a_to_b=Terms(transit=True))
    header = sealed(hall, clinic.target(), about=About()).header
    assert [step(row, header) for step in STEPS] == ["pass"] * 3
    world.agreements.clear()
    assert first_step(row, header) == "no-agreement"


def test_broker_role_makes_the_broker(row: Row, clinic: Node) -> None:
    """Not the name: a node called otherwise carries if its city says so."""
    relay = row[1].admit("relay", roles=(Role.BROKER,))
    assert relay.peer.is_broker
    assert not clinic.peer.is_broker
