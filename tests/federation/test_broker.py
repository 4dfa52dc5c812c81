# SPDX-License-Identifier: Apache-2.0
"""The broker: what it carries, what it refuses, and that a refusal says who and why."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.exchange import About, Answer, Refused, Target, target_of
from federation.outcome import LinkProblem
from protocol.answer import AnswerEnvelope, AnswerType
from protocol.envelope import Address, Envelope
from protocol.hop import HopRecord
from protocol.membership import DataClass, Role
from protocol.problem_catalog import CATALOG
from protocol.route import ROUTE, Announcement
from protocol.signature import sign
from tests.federation.forged import code_of, problem_of, sealed
from tests.federation.world import (
    CHECKUP,
    CONSENT,
    EVERYTHING,
    TREATMENT,
    BrokerNode,
    City,
    Node,
    World,
)

Two = tuple[City, City]
MAX_BYTES = 8 * 1024 * 1024


async def handed(source: Node, broker: BrokerNode, envelope: Envelope) -> str:
    """Hand an envelope to a broker as `source`; return the code of the outcome."""
    return problem_of(await broker.serve(source.peer, envelope.pack()))


def refusal_of(outcome: Answer | Refused) -> tuple[str, str | None]:
    """Return code and author of a refusal that was signed."""
    assert isinstance(outcome, Refused)
    assert outcome.refusal.signed
    return outcome.refusal.code, outcome.refusal.by


# ------------------------------------------------------------------ who, how often


async def test_member_that_speaks_for_another_is_refused(two_cities: Two) -> None:
    """Forged sender: the home broker knows whose link it is."""
    hoshino, minato = two_cities
    hall, market = hoshino.admit("hall"), hoshino.admit("market")
    envelope = sealed(hall, minato.admit("clinic").target())
    assert await handed(market, hoshino.broker, envelope) == "wrong-issuer"


async def test_neighbor_that_speaks_for_our_member_is_refused(two_cities: Two) -> None:
    """Forged sender: a city's requests never come in from outside."""
    hoshino, minato = two_cities
    envelope = sealed(hoshino.admit("hall"), hoshino.admit("clinic").target())
    assert await handed(minato.broker, hoshino.broker, envelope) == "wrong-issuer"


async def test_membership_class_bounds_what_a_member_asks(two_cities: Two) -> None:
    """The refusal comes from the member's own broker, before anything leaves."""
    hoshino, minato = two_cities
    clinic = minato.admit("clinic")
    shop = hoshino.admit("shop", classes=(DataClass.OPEN,))
    assert refusal_of(await shop.read(clinic)) == (
        "membership-class",
        "hoshino/broker",
    )
    assert minato.broker.outcomes == []


async def test_rate_is_limited_by_peer(two_cities: Two) -> None:
    """The refusal says how long to wait; others are served on."""
    hoshino, minato = two_cities
    clinic, hall, market = (
        minato.admit("clinic"),
        hoshino.admit("hall"),
        hoshino.admit("market"),
    )
    hoshino.broker.waits[hall.node] = 1_500
    limited = await hall.read(clinic)
    assert refusal_of(limited) == ("rate-limited", "hoshino/broker")
    assert isinstance(limited, Refused)
    assert limited.refusal.retry_after_ms == 1_500
    assert code_of(await market.read(clinic)) == "ok"


async def test_faulty_requests_count_against_the_rate(two_cities: Two) -> None:
    """Flood of expired requests: each refusal costs a signature, so it is limited."""
    hoshino, minato = two_cities
    hall = hoshino.admit("hall")
    envelope = sealed(hall, minato.admit("clinic").target(), lasts_ms=0)
    hoshino.broker.waits[hall.node] = 1
    assert await handed(hall, hoshino.broker, envelope) == "rate-limited"


# ------------------------------------------------------------------ times and loops


async def test_request_past_its_deadline_is_refused(two_cities: Two) -> None:
    """A late envelope, held back by somebody, ends at the next broker."""
    hoshino, minato = two_cities
    hall = hoshino.admit("hall")
    envelope = sealed(hall, minato.admit("clinic").target())
    hall.clock.move(10_000)
    assert await handed(hall, hoshino.broker, envelope) == "deadline-passed"


