# SPDX-License-Identifier: Apache-2.0
"""Kept sessions: what is kept saves work and decides nothing."""

import pytest

from federation.exchange import Answer, Target
from federation.sessions import LIFE_S, Offers, Sessions
from protocol.envelope import Address, Envelope
from protocol.errors import CannotOpen, Expired, NotYetValid
from protocol.session import MAX_LIFE_S, AskerSession
from tests.federation.forged import problem_of, sealed
from tests.federation.world import Node, World


def pair(world: World) -> tuple[Node, Node]:
    """Return an asker and a holder of two neighboring cities."""
    hoshino, minato = world.chain("hoshino", "minato")
    return hoshino.admit("hall"), minato.admit("clinic")


def envelope(asker: Node, target: Target, exp: int) -> Envelope:
    """Return a request whose session ends then."""
    world = asker.city.world
    request = sealed(asker, target)
    session = AskerSession.start(
        target.sealing, asker.credentials(), world.entropy(32), exp
    )
    return Envelope.seal(request.header, b"", session, asker.signing, bytes(12))


def test_session_is_kept_for_one_address() -> None:
    """Two tokens of one holder are not linked by a common offer."""
    world = World()
    asker, clinic = pair(world)
    sessions, now = Sessions(world.entropy), world.clock.now
    one, other = clinic.target(), clinic.target()
    assert one.address != other.address
    first = sessions.with_party(one, asker.credentials(), now)
    assert sessions.with_party(one, asker.credentials(), now) is first
    assert sessions.with_party(other, asker.credentials(), now) is not first


def test_session_ends_with_its_time_and_with_our_credentials() -> None:
    """A renewed membership is shown at once."""
    world = World()
    asker, clinic = pair(world)
    sessions, now = Sessions(world.entropy), world.clock.now
    target, shown = clinic.target(), asker.credentials()
    first = sessions.with_party(target, shown, now)
    assert sessions.with_party(target, shown, now + LIFE_S) is not first
    renewed = shown.model_copy(update={"membership": shown.membership + "A"})
    assert sessions.with_party(target, renewed, now) is not first


def test_offer_that_has_ended_is_refused() -> None:
    """Also when it is remembered."""
    world = World()
    asker, clinic = pair(world)
    now = world.clock.now
    request = envelope(asker, clinic.target(), now + 60)
    offers = Offers(5, lambda opened: None)
    session = offers.open(request, clinic.opening, now)
    offers.keep(request, clinic.opening, session)
    assert offers.open(request, clinic.opening, now) is session
    with pytest.raises(Expired):
        offers.open(request, clinic.opening, now + 66)


def test_offer_for_longer_than_allowed_is_refused() -> None:
    """A secret is not used for ever."""
    world = World()
    asker, clinic = pair(world)
    now = world.clock.now
    request = envelope(asker, clinic.target(), now + MAX_LIFE_S + 6)
    with pytest.raises(NotYetValid):
        Offers(5, lambda opened: None).open(request, clinic.opening, now)


def test_remembered_offer_does_not_open_under_another_key() -> None:
    """What a nameless key opened must not name the node behind it."""
    world = World()
    asker, clinic = pair(world)
    request = sealed(asker, clinic.target())
    offers = Offers(5, lambda opened: None)
    session = offers.open(request, clinic.opening, world.clock.now)
    offers.keep(request, clinic.opening, session)
    with pytest.raises(CannotOpen):
        offers.open(request, asker.opening, world.clock.now)


def test_memory_of_sessions_is_bounded() -> None:
    """The one not used for longest goes first."""
    world = World()
    asker, clinic = pair(world)
    sessions, now = Sessions(world.entropy, size=2), world.clock.now
    base = clinic.target()
    targets = [
        Target(Address(city=base.address.city, token=t), base.sealing, base.answers)
        for t in "abc"
    ]
    made = [sessions.with_party(t, asker.credentials(), now) for t in targets]
    assert sessions.with_party(targets[2], asker.credentials(), now) is made[2]
    assert sessions.with_party(targets[0], asker.credentials(), now) is not made[0]


async def test_stolen_offer_is_of_no_use() -> None:
    """A member puts another's offer in front of a body of its own."""
    world = World()
    asker, clinic = pair(world)
    thief = asker.city.admit("thief")
    target = clinic.target()
    stolen = sealed(asker, target)
    own = sealed(thief, target)
    offer = stolen.body[: 4 + len(stolen.parts[0])]
    session = AskerSession.start(
        target.sealing, thief.credentials(), bytes(32), world.clock.now + 60
    )
    mixed = AskerSession(offer, session.exp, session._cipher)
    request = Envelope.seal(own.header, b"", mixed, thief.signing, bytes(12))
    assert problem_of(await clinic.endpoint.answer(request.pack())) == "cannot-open"


async def test_session_of_another_sender_is_refused() -> None:
    """Even who knows the secret must sign with the key of the credentials inside."""
    world = World()
    asker, clinic = pair(world)
    thief = asker.city.admit("thief")
    request = sealed(thief, clinic.target(), credentials=asker.credentials())
    answer = await clinic.endpoint.answer(request.pack())
    assert problem_of(answer) in ("unknown-key", "wrong-issuer")


async def test_second_exchange_of_a_session_is_answered() -> None:
    """Asker and holder both take up what they kept."""
    world = World()
    asker, clinic = pair(world)
    target = clinic.target()
    for _ in range(3):
        assert isinstance(await asker.read(target), Answer)
