# SPDX-License-Identifier: Apache-2.0
"""One exchange seen from its two ends: what is believed, and what is not."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import replace

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.exchange import About, Answer, Asked, ExchangeLimits, Refused, Reply
from federation.outcome import LinkProblem
from protocol.answer import (
    ANSWER,
    AnswerBody,
    AnswerEnvelope,
    AnswerType,
    Done,
    OneToken,
    ReadResult,
)
from protocol.canonical import unb64url
from protocol.consent import Ticket
from protocol.envelope import ROUTING, Envelope, Kind
from protocol.errors import CannotOpen, Malformed, Misuse
from protocol.ids import NodeId
from protocol.membership import MEMBERSHIP, Credentials
from protocol.problem import PROBLEM, ProblemBody, SignedProblem
from protocol.problem_catalog import CATALOG
from protocol.pseudonym import handle, locator
from protocol.request import Body, LocateHandle, LocateLocator, Ping, Read, Warrant
from protocol.sealed import seal_answer
from protocol.session import HolderSession
from protocol.signature import Owner, digest_of, sign, sign_bytes
from protocol.suites import Suite
from tests.federation.forged import code_of, problem_of, sealed
from tests.federation.world import (
    ABOUT,
    CONSENT,
    CONTENT,
    DAY_S,
    City,
    Node,
    World,
)

Ends = tuple[Node, Node]
NAMES = ("hoshino", "minato", "nabari", "yamanami")
MAX_BYTES = 8 * 1024 * 1024


@pytest.fixture
def ends(two_cities: tuple[City, City]) -> Ends:
    """Return a member of each city: who asks, who holds."""
    return two_cities[0].admit("hall"), two_cities[1].admit("clinic")


def invalid(outcome: Answer | Refused) -> str:
    """Return why an answer was not believed; nobody is blamed for it by name."""
    assert isinstance(outcome, Refused)
    assert outcome.refusal.code == "answer-invalid"
    assert outcome.refusal.by is None
    assert not outcome.refusal.signed
    return outcome.refusal.detail


async def judged(asker: Node, envelope: Envelope) -> str:
    """Send an envelope from its member's link; return the code of the outcome."""
    broker = asker.city.broker
    return problem_of(await broker.serve(asker.peer, envelope.pack()))


# ---------------------------------------------------------------------- the whole way


@pytest.mark.parametrize("suite", list(Suite))
@pytest.mark.parametrize("brokers", [1, 2, 3, 4])
async def test_read_is_answered_over_any_number_of_brokers(
    suite: Suite, brokers: int
) -> None:
    """The main job, in both suites; both ends hold the same complete route."""
    cities = World(suite=suite).chain(*NAMES[:brokers])
    hall, clinic = cities[0].admit("hall"), cities[-1].admit("clinic")
    outcome = await hall.read(clinic)
    assert isinstance(outcome, Answer)
    assert isinstance(outcome.result, ReadResult)
    assert outcome.result.records[0].content == CONTENT
    assert outcome.by == clinic.node
    (asked,) = clinic.asked
    assert (asked.sender.sub, asked.request) == (hall.node, outcome.request)
    assert outcome.hops == asked.hops
    assert [hop.by.city for hop in outcome.hops] == list(NAMES[:brokers])
    assert [hop.next for hop in outcome.hops] == [*NAMES[1:brokers], "member"]
    assert {hop.decision for hop in outcome.hops} == {"forward"}


async def test_both_ends_name_the_exchange_alike(ends: Ends) -> None:
    """Digests of request and answer are what both sides' records hold."""
    hall, clinic = ends
    committed: list[str] = []

    async def commit(digest: str) -> None:
        committed.append(digest)

    async def done(asked: Asked) -> Reply:
        return Reply(Done(), commit)

    clinic.endpoint.on({"ping": done})
    outcome = await hall.ping(clinic)
    assert isinstance(outcome, Answer)
    assert committed == [outcome.digest]


# ------------------------------------------------------- requests that are not believed


async def test_request_signed_by_another_member_is_refused(ends: Ends) -> None:
    """Forged sender: its membership is shown, its key has not signed."""
    hall, clinic = ends
    market = hall.city.admit("market")
    envelope = sealed(hall, clinic.target(), signer=market.signing)
    assert await judged(hall, envelope) == "unknown-key"