async def test_other_request_with_the_same_id_is_not_carried(two_cities: Two) -> None:
    """Replay with a new signature: the id alone counts."""
    hoshino, minato = two_cities
    hall, clinic = hoshino.admit("hall"), minato.admit("clinic")
    first = sealed(hall, clinic.target())
    second = sealed(hall, clinic.target(), exchange=first.header.id)
    assert await handed(hall, hoshino.broker, first) == "sealed"
    assert await handed(hall, hoshino.broker, second) == "loop"


async def test_replay_after_the_deadline_ends_by_the_deadline(two_cities: Two) -> None:
    """When the id is forgotten, the time refuses in its stead."""
    hoshino, minato = two_cities
    hall = hoshino.admit("hall")
    envelope = sealed(hall, minato.admit("clinic").target())
    assert await handed(hall, hoshino.broker, envelope) == "sealed"
    hall.clock.move(60_000)
    assert await handed(hall, hoshino.broker, envelope) == "deadline-passed"


def point(table: City, through: City, to: City) -> None:
    """Make a broker believe that `to` is behind `through`, whatever is true."""
    body = Announcement(
        iss=through.id,
        aud=table.id,
        jti="made-up",
        iat=0,
        exp=2**40,
        origin=to.id,
        path=(through.id, to.id),
        sequence=0,
        keys=to.broker.keys(),
    )
    table.broker.routes.learn(through.id, sign(through.operating, ROUTE, body))


async def test_loop_in_the_routes_ends_before_it_closes(world: World) -> None:
    """Two brokers that each take the other for the way carry it once each."""
    hoshino, minato, yamanami = world.chain("hoshino", "minato", "yamanami")
    kyoto = world.city("kyoto")
    point(hoshino, minato, kyoto)
    point(minato, yamanami, kyoto)
    point(yamanami, minato, kyoto)
    outcome = await hoshino.admit("hall").ping(kyoto.broker.named())
    assert refusal_of(outcome) == ("no-route", "yamanami/broker")
    assert isinstance(outcome, Refused)
    brokers = [record.by.city for record in outcome.hops]
    assert brokers == ["hoshino", "minato", "yamanami"]


async def test_hop_budget_ends_at_the_broker_that_exceeds_it(world: World) -> None:
    """Hop overrun: the third broker refuses a budget of two, and says so."""
    first, _, last = world.chain("hoshino", "minato", "yamanami")
    outcome = await first.admit("hall").read(last.admit("clinic"), hops=2)
    assert refusal_of(outcome) == ("hop-budget-exhausted", "yamanami/broker")


# ----------------------------------------------------------------------- addresses


async def test_member_of_another_city_is_not_reached_by_name(two_cities: Two) -> None:
    """Members are addressed by token, so that nobody between learns them."""
    hoshino, minato = two_cities
    clinic = minato.admit("clinic")
    named = target_of(clinic.membership.body, None)
    outcome = await hoshino.admit("hall").read(named)
    assert refusal_of(outcome) == ("token-invalid", "minato/broker")
    assert clinic.received == []


async def test_member_of_the_same_city_is_reached_by_name(two_cities: Two) -> None:
    """Within a city the broker knows everybody anyway."""
    hoshino, _ = two_cities
    named = target_of(hoshino.admit("clinic").membership.body, None)
    assert code_of(await hoshino.admit("hall").read(named)) == "ok"


@pytest.mark.parametrize("role", [Role.BROKER, Role.DIRECTORY])
async def test_broker_and_directory_are_reached_by_name(
    two_cities: Two, role: Role
) -> None:
    """They serve other cities, and everybody knows them."""
    hoshino, minato = two_cities
    server = minato.admit("second", roles=(role,))
    target = target_of(server.membership.body, None)
    assert code_of(await hoshino.admit("hall").ping(target)) == "ok"


