# SPDX-License-Identifier: Apache-2.0
"""A member that lies: in others' names, twice, elsewhere, yesterday, about persons.

Its envelopes are made by hand and go out over its real link. Each ends in a stable
code, and nobody has released, stored or noted anything but the refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from federation.outcome import LinkProblem
from protocol.answer import (
    ANSWER,
    AnswerBody,
    AnswerEnvelope,
    AnswerType,
    Entries,
    Holdings,
)
from protocol.canonical import unb64url
from protocol.consent import CONSENT, Consent
from protocol.envelope import Address, Envelope, Kind, RoutingHeader
from protocol.ids import CityId, ExchangeId, NodeId, uuid7
from protocol.membership import DataClass
from protocol.problem import PROBLEM, SignedProblem
from protocol.problem_catalog import CATALOG
from protocol.request import (
    Body,
    ConsentNotice,
    LocateHandle,
    LocateLocator,
    MemberKeyQuery,
    Ping,
    Query,
    Read,
    RegisterLocation,
    TicketsQuery,
    Warrant,
)
from protocol.sealed import open_answer
from protocol.session import NONCE_BYTES, AskerSession
from protocol.signature import Received, digest_of, sign
from tests.simulation.town import (
    CHECKUP,
    CLINIC,
    FAR_CLINIC,
    HALL,
    MARKET,
    OTHER_HALL,
    RELEASED,
    TREATMENT,
    Town,
    outcome,
    play,
)

pytestmark = pytest.mark.slow

KEY = bytes(range(32))


@dataclass(frozen=True)
class Forgery:
    """An envelope as an honest node would make it, and what is changed in it.

    Attributes:
        header: changes to the routing header.
        shown: whose credentials; None for the sender's.
        sealed_to: to whose key; None to the destination's.
        signed_by: with whose key; None with our own.
        payload: changes the finished bytes.
    """

    header: dict[str, Any]
    shown: str | None = None
    sealed_to: str | None = None
    signed_by: str | None = None
    payload: Callable[[bytes], bytes] = bytes


PLAIN = Forgery({})


async def _send(
    town: Town,
    forgery: Forgery,
    query: Query | None = None,
    *,
    sender: str = FAR_CLINIC,
    to: str = CLINIC,
    repeat: int = 1,
) -> str:
    """Send a forged envelope over the sender's link; return what came back."""
    payload = await _make(town, forgery, query or Ping(), sender, to)
    found = town.parts(sender).peers.broker_of(NodeId(sender).city)
    assert found is not None
    answer = b""
    for _ in range(repeat):
        deadline_ms = town.clock.now_ms() + 5_000
        try:
            answer = await found[1].request(payload, deadline_ms=deadline_ms)
        except LinkProblem as problem:
            return problem.slug
    return _read(answer, payload)