async def test_key_of_one_organization_cannot_sign_as_another(ends: Ends) -> None:
    """Own membership, own key, another's name in the header."""
    hall, clinic = ends
    market = hall.city.admit("market")
    envelope = sealed(market, clinic.target(), sender=hall.node)
    assert await judged(hall, envelope) == "wrong-issuer"


async def test_membership_that_the_city_did_not_sign_is_refused(ends: Ends) -> None:
    """Forged membership: signed by the node itself, in its city's name."""
    hall, clinic = ends
    own = sign(hall.signing, MEMBERSHIP, hall.membership.body)
    forged = Credentials(membership=own.token, operating=hall.city.certificate)
    envelope = sealed(hall, clinic.target(), credentials=forged)
    assert await judged(hall, envelope) == "unknown-key"


async def test_membership_of_another_city_s_making_is_refused(ends: Ends) -> None:
    """A city cannot admit somebody else's node, even with its own certificate."""
    hall, clinic = ends
    foreign = sign(clinic.city.operating, MEMBERSHIP, hall.membership.body)
    forged = Credentials(membership=foreign.token, operating=clinic.city.certificate)
    envelope = sealed(hall, clinic.target(), credentials=forged)
    assert await judged(hall, envelope) in ("unknown-key", "wrong-issuer")


async def test_expired_membership_is_refused(ends: Ends) -> None:
    """Expired key: a removed node is out when its last membership ends."""
    hall, clinic = ends
    hall.clock.move(DAY_S * 1000)
    assert await judged(hall, sealed(hall, clinic.target())) == "expired"


async def test_swapped_body_is_refused(ends: Ends) -> None:
    """A broker on the way puts another sealed body under the header."""
    hall, clinic = ends
    one, other = sealed(hall, clinic.target()), sealed(hall, clinic.target())
    swapped = Envelope(one.token, b"", other.body)
    assert await judged(hall, swapped) == "malformed"


async def test_body_cannot_be_moved_under_another_sender_s_header(ends: Ends) -> None:
    """Stolen body: mallory signs a header of her own over what hall has sealed."""
    hall, clinic = ends
    mallory = hall.city.admit("mallory")
    stolen = sealed(hall, clinic.target()).body
    header = sealed(mallory, clinic.target()).header
    extra = {"body": digest_of(stolen), "size": len(stolen)}
    token = sign_bytes(mallory.signing, ROUTING, header.encode(), extra)
    envelope = Envelope(token.encode(), b"", stolen)
    assert await judged(mallory, envelope) == "cannot-open"


async def test_body_cannot_be_replaced_by_one_that_opens(ends: Ends) -> None:
    """Anybody can seal to the holder under this header; nobody else can sign for it."""
    hall, clinic = ends
    envelope = sealed(hall, clinic.target())
    mine = sealed(hall, clinic.target(), exchange=envelope.header.id)
    assert mine.received.signature != envelope.received.signature
    pieces = mine.token.split(b".")
    pieces[2] = envelope.token.split(b".")[2]
    forged = Envelope(b".".join(pieces), b"", mine.body)
    assert await judged(hall, forged) == "bad-signature"


async def test_altered_header_is_refused(ends: Ends) -> None:
    """A broker on the way changes the purpose: the body no longer opens."""
    hall, clinic = ends
    envelope = sealed(hall, clinic.target())
    other = sealed(
        hall,
        clinic.target(),
        about=replace(ABOUT, consent=None),
        exchange=envelope.header.id,
    )
    pieces = envelope.token.split(b".")
    pieces[1] = other.token.split(b".")[1]
    forged = Envelope(b".".join(pieces), b"", envelope.body)
    clinic.received.clear()
    assert problem_of(await clinic.serve(hall.peer, forged.pack())) == "cannot-open"


ALTERED: dict[str, Callable[[bytes], bytes]] = {
    "changed": lambda hops: hops.replace(b'"forward"', b'"FORWARD"', 1),
    "dropped": lambda hops: hops.split(b"\n", 1)[1],
    "reordered": lambda hops: b"\n".join(reversed(hops.split(b"\n"))).strip() + b"\n",
    "repeated": lambda hops: hops + hops.split(b"\n")[0] + b"\n",
    "cut off": lambda hops: hops.removesuffix(b"\n"),
}