async def test_broker_answers_for_itself(two_cities: Two) -> None:
    """Its own endpoint is one end, with a hop record like any other."""
    hoshino, minato = two_cities
    outcome = await hoshino.admit("hall").ping(minato.broker.named())
    assert isinstance(outcome, Answer)
    assert [record.by for record in outcome.hops] == ["hoshino/broker", "minato/broker"]


async def test_address_without_node_and_token_is_refused(two_cities: Two) -> None:
    """A city alone is no destination."""
    hoshino, minato = two_cities
    target = Target(
        Address(city=minato.id),
        minato.broker.opening.public,
        minato.broker.named().answers,
    )
    outcome = await hoshino.admit("hall").ping(target)
    assert refusal_of(outcome) == ("malformed", "minato/broker")


def by_token(holder: Node, token: str) -> Target:
    """Return the target for a holder under some token."""
    return target_of(holder.membership.body, token)


async def test_token_for_another_city_is_refused(two_cities: Two) -> None:
    """Made for another broker: it does not open."""
    hoshino, minato = two_cities
    clinic, hall = minato.admit("clinic"), hoshino.admit("hall")
    outcome = await hall.read(by_token(clinic, hoshino.token(clinic.node)))
    assert refusal_of(outcome) == ("token-invalid", "minato/broker")


async def test_token_that_names_a_node_of_another_city_is_refused(
    two_cities: Two,
) -> None:
    """A broker hands over to its own members only."""
    hoshino, minato = two_cities
    clinic, hall = minato.admit("clinic"), hoshino.admit("hall")
    outcome = await hall.read(by_token(clinic, minato.token(hall.node)))
    assert refusal_of(outcome) == ("token-invalid", "minato/broker")


async def test_token_under_another_consent_is_refused(two_cities: Two) -> None:
    """Swapped consent: the token was made for one."""
    hoshino, minato = two_cities
    clinic = minato.admit("clinic")
    target = by_token(clinic, minato.token(clinic.node, consent="d" * 43))
    outcome = await hoshino.admit("hall").read(target)
    assert refusal_of(outcome) == ("token-invalid", "minato/broker")


async def test_token_for_plain_routing_serves_any_consent(two_cities: Two) -> None:
    """Tokens that a city's members make for themselves are bound to none."""
    hoshino, minato = two_cities
    target = minato.admit("clinic").target(consent="")
    assert code_of(await hoshino.admit("hall").read(target)) == "ok"


async def test_expired_token_is_refused_even_if_it_was_used_before(
    two_cities: Two,
) -> None:
    """Expired token: remembering what it says must not keep it alive."""
    hoshino, minato = two_cities
    clinic, hall = minato.admit("clinic"), hoshino.admit("hall")
    target = by_token(clinic, minato.token(clinic.node, life_s=60))
    assert code_of(await hall.read(target)) == "ok"
    hall.clock.move(60_000)
    outcome = await hall.read(target)
    assert refusal_of(outcome) == ("token-invalid", "minato/broker")


@given(token=st.text(max_size=300))
@settings(max_examples=30)
async def test_garbage_token_is_refused(token: str) -> None:
    """Whatever stands there, the answer is the same."""
    hoshino, minato = World().chain("hoshino", "minato")
    target = by_token(minato.admit("clinic"), token)
    outcome = await hoshino.admit("hall").read(target)
    assert refusal_of(outcome) == ("token-invalid", "minato/broker")


async def test_node_without_a_link_is_unreachable(two_cities: Two) -> None:
    """The destination's broker says so, without naming the node."""
    hoshino, minato = two_cities
    clinic = minato.admit("clinic")
    minato.broker.wire(clinic).up = False
    outcome = await hoshino.admit("hall").read(clinic)
    assert refusal_of(outcome) == ("peer-unreachable", "minato/broker")
    assert isinstance(outcome, Refused)
    assert "clinic" not in outcome.refusal.detail


# ------------------------------------------------------------------- hidden holders


async def test_hidden_holder_answers_under_the_member_key(two_cities: Two) -> None:
    """The answer is the city's member's; the holder stands nowhere in it."""
    hoshino, minato = two_cities
    outcome = await hoshino.admit("hall").read(minato.admit("clinic").hidden())
    assert isinstance(outcome, Answer)
    assert outcome.by == "minato"
    assert {record.next for record in outcome.hops} == {"minato", "member"}