async def _make(
    town: Town, forgery: Forgery, query: Query, sender: str, to: str
) -> bytes:
    parts, now_ms = town.parts(sender), town.clock.now_ms()
    target = await parts.addressbook.target(NodeId(to))
    values: dict[str, Any] = {
        "id": ExchangeId(str(uuid7(now_ms, town.federation.nodes[sender].chance(10)))),
        "kind": Kind.MANAGE,
        "sender": NodeId(sender),
        "to": target.address,
        "hops": 6,
        "iat_ms": now_ms,
        "deadline_ms": now_ms + 5_000,
        **forgery.header,
    }
    sealing = target.sealing
    if forgery.sealed_to is not None:
        other = await parts.addressbook.target(NodeId(forgery.sealed_to))
        sealing = other.sealing
    signer = town.parts(forgery.signed_by or sender).exchanges.signer
    shown = town.parts(forgery.shown or sender).standing.credentials()
    session = AskerSession.start(sealing, shown, KEY, now_ms // 1000 + 600)
    body = Body(KEY, query).encode()
    envelope = Envelope.seal(
        RoutingHeader(**values), body, session, signer, b"\0" * NONCE_BYTES
    )
    return forgery.payload(envelope.pack())


def _read(answer: bytes, payload: bytes) -> str:
    """Return the code of an answer, `released` for a result."""
    parts = AnswerEnvelope.unpack(answer, 1 << 24)
    if parts.type is AnswerType.PROBLEM:
        token = parts.payload.decode().partition("\n")[0]
        return Received.parse(token, PROBLEM).peek(SignedProblem).problem.code
    digest = Envelope.unpack(payload, 1 << 24).digest
    opened = open_answer(KEY, unb64url(digest), parts.payload)
    body = Received.parse(opened, ANSWER).peek(AnswerBody)
    return RELEASED if body.problem is None else body.problem.code


def test_honest_envelope_made_by_hand_is_answered() -> None:
    """The control: without a lie the same hands get an answer."""
    assert play(lambda town: _send(town, PLAIN)) == RELEASED


def _later(seconds: int) -> Callable[[Town], Forgery]:
    def make(town: Town) -> Forgery:
        iat_ms = town.clock.now_ms() + seconds * 1000
        return Forgery({"iat_ms": iat_ms, "deadline_ms": iat_ms + 5_000})

    return make


def _named(town: Town) -> Forgery:
    return Forgery({"to": Address(city=CityId("hoshino"), node=NodeId(CLINIC))})


def _credentials(node: str) -> Callable[[Town], Forgery]:
    return lambda town: Forgery({}, shown=node)


def _fixed(forgery: Forgery) -> Callable[[Town], Forgery]:
    return lambda town: forgery


LIES: dict[str, tuple[Callable[[Town], Forgery], str]] = {
    "speaks for a member of its city": (
        _fixed(Forgery({"sender": NodeId("yamanami/bosai")})),
        "wrong-issuer",
    ),
    "speaks for a member of another city": (
        _fixed(Forgery({"sender": NodeId(MARKET)})),
        "wrong-issuer",
    ),
    "speaks for its broker": (
        _fixed(Forgery({"sender": NodeId("yamanami/broker")})),
        "wrong-issuer",
    ),
    "shows the credentials of another": (_credentials(MARKET), "unknown-key"),
    "signs with another key": (
        _fixed(Forgery({}, signed_by=MARKET)),
        "unknown-key",
    ),
    "is over": (_later(-600), "deadline-passed"),
    "is from the future": (_later(600), "not-yet-valid"),
    "wants to wait for an hour": (
        lambda town: Forgery({"deadline_ms": town.clock.now_ms() + 3_600_000}),
        "malformed",
    ),
    "has no hops left": (_fixed(Forgery({"hops": 1})), "hop-budget-exhausted"),
    "names a member of another city": (_named, "token-invalid"),
    "goes to a city that nobody knows": (
        _fixed(
            Forgery(
                {"to": Address(city=CityId("atlantis"), node=NodeId("atlantis/king"))},
            )
        ),
        "no-route",
    ),
    "is sealed to somebody else": (
        _fixed(Forgery({}, sealed_to=HALL)),
        "cannot-open",
    ),
    "has a token of its own making": (
        _fixed(Forgery({"to": Address(city=CityId("hoshino"), token="AAAA" * 60)})),
        "token-invalid",
    ),
    "names a member key that is not there": (
        _fixed(Forgery({"member": digest_of(b"nobody")})),
        "token-invalid",
    ),
    "is about closed data": (
        _fixed(
            Forgery(
                {
                    "dataset_type": CHECKUP,
                    "purpose": TREATMENT,
                    "data_class": DataClass.CLOSED,
                },
            )
        ),
        "closed-outside-city",
    ),
    "is cut off": (_fixed(Forgery({}, payload=lambda p: p[:200])), "malformed"),
    "is of another version": (
        _fixed(Forgery({}, payload=lambda p: b"\x07" + p[1:])),
        "unsupported-version",
    ),
    "is noise": (
        _fixed(Forgery({}, payload=lambda p: b"\x00" * 64)),
        "unsupported-version",
    ),
    "claims hops": (
        _fixed(Forgery({}, payload=lambda p: _with_hops(p))),
        "malformed",
    ),
}


def _with_hops(payload: bytes) -> bytes:
    envelope = Envelope.unpack(payload, 1 << 24)
    return replace(envelope, hops=b'{"by":"yamanami/broker"}\n').pack()


@pytest.fixture(scope="module")
def answers() -> dict[str, str]:
    """Return what came of each lie, all told in one world."""

    async def story(town: Town) -> dict[str, str]:
        found = {name: await _send(town, lie(town)) for name, (lie, _) in LIES.items()}
        assert town.history(CLINIC) == []
        return found

    return play(story)


@pytest.mark.parametrize("lie", LIES)
def test_lie_is_refused_with_a_stable_code(answers: dict[str, str], lie: str) -> None:
    """By the first party that can tell."""
    assert answers[lie] == LIES[lie][1]
    assert answers[lie] in CATALOG


def test_replay_within_the_window_changes_nothing_and_ends_soon() -> None:
    """The same answer twice more, then the broker refuses it."""

    async def story(town: Town) -> tuple[str, str]:
        return await _send(town, PLAIN, repeat=3), await _send(town, PLAIN, repeat=4)

    assert play(story) == (RELEASED, "loop")


def test_replay_after_the_window_is_refused() -> None:
    """By then its deadline has passed."""

    async def story(town: Town) -> str:
        payload = await _make(town, PLAIN, Ping(), FAR_CLINIC, CLINIC)
        found = town.parts(FAR_CLINIC).peers.broker_of(CityId("yamanami"))
        assert found is not None
        answers = []
        for _ in range(2):
            soon_ms = town.clock.now_ms() + 5_000
            answer = await found[1].request(payload, deadline_ms=soon_ms)
            answers.append(_read(answer, payload))
            await town.sleep(11)
        assert answers[0] == RELEASED
        return answers[1]

    assert play(story) == "deadline-passed"


def test_header_cannot_hide_a_read_from_the_agreements() -> None:
    """Attack: a read in a housekeeping envelope, which brokers let pass."""

    async def story(town: Town) -> str:
        hanako = await town.resident_with_checkups()
        warrant = await town.warrant(FAR_CLINIC, await town.consent(hanako))
        code = await _send(town, PLAIN, Read(warrant=warrant))
        assert town.provisions(CLINIC) == []
        return code

    assert play(story) == "malformed"


async def _two_persons(town: Town) -> tuple[Warrant, Warrant]:
    """Return warrants for Hanako and for Taro, both for the far clinic."""
    warrants = []
    for login, number in (("hanako", "H-1"), ("taro", "H-2")):
        resident = await town.resident_with_checkups(login=login, local_id=number)
        consent = await town.consent(resident)
        warrants.append(await town.warrant(FAR_CLINIC, consent))
    return warrants[0], warrants[1]


def test_persons_cannot_be_swapped_in_tickets() -> None:
    """Attack: Hanako's consent with Taro's ticket."""

    async def story(town: Town) -> None:
        hanako, taro = await _two_persons(town)
        swapped = hanako.model_copy(update={"ticket": taro.ticket})
        code = await town.read_by_hand(FAR_CLINIC, swapped)
        assert code == "consent-not-for-subject"
        assert town.provisions(CLINIC) == []
        assert await town.read_by_hand(FAR_CLINIC, hanako) == RELEASED

    play(story)


FORGED_PARTS: dict[str, tuple[Callable[[Warrant, Warrant], dict[str, Any]], str]] = {
    "ticket": (
        lambda one, other: {"ticket": one.ticket[:-6] + "AAAAAA"},
        "consent-not-for-subject",
    ),
    "no ticket": (lambda one, other: {"ticket": "AAAA"}, "consent-not-for-subject"),
    "other consent": (lambda one, other: {"consent": other.consent}, "malformed"),
    "consent": (
        lambda one, other: {"consent": one.consent[:-6] + "AAAAAA"},
        "bad-signature",
    ),
    "no proof": (lambda one, other: {"proof": None}, "proof-missing"),
    "other document": (lambda one, other: {"proof": one.consent}, "wrong-type"),
    "no credentials": (lambda one, other: {"home": None}, "malformed"),
}


@pytest.fixture(scope="module")
def forged_parts() -> dict[str, str]:
    """Return what came of each forged part, all tried in one world."""

    async def story(town: Town) -> dict[str, str]:
        one, other = await _two_persons(town)
        found = {}
        for name, (change, code) in FORGED_PARTS.items():
            forged = one.model_copy(update=change(one, other))
            # The routing header still names the first consent.
            named = forged if code == "bad-signature" else one
            digest = digest_of(named.consent.encode())
            found[name] = await town.read_by_hand(FAR_CLINIC, forged, consent=digest)
        assert town.provisions(CLINIC) == []
        return found

    return play(story)


@pytest.mark.parametrize("name", FORGED_PARTS)
def test_warrant_with_a_forged_part_is_refused(
    forged_parts: dict[str, str], name: str
) -> None:
    """Whatever part it is."""
    assert forged_parts[name] == FORGED_PARTS[name][1]


def test_consent_cannot_be_widened_by_its_recipient() -> None:
    """Attack: sign a broader copy with one's own key."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        scope = [{"dataset_type": CHECKUP, "fields": ["hba1c_percent"]}]
        consent = await town.consent(hanako, scope=scope)
        warrant = await town.warrant(FAR_CLINIC, consent)
        claims = Received.parse(warrant.consent, CONSENT).peek(Consent)
        wide = claims.model_copy(
            update={"scope": (claims.scope[0].model_copy(update={"fields": None}),)}
        )
        parts = town.parts(FAR_CLINIC)
        for issuer, home, code in (
            (HALL, warrant.home, "unknown-key"),
            (HALL, parts.standing.credentials(), "malformed"),
            (FAR_CLINIC, parts.standing.credentials(), "malformed"),
        ):
            forged = wide.model_copy(update={"iss": issuer})
            token = sign(parts.exchanges.signer, CONSENT, forged).token
            asked = warrant.model_copy(update={"consent": token, "home": home})
            assert await town.read_by_hand(FAR_CLINIC, asked) == code
        assert town.provisions(CLINIC) == []

    play(story)


def test_only_home_nodes_may_consent_or_withdraw() -> None:
    """A vault node that plays home node is told that it is none."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        kept = town.kept(FAR_CLINIC, consent)
        assert kept is not None
        notice = ConsentNotice(package=kept.package)
        asked = await town.ask(MARKET, FAR_CLINIC, Kind.NOTIFY, notice)
        assert outcome(asked) == "forbidden"
        key = MemberKeyQuery(consent=consent, until=town.now() + 60)
        asked = await town.ask(MARKET, CLINIC, Kind.MANAGE, key)
        assert outcome(asked) == "forbidden"

    play(story)


def test_nobody_learns_of_a_person_by_asking() -> None:
    """A handle of another home node, and one that does not exist, look alike."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        await town.federation.drained()
        parts = town.parts(CLINIC)
        (link,) = parts.database.read(lambda c: list(parts.vault.subjects.links(c)))
        for asker in (OTHER_HALL, MARKET):
            for handle in (link.grant.handle, digest_of(b"nobody")):
                query = LocateHandle(handle=handle)
                asked = await town.ask(asker, CLINIC, Kind.LOCATE, query)
                assert getattr(asked, "result", None) == Holdings(holdings=())
            book = town.parts(asker).addressbook
            locator = LocateLocator(locator=digest_of(b"anyone"))
            target = book.directory(CityId("hoshino"))
            asked = await town.ask(asker, target, Kind.LOCATE, locator)
            assert getattr(asked, "result", None) == Entries(entries=())
            codes = [
                outcome(
                    await town.ask(asker, HALL, Kind.MANAGE, TicketsQuery(consent=name))
                )
                for name in (consent, "no-such-consent")
            ]
            assert codes[0] == codes[1] == "not-found"

    play(story)


def test_directory_takes_registrations_from_the_granted_holder_alone() -> None:
    """Attack: a grant in another node's hands."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        await town.federation.drained()
        parts = town.parts(CLINIC)
        (link,) = parts.database.read(lambda c: list(parts.vault.subjects.links(c)))
        stolen = RegisterLocation(
            grant=link.grant.grant,
            home=link.grant.credentials,
            dataset_types=(CHECKUP,),
        )
        target = town.parts(MARKET).addressbook.directory(CityId("hoshino"))
        asked = await town.ask(MARKET, target, Kind.MANAGE, stolen)
        assert outcome(asked) == "grant-invalid"
        found = await town.locate(hanako)
        assert {one.holder for one in found.found} == {CLINIC}

    play(story)