@pytest.mark.parametrize("how", ALTERED)
async def test_altered_hop_records_are_refused_by_the_holder(
    ends: Ends, how: str
) -> None:
    """Blaming another route: the chain no longer fits."""
    hall, clinic = ends

    def change(payload: bytes) -> bytes:
        envelope = Envelope.unpack(payload, MAX_BYTES)
        hops = ALTERED[how](envelope.hops)
        return Envelope(envelope.token, hops, envelope.body).pack()

    clinic.city.broker.wire(clinic).on_request = change
    assert code_of(await hall.read(clinic)) == "malformed"
    assert clinic.asked == []


async def test_request_that_comes_again_gets_the_same_answer(ends: Ends) -> None:
    """By whoever can reach the holder; it is not executed again."""
    hall, clinic = ends
    packed = sealed(hall, clinic.target(), Ping(), kind=Kind.MANAGE).pack()
    first = await clinic.serve(hall.peer, packed)
    assert problem_of(first) == "sealed"
    assert await clinic.serve(hall.peer, packed) == first
    assert len(clinic.asked) == 1


async def test_other_request_under_the_same_id_is_refused(ends: Ends) -> None:
    """Replay with a new signature: the id was used."""
    hall, clinic = ends
    first = sealed(hall, clinic.target())
    second = sealed(hall, clinic.target(), exchange=first.header.id)
    assert problem_of(await clinic.serve(hall.peer, first.pack())) == "sealed"
    assert problem_of(await clinic.serve(hall.peer, second.pack())) == "replayed"
    assert len(clinic.asked) == 1


async def test_nobody_can_use_up_another_s_exchange_id(ends: Ends) -> None:
    """Somebody who saw the id on its way asks first, under it and in her own name."""
    hall, clinic = ends
    mallory = hall.city.admit("mallory")
    envelope = sealed(hall, clinic.target())
    first = sealed(mallory, clinic.target(), exchange=envelope.header.id)
    assert problem_of(await clinic.serve(hall.peer, first.pack())) == "sealed"
    assert problem_of(await clinic.serve(hall.peer, envelope.pack())) == "sealed"


async def test_request_past_its_deadline_is_not_answered(ends: Ends) -> None:
    """It was held back between the last broker and the holder."""
    hall, clinic = ends
    packed = sealed(hall, clinic.target()).pack()
    hall.clock.move(10_000)
    assert problem_of(await clinic.serve(hall.peer, packed)) == "deadline-passed"


@pytest.mark.parametrize("wrong", ["city", "node"])
async def test_request_addressed_elsewhere_is_not_answered(
    ends: Ends, wrong: str
) -> None:
    """Closed data: brokers judge an address in the city, the body is sealed abroad."""
    hall, clinic = ends
    true = clinic.target()
    address = true.address.model_copy(
        update={"city": hall.city.id}
        if wrong == "city"
        else {"token": None, "node": NodeId("minato/other")}
    )
    envelope = sealed(hall, replace(true, address=address))
    assert problem_of(await clinic.serve(hall.peer, envelope.pack())) == (
        "wrong-audience"
    )


@pytest.mark.parametrize(
    ("kind", "about"),
    [(Kind.MANAGE, ABOUT), (Kind.PUSH, ABOUT), (Kind.READ, About())],
    ids=["housekeeping", "another kind", "about nothing"],
)
async def test_read_must_stand_in_the_header(
    ends: Ends, kind: Kind, about: About
) -> None:
    """Agreements are checked on the header: a read cannot pass as something else."""
    hall, clinic = ends
    outcome = await hall.endpoint.ask(clinic.target(consent=""), kind, Read(), about)
    assert code_of(outcome) == "malformed"
    assert clinic.asked == []


async def test_unknown_query_is_refused_by_the_node_itself(ends: Ends) -> None:
    """A node answers, signed, that it has no such role."""
    hall, clinic = ends
    outcome = await hall.ask(clinic, LocateLocator(locator="l" * 43))
    assert isinstance(outcome, Refused)
    assert outcome.refusal.code == "kind-not-offered"
    assert (outcome.refusal.by, outcome.refusal.signed) == (clinic.node, True)


# -------------------------------------------------------- answers that are not believed