@pytest.mark.parametrize(
    ("consent", "expected"), [(CONSENT, "ok"), ("", "token-invalid")]
)
async def test_guess_who_a_hidden_holder_is_tells_nothing(
    two_cities: Two, consent: str, expected: str
) -> None:
    """Unmasking: a requester makes tokens itself, one for each node of the city.

    Were each handed to the node that it names, the one that works would name the
    holder. So a right guess and a wrong one must end alike, in every way.
    """
    hoshino, minato = two_cities
    clinic, school = minato.admit("clinic"), minato.admit("school")
    hidden, hall = clinic.hidden(), hoshino.admit("hall")
    for guess in (clinic, school, minato.broker):
        token = minato.token(guess.node, consent=consent)
        address = Address(city=minato.id, token=token)
        outcome = await hall.read(replace(hidden, address=address))
        assert code_of(outcome) == expected
        assert "school" not in repr(outcome)
        assert "clinic" not in repr(outcome)
    assert school.received == []


async def test_member_key_that_the_city_did_not_certify_is_refused(
    two_cities: Two,
) -> None:
    """There is nobody to hand it to, whatever the token says."""
    hoshino, minato = two_cities
    clinic = minato.admit("clinic")
    target = replace(clinic.hidden(), member="m" * 43)
    outcome = await hoshino.admit("hall").read(target)
    assert refusal_of(outcome) == ("token-invalid", "minato/broker")
    assert clinic.received == []


async def test_member_key_is_not_answered_by_name(two_cities: Two) -> None:
    """Unmasking within a city, where nodes are reached by name."""
    _, minato = two_cities
    clinic = minato.admit("clinic")
    hidden = clinic.hidden()
    named = Target(
        Address(city=minato.id, node=clinic.node),
        hidden.sealing,
        hidden.answers,
        hidden.member,
    )
    outcome = await minato.admit("school").read(named)
    assert refusal_of(outcome) == ("token-invalid", "minato/broker")
    assert clinic.received == []


async def test_failure_of_a_hidden_holder_is_told_by_the_broker(
    two_cities: Two,
) -> None:
    """An unsealed problem is signed anew: same code, the broker's name."""
    hoshino, minato = two_cities
    clinic = minato.admit("clinic")
    target = clinic.hidden()
    clinic.secrets.clear()
    outcome = await hoshino.admit("hall").read(target)
    assert refusal_of(outcome) == ("token-invalid", "minato/broker")
    assert isinstance(outcome, Refused)
    assert [record.by for record in outcome.hops] == ["hoshino/broker", "minato/broker"]


@pytest.mark.parametrize("payload", [b"minato-clinic", b"\xff\x00", b"x" * 100_000])
async def test_holder_cannot_put_words_into_the_broker_s_mouth(
    two_cities: Two, payload: bytes
) -> None:
    """Only codes that everybody knows are repeated."""
    hoshino, minato = two_cities
    clinic = minato.admit("clinic")
    problem = AnswerEnvelope(AnswerType.PROBLEM, b"", payload).pack()
    minato.broker.wire(clinic).on_answer = lambda answer: problem
    outcome = await hoshino.admit("hall").read(clinic)
    assert refusal_of(outcome) == ("internal", "minato/broker")


async def test_member_that_adds_hop_records_to_its_answer_is_refused(
    two_cities: Two,
) -> None:
    """A member has carried nothing, so it has no hop records."""
    hoshino, minato = two_cities
    clinic = minato.admit("clinic")
    record = HopRecord(
        by=minato.broker.node, next="x", at_ms=0, decision="forward", prev="p" * 43
    )
    minato.broker.wire(clinic).on_answer = lambda answer: AnswerEnvelope(
        AnswerType.SEALED, record.encode() + b"\n", answer
    ).pack()
    outcome = await hoshino.admit("hall").read(clinic)
    assert refusal_of(outcome) == ("malformed", "minato/broker")