def response_key(clinic: Node, packed: bytes) -> tuple[bytes, Envelope]:
    """Open a request as its holder; return the response key and the request."""
    envelope = Envelope.unpack(packed, MAX_BYTES)
    session = HolderSession.accept(clinic.opening, envelope.parts[0])
    return Body.decode(envelope.open(session), MAX_BYTES).response_key, envelope


def lie(clinic: Node, **changes: object) -> None:
    """Make a holder seal another answer body than it should."""
    wire = clinic.city.broker.wire(clinic)
    packed: list[bytes] = []

    def note(payload: bytes) -> bytes:
        packed.append(payload)
        return payload

    def answer(_: bytes) -> bytes:
        key, envelope = response_key(clinic, packed[0])
        honest = AnswerBody(
            iss=clinic.node,
            aud=envelope.header.sender,
            jti=envelope.header.id,
            iat=clinic.clock.now,
            exp=clinic.clock.now + 60,
            request=envelope.digest,
            hops=digest_of(envelope.hops),
            result=Done(),
        )
        token = sign(clinic.signing, ANSWER, honest.model_copy(update=changes)).token
        closed = seal_answer(key, unb64url(envelope.digest), token.encode())
        return AnswerEnvelope(AnswerType.SEALED, b"", closed).pack()

    wire.on_request, wire.on_answer = note, answer


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, ""),
        ({"request": "r" * 43}, "wrong-audience"),
        ({"aud": "hoshino/market"}, "wrong-audience"),
        ({"iss": "minato/pharmacy"}, "wrong-issuer"),
        ({"hops": "h" * 43}, "malformed"),
        ({"hops": None}, "malformed"),
        ({"result": None}, "malformed"),
        ({"problem": ProblemBody(code="not-found")}, "malformed"),
    ],
    ids=[
        "honest",
        "request",
        "audience",
        "issuer",
        "hops",
        "no hops",
        "empty",
        "both",
    ],
)
async def test_answer_must_be_to_this_request(
    ends: Ends, changes: dict[str, object], fault: str
) -> None:
    """A holder that signs the answer to something else is not believed."""
    hall, clinic = ends
    lie(clinic, **changes)
    outcome = await hall.ping(clinic)
    assert fault == ("" if isinstance(outcome, Answer) else invalid(outcome))


async def test_answer_from_another_key_is_not_believed(ends: Ends) -> None:
    """The asker knows whose answer it wants; a key of the same city will not do."""
    hall, clinic = ends
    pharmacy = clinic.city.admit("pharmacy")
    expected = Owner(clinic.node, pharmacy.signing.public)
    target = replace(clinic.target(), answers=expected)
    assert invalid(await hall.read(target)) == "unknown-key"


async def test_answer_in_another_name_is_not_believed(ends: Ends) -> None:
    """The right key, registered to somebody else."""
    hall, clinic = ends
    expected = Owner("minato/pharmacy", clinic.signing.public)
    target = replace(clinic.target(), answers=expected)
    assert invalid(await hall.read(target)) == "wrong-issuer"


async def test_answer_to_an_earlier_request_is_not_believed(ends: Ends) -> None:
    """Replayed answer: it was sealed under the other request's key."""
    hall, clinic = ends
    kept: list[bytes] = []
    wire = clinic.city.broker.wire(clinic)

    def keep(answer: bytes) -> bytes:
        kept.append(answer)
        return kept[0]

    wire.on_answer = keep
    assert isinstance(await hall.read(clinic), Answer)
    assert invalid(await hall.read(clinic)) == "cannot-open"


@given(where=st.integers(0, 10_000), flip=st.integers(1, 255))
@settings(max_examples=60)
async def test_altered_answer_is_not_believed(where: int, flip: int) -> None:
    """One byte of the sealed answer, changed by the home broker: never an answer."""
    hoshino, minato = World().chain("hoshino", "minato")
    hall, clinic = hoshino.admit("hall"), minato.admit("clinic")

    def change(answer: bytes) -> bytes:
        parts = AnswerEnvelope.unpack(answer, MAX_BYTES)
        at = where % len(parts.payload)
        flipped = bytes([parts.payload[at] ^ flip])
        payload = parts.payload[:at] + flipped + parts.payload[at + 1 :]
        return AnswerEnvelope(parts.type, parts.hops, payload).pack()

    assert hall.home is not None
    hall.home.on_answer = change
    assert invalid(await hall.read(clinic))


@pytest.mark.parametrize("how", ALTERED)
async def test_altered_route_of_an_answer_is_not_believed(ends: Ends, how: str) -> None:
    """The asker keeps no route that does not fit together."""
    hall, clinic = ends

    def change(answer: bytes) -> bytes:
        parts = AnswerEnvelope.unpack(answer, MAX_BYTES)
        return AnswerEnvelope(
            parts.type, ALTERED[how](parts.hops), parts.payload
        ).pack()

    assert hall.home is not None
    hall.home.on_answer = change
    assert invalid(await hall.read(clinic)) == "malformed"


@given(length=st.integers(0, 3_000))
@settings(max_examples=40)
async def test_truncated_answer_is_not_believed(length: int) -> None:
    """Truncated ciphertext, wherever it ends."""
    hoshino, minato = World().chain("hoshino", "minato")
    hall, clinic = hoshino.admit("hall"), minato.admit("clinic")
    assert hall.home is not None
    hall.home.on_answer = lambda answer: answer[: min(length, len(answer) - 1)]
    assert invalid(await hall.read(clinic))


async def test_bare_code_in_clear_is_no_refusal(ends: Ends) -> None:
    """Invented refusal: only what is signed is told to a person."""
    hall, clinic = ends
    bare = AnswerEnvelope(AnswerType.PROBLEM, b"", b"consent-withdrawn").pack()
    assert hall.home is not None
    hall.home.on_answer = lambda _: bare
    assert invalid(await hall.read(clinic))


def problem(
    by: Node,
    envelope: Envelope,
    changes: dict[str, object] | None = None,
    *,
    shown: Node | None = None,
) -> bytes:
    """Return a problem about a request, signed by a node, with lies."""
    honest = SignedProblem(
        iss=by.node,
        aud=envelope.header.sender,
        jti=envelope.header.id,
        iat=by.clock.now,
        exp=by.clock.now + 60,
        request=envelope.digest,
        problem=ProblemBody(code="no-route"),
    )
    token = sign(by.signing, PROBLEM, honest.model_copy(update=changes or {})).token
    payload = f"{token}\n{(shown or by).membership.token}".encode("ascii")
    return AnswerEnvelope(AnswerType.PROBLEM, b"", payload).pack()


async def refused_with(
    hall: Node, clinic: Node, make: Callable[[Envelope], bytes]
) -> Answer | Refused:
    """Ask; the home broker's answer is what `make` says."""
    sent: list[bytes] = []
    wire = hall.home
    assert wire is not None

    def note(payload: bytes) -> bytes:
        sent.append(payload)
        return payload

    wire.on_request = note
    wire.on_answer = lambda _: make(Envelope.unpack(sent[0], MAX_BYTES))
    return await hall.read(clinic)


async def test_problem_of_a_broker_is_believed(ends: Ends) -> None:
    """The honest case, so that the next tests fail for their own reason."""
    hall, clinic = ends
    broker = hall.city.broker
    outcome = await refused_with(hall, clinic, lambda sent: problem(broker, sent))
    assert code_of(outcome) == "no-route"


async def test_problem_signed_by_a_member_is_not_believed(ends: Ends) -> None:
    """Invented refusal: a member is no broker, whatever it signs."""
    hall, clinic = ends
    outcome = await refused_with(hall, clinic, lambda sent: problem(clinic, sent))
    assert invalid(outcome) == "malformed"


async def test_problem_under_another_broker_s_membership_is_not_believed(
    ends: Ends,
) -> None:
    """A member shows the broker's membership, which everybody has."""
    hall, clinic = ends
    outcome = await refused_with(
        hall, clinic, lambda sent: problem(clinic, sent, shown=clinic.city.broker)
    )
    assert invalid(outcome) == "unknown-key"