async def test_broker_s_own_failure_is_signed(two_cities: Two) -> None:
    """Sealed to a key it no longer has: the asker learns that, not `answer-invalid`."""
    hoshino, minato = two_cities
    stale = Target(
        Address(city=minato.id, node=minato.broker.node),
        hoshino.broker.opening.public,
        minato.broker.named().answers,
    )
    outcome = await hoshino.admit("hall").ping(stale)
    assert refusal_of(outcome) == ("cannot-open", "minato/broker")


# ------------------------------------------------------------------------ agreements


async def test_city_without_a_route_is_told_at_home(two_cities: Two) -> None:
    """The member's own broker knows that there is no way."""
    hoshino, _ = two_cities
    kyoto = hoshino.world.city("kyoto")
    outcome = await hoshino.admit("hall").ping(kyoto.broker.named())
    assert refusal_of(outcome) == ("no-route", "hoshino/broker")


async def test_expired_agreement_ends_exchanges_at_once(two_cities: Two) -> None:
    """Routes that were announced under it do not outlive it."""
    hoshino, minato = two_cities
    hall, clinic = hoshino.admit("hall"), minato.admit("clinic")
    hoshino.world.agreements.clear()
    assert refusal_of(await hall.read(clinic)) == ("no-agreement", "hoshino/broker")


async def test_destination_s_city_judges_by_its_own_agreement(world: World) -> None:
    """The first broker may have another opinion of what was agreed."""
    hoshino, minato = world.chain("hoshino", "minato")
    hall, clinic = hoshino.admit("hall"), minato.admit("clinic")
    envelope = sealed(hall, clinic.target())
    answered = await hoshino.broker.serve(hall.peer, envelope.pack())
    assert problem_of(answered) == "sealed"
    carried = sealed(hoshino.broker, clinic.target(), sender=hoshino.broker.node)
    world.agree(hoshino, minato, a_to_b=EVERYTHING.model_copy(update={"purposes": ()}))
    outcome = await handed(hoshino.broker, minato.broker, carried)
    assert outcome == "agreement-purpose"


async def test_transit_that_was_not_granted_is_refused_by_the_transit_city(
    world: World,
) -> None:
    """A neighbor that sends through us without leave, although no route was told."""
    hoshino, minato, yamanami = world.chain("hoshino", "minato", "yamanami")
    no_transit = EVERYTHING.model_copy(update={"transit": False})
    world.agree(hoshino, minato, a_to_b=no_transit)
    clinic = yamanami.admit("clinic")
    envelope = sealed(hoshino.broker, clinic.target())
    outcome = await handed(hoshino.broker, minato.broker, envelope)
    assert outcome == "transit-refused"


async def test_closed_data_does_not_leave_even_within_one_lie(two_cities: Two) -> None:
    """Neither asked for by name of the class, nor with the class left out."""
    hoshino, minato = two_cities
    hall, clinic = hoshino.admit("hall"), minato.admit("clinic")
    closed = About(CHECKUP, TREATMENT, DataClass.CLOSED, CONSENT)
    omitted = About(CHECKUP, TREATMENT, None, CONSENT)
    assert code_of(await hall.read(clinic, closed)) == "closed-outside-city"
    assert code_of(await hall.read(clinic, omitted)) == "membership-class"
    assert clinic.received == []


# ------------------------------------------------------------- links that do not work


def diamond(world: World) -> tuple[City, City, City, City]:
    """Return hoshino, two cities between, and yamanami; nabari comes before minato."""
    hoshino, nabari, minato, yamanami = (
        world.city(name) for name in ("hoshino", "nabari", "minato", "yamanami")
    )
    for between in (minato, nabari):
        world.join(hoshino, between)
        world.join(between, yamanami)
    world.settle()
    return hoshino, minato, nabari, yamanami