async def test_problem_of_an_unknown_city_is_not_believed(ends: Ends) -> None:
    """A broker that nobody vouches for."""
    hall, clinic = ends
    stranger = World(seed="elsewhere").city("kyoto").broker
    outcome = await refused_with(hall, clinic, lambda sent: problem(stranger, sent))
    assert invalid(outcome) == "malformed"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"request": "r" * 43}, "wrong-audience"),
        ({"aud": "hoshino/market"}, "wrong-audience"),
        ({"iss": "minato/broker"}, "wrong-issuer"),
    ],
)
async def test_problem_about_another_request_is_not_believed(
    ends: Ends, changes: dict[str, object], fault: str
) -> None:
    """Replayed refusal: true once, of something else."""
    hall, clinic = ends
    broker = hall.city.broker
    outcome = await refused_with(
        hall, clinic, lambda sent: problem(broker, sent, changes)
    )
    assert invalid(outcome) == fault


# ---------------------------------------------------------------- asking without an end


async def test_asking_without_a_link_ends_in_a_refusal(ends: Ends) -> None:
    """Not an exception: nobody has done anything wrong."""
    hall, clinic = ends
    hall.home = None
    assert code_of(await hall.read(clinic)) == "peer-unreachable"


async def test_asking_a_silent_broker_ends_at_the_deadline(ends: Ends) -> None:
    """Nothing waits past its deadline."""
    hall, clinic = ends
    assert hall.home is not None
    hall.home.silent = True
    outcome = await hall.read(clinic, timeout_ms=2_000)
    assert code_of(outcome) == "timeout"
    assert isinstance(outcome, Refused)
    assert outcome.took_ms == 2_000


async def test_link_tells_when_to_ask_again(ends: Ends) -> None:
    """An overloaded link's advice reaches the caller."""
    hall, clinic = ends

    def refuses(_: bytes) -> bytes:
        raise LinkProblem("overloaded", 200)

    assert hall.home is not None
    hall.home.on_request = refuses
    outcome = await hall.read(clinic)
    assert isinstance(outcome, Refused)
    assert (outcome.refusal.code, outcome.refusal.retry_after_ms) == ("overloaded", 200)


async def test_request_beyond_the_limit_is_our_own_mistake(ends: Ends) -> None:
    """Misuse is raised before anything is sent."""
    hall, clinic = ends
    hall.endpoint.limits = ExchangeLimits(max_request_bytes=1_000)
    with pytest.raises(Misuse):
        await hall.read(clinic)
    assert hall.home is not None
    assert hall.home.carried == 0


async def test_record_of_the_request_is_made_before_it_is_sent(ends: Ends) -> None:
    """Whoever asks has it in its own history first, under the request's own name."""
    hall, clinic = ends
    made: list[tuple[str, str, int]] = []

    async def record(exchange: str, request: str) -> None:
        made.append((exchange, request, len(clinic.received)))

    outcome = await hall.endpoint.ask(
        clinic.target(), Kind.READ, Read(), ABOUT, before=record
    )
    assert isinstance(outcome, Answer)
    assert made == [(outcome.exchange, outcome.request, 0)]


async def test_request_that_cannot_be_recorded_is_not_sent(ends: Ends) -> None:
    """No evidence, no question: what the record raises is the caller's to see."""
    hall, clinic = ends

    async def record(exchange: str, request: str) -> None:
        raise CannotOpen("the log is gone")

    with pytest.raises(CannotOpen):
        await hall.endpoint.ask(
            clinic.target(), Kind.READ, Read(), ABOUT, before=record
        )
    assert hall.home is not None
    assert hall.home.carried == 0


# --------------------------------------------------------------------------- answering


async def test_release_is_committed_before_the_answer_leaves(ends: Ends) -> None:
    """Whoever can read an answer can find the release on disk."""
    hall, clinic = ends
    order: list[str] = []

    async def commit(digest: str) -> None:
        order.append("committed")

    async def done(asked: Asked) -> Reply:
        return Reply(Done(), commit)

    def left(answer: bytes) -> bytes:
        order.append("left")
        return answer

    clinic.endpoint.on({"ping": done})
    clinic.city.broker.wire(clinic).on_answer = left
    assert isinstance(await hall.ping(clinic), Answer)
    assert order == ["committed", "left"]


async def test_answer_that_cannot_be_committed_does_not_leave(ends: Ends) -> None:
    """No evidence, no data: the asker gets the problem, and metrics count it."""
    hall, clinic = ends
    counted: list[tuple[str, str]] = []
    clinic.endpoint.observe = lambda op, code: counted.append((op, code))

    async def commit(digest: str) -> None:
        raise CannotOpen("the log is gone")

    async def done(asked: Asked) -> Reply:
        return Reply(OneToken(token="CANARY"), commit)

    clinic.endpoint.on({"ping": done})
    outcome = await hall.ping(clinic)
    assert isinstance(outcome, Refused)
    assert (outcome.refusal.code, outcome.refusal.by) == ("cannot-open", clinic.node)
    assert counted == [("ping", "cannot-open")]


async def test_answer_that_is_too_large_is_neither_committed_nor_sent(
    ends: Ends,
) -> None:
    """What cannot leave is no release."""
    hall, clinic = ends
    clinic.endpoint.limits = ExchangeLimits(max_answer_bytes=30_000)
    committed: list[str] = []

    async def commit(digest: str) -> None:
        committed.append(digest)

    async def done(asked: Asked) -> Reply:
        return Reply(OneToken(token="x" * 20_000), commit)

    clinic.endpoint.on({"ping": done})
    outcome = await hall.ping(clinic)
    assert isinstance(outcome, Refused)
    assert (outcome.refusal.code, outcome.refusal.by) == ("too-large", clinic.node)
    assert committed == []


@pytest.mark.parametrize("hidden", [False, True])
async def test_failure_of_a_handler_is_told_without_naming_a_hidden_holder(
    ends: Ends, hidden: bool
) -> None:
    """The code always, the words only where the holder is known anyway."""
    hall, clinic = ends

    async def fails(asked: Asked) -> Reply:
        raise Malformed(f"{clinic.node} has no such record")

    clinic.endpoint.on({"read": fails})
    target = clinic.hidden() if hidden else clinic.target()
    outcome = await hall.read(target)
    assert isinstance(outcome, Refused)
    assert outcome.refusal.code == "malformed"
    assert ("clinic" in repr(outcome)) is not hidden


# ------------------------------------------------------------------- what parties learn


HIDDEN_NODE, HIDDEN_WORD = "canary-clinic", b"CANARY"


def readable(received: list[bytes]) -> bytes:
    """Return bytes as they came, and all that base64url hides in them, twice over."""
    layers = [b"\n".join(received)]
    for _ in range(2):
        runs = re.findall(rb"[A-Za-z0-9_-]{8,}", layers[-1])
        # Four alignments: a stray byte before a run may belong to its alphabet.
        layers.append(
            b"\n".join(
                base64.urlsafe_b64decode(run[start:] + b"==="[: -len(run[start:]) % 4])
                for run in runs
                for start in range(4)
                if len(run[start:]) % 4 != 1
            )
        )
    return b"\n".join(layers)


def secrets_of(world: World) -> tuple[str, str]:
    """Return handle and locator of a resident at the hidden node."""
    resident = world.entropy(32)
    node = NodeId(f"yamanami/{HIDDEN_NODE}")
    return handle(resident, node), locator(resident, node.city)


def warrant_of(holder: Node, handle_: str) -> Warrant:
    """Return a warrant with the resident's handle sealed to the holder."""
    ticket = Ticket(consent="CANARY-ID", party=holder.node, handle=handle_, salt="s")
    return Warrant(consent="CANARY-CONSENT", ticket=ticket.seal(holder.opening.public))


@pytest.mark.parametrize("hidden", [False, True], ids=["open", "hidden"])
async def test_brokers_on_the_way_learn_neither_holder_nor_resident_nor_content(
    world: World, hidden: bool
) -> None:
    """DESIGN section 2: every byte that each of them received is searched."""
    cities = world.chain(*NAMES)
    hall, clinic = cities[0].admit("hall"), cities[3].admit(HIDDEN_NODE)
    handle_, _ = secrets_of(world)
    query = Read(warrant=warrant_of(clinic, handle_), fields=("CANARY-FIELD",))
    target = clinic.hidden() if hidden else clinic.target()
    outcome = await hall.endpoint.ask(target, Kind.READ, query, ABOUT)
    assert isinstance(outcome, Answer)
    for broker in (city.broker for city in cities):
        seen = readable(broker.received)
        # The search works: it finds what a broker may know.
        assert b"hoshino/hall" in seen
        assert CONSENT.encode() in seen
        assert HIDDEN_WORD not in seen
        assert handle_.encode() not in seen
        # Even the destination's broker is told the holder in a sealed token alone.
        assert HIDDEN_NODE.encode() not in seen
    assert (HIDDEN_NODE in repr(outcome)) is not hidden