async def test_other_route_serves_when_the_first_neighbor_has_no_link(
    world: World,
) -> None:
    """Failure of a path moves traffic to another, before anybody has told."""
    hoshino, minato, nabari, yamanami = diamond(world)
    hall, clinic = hoshino.admit("hall"), yamanami.admit("clinic")
    first = await hall.read(clinic)
    assert isinstance(first, Answer)
    assert first.hops[1].by == "minato/broker"
    hoshino.broker.wire(minato.broker).up = False
    second = await hall.read(clinic)
    assert isinstance(second, Answer)
    assert second.hops[1].by == "nabari/broker"
    hoshino.broker.wire(nabari.broker).up = False
    assert refusal_of(await hall.read(clinic))[0] == "peer-unreachable"


async def test_other_route_serves_when_the_first_agreement_does_not_cover_it(
    world: World,
) -> None:
    """Our own agreement with one neighbor forbids what another's allows."""
    hoshino, minato, _, yamanami = diamond(world)
    narrow = EVERYTHING.model_copy(update={"purposes": ()})
    world.agree(hoshino, minato, a_to_b=narrow)
    outcome = await hoshino.admit("hall").read(yamanami.admit("clinic"))
    assert isinstance(outcome, Answer)
    assert outcome.hops[1].by == "nabari/broker"


async def test_silent_holder_is_named_by_its_city(world: World) -> None:
    """A timeout says which hop was silent, and reaches the asker in time."""
    cities = world.chain("hoshino", "minato", "nabari", "yamanami")
    clinic = cities[-1].admit("clinic")
    cities[-1].broker.wire(clinic).silent = True
    outcome = await cities[0].admit("hall").read(clinic)
    assert refusal_of(outcome) == ("timeout", "yamanami/broker")
    assert isinstance(outcome, Refused)
    assert outcome.refusal.detail == "the holder was silent"
    assert len(outcome.hops) == 4


@pytest.mark.parametrize("lasts_ms", [320, 10_000, 120_000])
async def test_silent_broker_is_named_by_the_one_before_it(
    world: World, lasts_ms: int
) -> None:
    """However short or long the asker waits."""
    cities = world.chain("hoshino", "minato", "nabari", "yamanami")
    cities[1].broker.wire(cities[2].broker).silent = True
    hall, clinic = cities[0].admit("hall"), cities[-1].admit("clinic")
    outcome = await hall.read(clinic, timeout_ms=lasts_ms)
    assert refusal_of(outcome) == ("timeout", "minato/broker")
    assert isinstance(outcome, Refused)
    assert outcome.refusal.detail == "nabari/broker was silent"
    assert outcome.took_ms < lasts_ms


async def test_link_that_breaks_meanwhile_is_not_tried_anew(two_cities: Two) -> None:
    """Whether the request was done is unknown, so the asker decides."""
    hoshino, minato = two_cities
    hall, clinic = hoshino.admit("hall"), minato.admit("clinic")
    wire = hoshino.broker.wire(minato.broker)

    def breaks(answer: bytes) -> bytes:
        wire.up = False
        raise LinkProblem("overloaded", 700)

    wire.on_answer = breaks
    outcome = await hall.read(clinic)
    assert refusal_of(outcome) == ("overloaded", "hoshino/broker")
    assert isinstance(outcome, Refused)
    assert outcome.refusal.retry_after_ms == 700


async def test_words_of_a_foreign_link_are_not_repeated(two_cities: Two) -> None:
    """A neighbor cannot fill our metrics and records with names of its own."""
    hoshino, minato = two_cities

    def refuses(answer: bytes) -> bytes:
        raise LinkProblem("name-of-the-day-4711")

    hoshino.broker.wire(minato.broker).on_answer = refuses
    outcome = await hoshino.admit("hall").read(minato.admit("clinic"))
    assert refusal_of(outcome) == ("internal", "hoshino/broker")
    assert set(hoshino.broker.outcomes) <= {"forward", *CATALOG}


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x01",
        struct.pack(">BI", 1, 0xFFFFFFFF),
        struct.pack(">BI", 1, 10) + b"short",
        struct.pack(">BI", 9, 0) + b"unknown type",
        bytes(MAX_BYTES + 1),
    ],
    ids=["empty", "truncated", "overflow", "short", "type", "large"],
)
async def test_malformed_answer_of_a_neighbor_becomes_our_refusal(
    two_cities: Two, answer: bytes
) -> None:
    """A neighbor's rubbish neither raises here nor goes on to the asker."""
    hoshino, minato = two_cities
    hoshino.broker.wire(minato.broker).on_answer = lambda _: answer
    outcome = await hoshino.admit("hall").read(minato.admit("clinic"))
    code, by = refusal_of(outcome)
    assert code in ("malformed", "too-large")
    assert by == "hoshino/broker"