async def test_questions_for_a_resident_are_sealed_too(world: World) -> None:
    """Handle and locator travel in bodies only, to holder and directory."""
    cities = world.chain(*NAMES)
    hall, clinic = cities[0].admit("hall"), cities[3].admit(HIDDEN_NODE)
    directory = cities[3].broker
    handle_, locator_ = secrets_of(world)
    await hall.ask(clinic, LocateHandle(handle=handle_), Kind.LOCATE)
    await hall.ask(directory.named(), LocateLocator(locator=locator_), Kind.LOCATE)
    for broker in (city.broker for city in cities):
        seen = readable(broker.received)
        assert b"hoshino/hall" in seen
        assert handle_.encode() not in seen
        assert locator_.encode() not in seen


async def test_failure_at_a_hidden_holder_names_it_to_nobody(world: World) -> None:
    """An error on the way back is searched like an answer."""
    cities = world.chain(*NAMES)
    hall, clinic = cities[0].admit("hall"), cities[3].admit(HIDDEN_NODE)
    target = clinic.hidden()
    clinic.secrets.clear()
    outcome = await hall.read(target)
    assert code_of(outcome) == "token-invalid"
    cities[3].broker.wire(clinic).up = False
    later = await hall.read(target)
    assert code_of(later) == "peer-unreachable"
    assert HIDDEN_NODE not in repr((outcome, later))
    assert HIDDEN_NODE.encode() not in readable(hall.received)
    assert HIDDEN_NODE.encode() not in readable(cities[1].broker.received)


# ------------------------------------------------------------------ hostile envelopes


async def survives(holder: Node, source: Node, packed: bytes) -> None:
    """Hold the endpoint to its word: a bounded answer, never an exception."""
    answer = await holder.serve(source.peer, packed)
    assert len(answer) < 10_000
    assert problem_of(answer) in {"sealed", *CATALOG}


@pytest.fixture(scope="module", params=list(Suite))
def still(request: pytest.FixtureRequest) -> tuple[Node, Node, bytes]:
    """Return asker, holder and a packed request, shared by many examples."""
    world = World(suite=Suite(request.param), seed="still")
    hoshino, minato = world.chain("hoshino", "minato")
    hall, clinic = hoshino.admit("hall"), minato.admit("clinic")
    return hall, clinic, sealed(hall, clinic.target()).pack()


Still = tuple[Node, Node, bytes]


@given(packed=st.binary(max_size=2_000))
@settings(max_examples=100)
async def test_arbitrary_bytes_are_answered(still: Still, packed: bytes) -> None:
    """Nonsense of any length gets a problem in clear."""
    await survives(still[1], still[0], packed)


@given(data=st.data())
@settings(max_examples=200)
async def test_damaged_request_is_answered(still: Still, data: st.DataObject) -> None:
    """Bytes changed, cut out or put in, anywhere: header, hops, sealed body."""
    hall, clinic, packed = still
    where = data.draw(st.integers(0, len(packed)))
    behind = where + data.draw(st.integers(0, 40))
    damaged = packed[:where] + data.draw(st.binary(max_size=40)) + packed[behind:]
    await survives(clinic, hall, damaged)


@given(
    body=st.binary(max_size=300)
    | st.recursive(
        st.none() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["sender", "query", "op", "response_key", "x"]),
                inner,
                max_size=5,
            )
        ),
        max_leaves=12,
    ).map(orjson.dumps)
)
@settings(max_examples=150)
async def test_arbitrary_sealed_bodies_are_answered(still: Still, body: bytes) -> None:
    """Properly sealed nonsense: the seal is anybody's to make."""
    hall, clinic, _ = still
    packed = sealed(hall, clinic.target(), body=body).pack()
    await survives(clinic, hall, packed)


async def test_ping_over_the_strict_suite_only_world() -> None:
    """Nothing in the exchange depends on the default suite."""
    world = World(suite=Suite.STRICT)
    hoshino, minato = world.chain("hoshino", "minato")
    target = minato.admit("clinic").hidden()
    outcome = await hoshino.admit("hall").read(target)
    assert isinstance(outcome, Answer)
    assert outcome.by == "minato"