# ----------------------------------------------------------------- hostile envelopes


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", "malformed"),
        (b"\x01\x00", "malformed"),
        (b"\x03" + bytes(8), "unsupported-version"),
        (struct.pack(">BII", 1, 2**31, 0), "too-large"),
        (struct.pack(">BII", 1, 0, 2**31), "too-large"),
        (struct.pack(">BII", 1, 100, 0) + b"short", "malformed"),
        (bytes(MAX_BYTES + 1), "too-large"),
    ],
    ids=["empty", "prefix", "version", "header", "hops", "truncated", "large"],
)
async def test_envelope_without_a_readable_header_ends_at_the_link(
    two_cities: Two, payload: bytes, code: str
) -> None:
    """There is nothing to sign a refusal about."""
    hoshino, _ = two_cities
    with pytest.raises(LinkProblem) as caught:
        await hoshino.broker.serve(hoshino.admit("hall").peer, payload)
    assert caught.value.slug == code


@dataclass(frozen=True)
class Quiet:
    """A broker, who is linked to it, and a packed request; shared by many examples."""

    broker: BrokerNode
    member: Node
    neighbor: Node
    packed: bytes
    foreign: Envelope


@pytest.fixture(scope="module")
def quiet() -> Quiet:
    """Return two cities in which nothing else happens."""
    hoshino, minato = World(seed="quiet").chain("hoshino", "minato")
    hall, clinic = hoshino.admit("hall"), minato.admit("clinic")
    packed = sealed(hall, clinic.target()).pack()
    foreign = sealed(clinic, hall.target())
    return Quiet(hoshino.broker, hall, minato.broker, packed, foreign)


async def survives(broker: BrokerNode, source: Node, payload: bytes) -> None:
    """Hold the broker to its word: a bounded answer, or `LinkProblem`."""
    try:
        answer = await broker.serve(source.peer, payload)
    except LinkProblem as problem:
        assert problem.slug in CATALOG
    else:
        assert len(answer) <= MAX_BYTES + 1024
        assert problem_of(answer) in {"sealed", *CATALOG}


@given(payload=st.binary(max_size=2_000))
@settings(max_examples=200)
async def test_arbitrary_bytes_raise_nothing_but_link_problem(
    quiet: Quiet, payload: bytes
) -> None:
    """Nonsense of any length."""
    await survives(quiet.broker, quiet.member, payload)


@given(data=st.data())
@settings(max_examples=300)
async def test_damaged_envelope_raises_nothing_but_link_problem(
    quiet: Quiet, data: st.DataObject
) -> None:
    """A good envelope with bytes changed, cut out, or put in; from either side."""
    packed = quiet.packed
    where = data.draw(st.integers(0, len(packed)))
    behind = where + data.draw(st.integers(0, 40))
    damaged = packed[:where] + data.draw(st.binary(max_size=40)) + packed[behind:]
    source = data.draw(st.sampled_from([quiet.member, quiet.neighbor]))
    await survives(quiet.broker, source, damaged)


@given(before=st.binary(max_size=200), after=st.binary(max_size=200))
@settings(max_examples=200)
async def test_arbitrary_hop_records_raise_nothing_but_link_problem(
    quiet: Quiet, before: bytes, after: bytes
) -> None:
    """What a neighbor claims about the route so far, around a record of its own."""
    envelope = quiet.foreign
    record = HopRecord(
        by=quiet.neighbor.node, next="x", at_ms=0, decision="ok", prev="p" * 43
    )
    for hops in (before, before + record.encode() + after, before + b"\n" + after):
        forged = Envelope(envelope.token, hops, envelope.body)
        await survives(quiet.broker, quiet.neighbor, forged.pack())
