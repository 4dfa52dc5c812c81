# SPDX-License-Identifier: Apache-2.0
"""The handshake: two honest sides meet, and everyone between or instead is noticed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.handshake import (
    DIALER_LABEL,
    LISTENER_LABEL,
    MAX_HELLO_BYTES,
    DialerHandshake,
    ListenerHandshake,
)
from federation.handshake import refusal as told
from federation.hub import HubLimits
from federation.ports import Pipe, PipeClosed
from federation.simulation import Network, run
from federation.versions import Abilities, HandshakeRefused
from federation.virtual import START_MS
from tests.federation.parties import (
    TrustingIdentity,
    hub,
    pass_s,
    signing_key,
)

CERTIFICATE = b"c" * 32
CLINIC = TrustingIdentity("hoshino/clinic")
BROKER = TrustingIdentity("hoshino/broker")


def dialer(
    identity: TrustingIdentity = CLINIC,
    *,
    certificate: bytes = CERTIFICATE,
    nonce: bytes = b"d" * 32,
    suites: Sequence[str] = ("hybrid",),
    versions: Sequence[int] = (1, 2),
    capabilities: Sequence[str] = (),
    expected: str | None = "hoshino/broker",
) -> DialerHandshake:
    """Returns the clinic, which dials the broker."""
    return DialerHandshake(
        identity=identity,
        certificate_hash=certificate,
        nonce=nonce,
        abilities=Abilities(tuple(suites), tuple(versions), frozenset(capabilities)),
        expected=expected,
    )


def listener(
    identity: TrustingIdentity = BROKER,
    *,
    certificate: bytes = CERTIFICATE,
    nonce: bytes = b"l" * 32,
    suites: Sequence[str] = ("hybrid",),
    versions: Sequence[int] = (1, 2),
    capabilities: Sequence[str] = (),
) -> ListenerHandshake:
    """Returns the broker, which listens."""
    return ListenerHandshake(
        identity=identity,
        certificate_hash=certificate,
        nonce=nonce,
        abilities=Abilities(tuple(suites), tuple(versions), frozenset(capabilities)),
    )


def members(message: bytes) -> dict[str, object]:
    """Returns the members of a message."""
    return cast(dict[str, object], orjson.loads(message))


def altered(message: bytes, **changes: object) -> bytes:
    """Returns a message with members replaced, still canonical."""
    changed = members(message) | changes
    return orjson.dumps(changed, option=orjson.OPT_SORT_KEYS)


def altered_body(answer: bytes, **changes: object) -> bytes:
    """Returns an answer whose signed body has members replaced."""
    body = cast(str, members(answer)["body"]).encode()
    return altered(answer, body=altered(body, **changes).decode())


def refusal(slug: str) -> pytest.RaisesExc[HandshakeRefused]:
    """Expects a refusal with that code."""
    return pytest.RaisesExc(HandshakeRefused, check=lambda error: error.slug == slug)


def test_two_honest_sides_know_each_other() -> None:
    """Each learns who the other is."""
    near, far = dialer(), listener()
    auth = near.answered(far.greeted(near.hello()))
    caller, done = far.authenticated(auth)
    assert caller.node == "hoshino/clinic"
    assert near.done(done).node == "hoshino/broker"


def test_man_in_the_middle_with_another_certificate_is_noticed_by_the_dialer() -> None:
    """The attack: relay every byte, but show the dialer a certificate of one's own."""
    near, far = dialer(certificate=b"m" * 32), listener()
    with refusal("bad-signature"):
        near.answered(far.greeted(near.hello()))


def test_man_in_the_middle_is_noticed_by_the_listener_too() -> None:
    """The attack: a dialer that is careless about the answer is still not posed as."""
    near, far = dialer(certificate=b"m" * 32), listener()
    far.greeted(near.hello())
    unaware = listener(certificate=b"m" * 32)
    auth = near.answered(unaware.greeted(near.hello()))
    with refusal("bad-signature"):
        far.authenticated(auth)


def test_hello_reflected_at_its_maker_is_a_loop() -> None:
    """The attack: send a dialer's hello to the listener of the same node."""
    with refusal("loop"):
        listener(CLINIC).greeted(dialer().hello())


def test_answer_of_ourselves_is_a_loop() -> None:
    """An address that leads back to ourselves does not become a link."""
    careless = TrustingIdentity("hoshino/clinic")
    answer = listener(BROKER).greeted(dialer().hello())
    ours = altered_body(answer, credentials="aG9zaGluby9jbGluaWM")
    with refusal("loop"):
        dialer(careless, expected=None).answered(ours)


def test_signature_of_the_listener_is_not_one_of_the_dialer() -> None:
    """The attack: reflect the listener's own signature as the proof of a dialer."""
    near, far = dialer(), listener()
    answer = far.greeted(near.hello())
    with refusal("bad-signature"):
        far.authenticated(
            altered(
                b'{"type":"auth"}',
                signature=members(answer)["signature"],
            )
        )
    assert len({LISTENER_LABEL, DIALER_LABEL}) == 2


def test_replayed_hello_and_proof_meet_a_fresh_nonce() -> None:
    """The attack: record one handshake and play the dialer's half again."""
    near, far = dialer(), listener()
    auth = near.answered(far.greeted(near.hello()))
    later = listener(nonce=b"n" * 32)
    later.greeted(near.hello())
    with refusal("bad-signature"):
        later.authenticated(auth)


def test_replayed_answer_meets_a_fresh_nonce() -> None:
    """The attack: record one handshake and play the listener's half again."""
    answer = listener().greeted(dialer().hello())
    with refusal("bad-signature"):
        dialer(nonce=b"n" * 32).answered(answer)


def test_listener_without_the_key_of_its_credentials_is_refused() -> None:
    """The attack: copy a broker's public credentials and sign with another key."""
    impostor = TrustingIdentity("hoshino/broker", key=signing_key("evil"))
    near = dialer()
    with refusal("bad-signature"):
        near.answered(listener(impostor).greeted(near.hello()))


def test_dialer_without_the_key_of_its_credentials_is_refused() -> None:
    """The attack: copy a clinic's public credentials and sign with another key."""
    impostor = TrustingIdentity("hoshino/clinic", key=signing_key("evil"))
    near, far = dialer(impostor), listener()
    with refusal("bad-signature"):
        far.authenticated(near.answered(far.greeted(near.hello())))


def test_stranger_is_refused_under_the_code_of_the_judge() -> None:
    """Whoever judges credentials names what is wrong with them."""
    strict = TrustingIdentity("hoshino/broker", trusted={})
    with refusal("unknown-key"):
        listener(strict).greeted(dialer().hello())


def test_trusted_peer_that_was_not_dialed_is_refused() -> None:
    """The attack: one member of the city poses as the broker of another."""
    near, far = dialer(), listener(TrustingIdentity("hoshino/market"))
    with refusal("wrong-peer"):
        near.answered(far.greeted(near.hello()))


def test_highest_common_version_is_chosen() -> None:
    """Both sides take the newest that both speak."""
    near, far = dialer(versions=(1, 2, 3)), listener(versions=(2, 3, 4))
    answer = members(far.greeted(near.hello()))
    assert members(cast(str, answer["body"]).encode())["version"] == 3


def test_no_common_version_is_refused() -> None:
    """A listener from another age says so."""
    with refusal("unsupported-version"):
        listener(versions=(3,)).greeted(dialer().hello())


def test_no_common_suite_is_refused() -> None:
    """A node of the strict suite and one without it have nothing to say."""
    with refusal("unsupported-suite"):
        listener(suites=("strict",)).greeted(dialer().hello())


@pytest.mark.parametrize(
    ("member", "value", "slug"),
    [
        ("version", 3, "unsupported-version"),
        ("version", True, "unsupported-version"),
        ("capabilities", ["not-offered"], "malformed"),
        ("capabilities", "all", "malformed"),
        ("suite", "none", "unsupported-suite"),
        ("nonce", "short", "malformed"),
    ],
)
def test_choice_that_was_not_offered_is_refused(
    member: str, value: object, slug: str
) -> None:
    """The attack: a listener that answers with weaker terms than offered."""
    near = dialer()
    answer = listener().greeted(near.hello())
    with refusal(slug):
        near.answered(altered_body(answer, **{member: value}))


def test_offer_that_was_cut_on_the_way_is_noticed() -> None:
    """The attack: take the stronger suite out of the hello."""
    near = dialer(suites=("hybrid", "strict"))
    far = listener(suites=("hybrid", "strict"))
    with refusal("bad-signature"):
        near.answered(far.greeted(altered(near.hello(), suites=["strict"])))


@pytest.mark.parametrize(
    ("near", "far", "spoken"),
    [((1, 2), (1, 2), 2), ((1,), (1, 2), 1), ((1, 2), (1,), 1), ((1, 2, 9), (2, 3), 2)],
)
def test_highest_common_version_is_spoken(
    near: tuple[int, ...], far: tuple[int, ...], spoken: int
) -> None:
    """Both sides say so, whichever of them is the older."""
    calling, called = dialer(versions=near), listener(versions=far)
    calling.answered(called.greeted(calling.hello()))
    assert calling.terms.version == called.terms.version == spoken


def test_common_capabilities_are_in_force_and_unknown_ones_ignored() -> None:
    """Each side may have features that the other has never heard of."""
    near = dialer(capabilities=("evidence", "from-tomorrow"))
    far = listener(capabilities=("evidence", "of-our-own"))
    near.answered(far.greeted(near.hello()))
    assert near.terms.capabilities == far.terms.capabilities == {"evidence"}


def test_version_one_has_no_capabilities() -> None:
    """Its messages have the members of version 1 and no other."""
    near, far = dialer(versions=(1,), capabilities=("a",)), listener(capabilities="a")
    answer = far.greeted(near.hello())
    near.answered(answer)
    assert "capabilities" not in members(near.hello())
    assert "capabilities" not in members(cast(str, members(answer)["body"]).encode())
    assert near.terms.capabilities == far.terms.capabilities == frozenset()


@pytest.mark.parametrize(
    "weaker", [{"versions": [1]}, {"capabilities": []}, {"versions": [2]}]
)
def test_downgrade_of_the_offer_is_noticed(weaker: dict[str, object]) -> None:
    """The attack: take the newer version, or a capability, out of the hello."""
    near, far = dialer(capabilities=("evidence",)), listener(capabilities=("evidence",))
    answer = far.greeted(altered(near.hello(), **weaker))
    with refusal("bad-signature"):
        near.answered(answer)


@pytest.mark.parametrize("weaker", [{"version": 1}, {"capabilities": []}])
def test_downgrade_of_the_choice_is_noticed(weaker: dict[str, object]) -> None:
    """The attack: rewrite what the listener chose."""
    near, far = dialer(capabilities=("evidence",)), listener(capabilities=("evidence",))
    with refusal("bad-signature"):
        near.answered(altered_body(far.greeted(near.hello()), **weaker))


def test_downgrade_is_noticed_by_the_listener_too() -> None:
    """The attack: a dialer that does not look is not led to less without notice."""
    near, far = dialer(capabilities=("evidence",)), listener(capabilities=("evidence",))
    far.greeted(altered(near.hello(), versions=[1]))
    auth = near.answered(listener(capabilities=("evidence",)).greeted(near.hello()))
    with refusal("bad-signature"):
        far.authenticated(auth)


@pytest.mark.parametrize(
    "offered", ["all", ["A"], [1], [["a"]], ["a" * 64], ["a"] * 65, {"a": 1}]
)
def test_offer_that_is_no_list_of_names_is_refused(offered: object) -> None:
    """The attack: feed the negotiation something else than names."""
    with refusal("malformed"):
        listener().greeted(altered(dialer().hello(), capabilities=offered))


def test_true_is_not_version_one() -> None:
    """The attack: a value that one language takes for 1 and another does not."""
    with refusal("unsupported-version"):
        listener().greeted(altered(dialer().hello(), versions=[True]))


def test_refusal_reaches_the_peer_as_its_code() -> None:
    """Each side learns why the other hung up."""
    with pytest.raises(HandshakeRefused) as ours:
        listener(versions=(3,)).greeted(dialer().hello())
    with pytest.raises(HandshakeRefused) as theirs:
        dialer().answered(told(ours.value))
    assert (theirs.value.slug, theirs.value.by_peer) == ("unsupported-version", True)
    assert "it speaks [3]" in str(theirs.value)


def test_code_of_a_refusal_is_never_more_than_a_code() -> None:
    """The attack: put a line for the log, or a megabyte, in the place of the code."""
    for code in ("a\nb", "x" * 65, "", 7, None, "コード"):
        message = altered(b'{"type":"refused"}', code=code)
        with refusal("malformed"):
            dialer().answered(message)


def test_nothing_is_accepted_out_of_turn() -> None:
    """The attack: skip the step that proves something."""
    with refusal("malformed"):
        listener().authenticated(b'{"signature":"","type":"auth"}')
    with refusal("malformed"):
        dialer().done(b'{"type":"done"}')


def test_oversized_message_is_refused_unread() -> None:
    """The attack: a hello of a megabyte."""
    with refusal("too-large"):
        listener().greeted(b" " * (MAX_HELLO_BYTES + 1))


@pytest.mark.parametrize(
    "hello",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"type":"hello","type":"hello"}',
        b'{ "type":"hello"}',
        b"[" * 5_000 + b"]" * 5_000,
        b'{"type":' + b"[" * 400 + b"]" * 400 + b"}",
    ],
)
def test_hello_that_is_not_canonical_json_is_refused(hello: bytes) -> None:
    """What could be read in two ways is not read."""
    with refusal("malformed"):
        listener().greeted(hello)


@pytest.mark.parametrize(
    ("canonical", "otherwise"),
    [
        (b'"credentials"', b'"credentials":"aG9zaGluby9ldmls","credentials"'),
        (b",", b", "),
        (b'"hello"', b'"hell\\u006f"'),
        (b"[1,2]", b"[1e0,2]"),
    ],
)
def test_good_hello_in_another_form_is_refused(
    canonical: bytes, otherwise: bytes
) -> None:
    """The attack: a member that another parser would read differently."""
    hello = dialer().hello()
    listener().greeted(hello)
    with refusal("malformed"):
        listener().greeted(hello.replace(canonical, otherwise))


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("versions", 1),
        ("versions", [1] * 17),
        ("suites", "hybrid"),
        ("suites", ["hybrid"] * 17),
        ("nonce", "ZGRk"),
        ("nonce", "ZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGR="),
        ("nonce", None),
        ("credentials", "a"),
        ("credentials", "a b"),
        ("credentials", ["a"]),
    ],
)
def test_hello_with_a_bad_member_is_refused(member: str, value: object) -> None:
    """Each member has one form."""
    with refusal("malformed"):
        listener().greeted(altered(dialer().hello(), **{member: value}))


@given(st.data())
def test_truncated_or_damaged_messages_never_open_a_link(data: st.DataObject) -> None:
    """Whatever happens to the bytes on the way, the answer is a refusal."""
    near, far = dialer(), listener()
    answer = far.greeted(near.hello())
    auth = near.answered(answer)
    message = bytearray(data.draw(st.sampled_from([near.hello(), answer, auth])))
    if data.draw(st.booleans()):
        message[data.draw(st.integers(0, len(message) - 1))] ^= data.draw(
            st.integers(1, 255)
        )
    else:
        del message[data.draw(st.integers(0, len(message) - 1)) :]
    received = bytes(message)
    with pytest.raises(HandshakeRefused):
        fresh = listener()
        proof = dialer().answered(received)
        fresh.authenticated(proof)
    with pytest.raises(HandshakeRefused):
        far.authenticated(received)
    with pytest.raises(HandshakeRefused):
        # A damaged hello may pass as a hello, but its answer does not fit ours.
        dialer().answered(listener().greeted(received))


# Over pipes: what a hub does around the two state machines.


def test_peer_that_drips_bytes_is_cut_off_at_the_deadline() -> None:
    """The attack: hold a handshake open for ever."""

    async def world(network: Network) -> float:
        broker = hub(network, "hoshino/broker", limits=HubLimits(handshake_s=10))
        url = network.listen("hoshino/broker", broker.serve)
        pipe = await network.connector("evil")(url)
        with pytest.raises(PipeClosed):
            while True:
                await pipe.receive()
        return network.clock("").now_ms() - START_MS

    assert 10_000 <= run(world) < 12_000


def test_listener_tells_the_peer_why_it_refuses() -> None:
    """A node that is not admitted reads the code on its own side."""

    async def world(network: Network) -> tuple[str, bool]:
        strict = TrustingIdentity("hoshino/broker", trusted={})
        broker = hub(network, "hoshino/broker", identity=strict)
        clinic = hub(network, "hoshino/clinic")
        url = network.listen("hoshino/broker", broker.serve)
        pipe = await network.connector("hoshino/clinic")(url)
        with pytest.raises(HandshakeRefused) as caught:
            await clinic.dial(pipe)
        assert (clinic.links, broker.links) == ((), ())
        return caught.value.slug, caught.value.by_peer

    assert run(world) == ("unknown-key", True)


def test_dialer_that_is_relayed_to_the_true_listener_notices() -> None:
    """The attack: a relay in the middle, with a certificate of its own."""

    async def world(network: Network) -> str:
        broker = hub(network, "hoshino/broker")
        clinic = hub(network, "hoshino/clinic")
        url = network.listen("hoshino/broker", broker.serve)

        async def relay(near: Pipe) -> None:
            far = await network.connector("evil")(url)
            await far.send(await near.receive())
            await near.send(await far.receive())
            await far.send(await near.receive())

        evil = network.listen("evil", relay, certificate=b"evil")
        pipe = await network.connector("hoshino/clinic")(evil)
        with pytest.raises(HandshakeRefused) as caught:
            await clinic.dial(pipe, expected="hoshino/broker")
        await pass_s(1)
        assert broker.links == ()
        return caught.value.slug

    assert run(world) == "bad-signature"


def test_credentials_that_have_ended_open_no_link() -> None:
    """The clock decides, even where the judge has forgotten to look."""

    async def world(network: Network) -> str:
        broker = hub(
            network,
            "hoshino/broker",
            identity=TrustingIdentity("hoshino/broker", expires_ms=START_MS),
        )
        clinic = hub(network, "hoshino/clinic")
        url = network.listen("hoshino/broker", broker.serve)
        pipe = await network.connector("hoshino/clinic")(url)
        with pytest.raises(HandshakeRefused) as caught:
            await clinic.dial(pipe)
        return caught.value.slug

    assert run(world) == "expired"


def test_too_many_handshakes_at_once_are_refused() -> None:
    """The attack: open many pipes and say nothing, so that nobody else gets in."""

    async def world(network: Network) -> str:
        broker = hub(network, "hoshino/broker", limits=HubLimits(max_handshakes=3))
        clinic = hub(network, "hoshino/clinic")
        url = network.listen("hoshino/broker", broker.serve)
        silent = [await network.connector("evil")(url) for _ in range(3)]
        pipe = await network.connector("hoshino/clinic")(url)
        with pytest.raises(HandshakeRefused) as caught:
            await clinic.dial(pipe)
        for one in silent:
            await one.close()
        await pass_s(1)
        again = await network.connector("hoshino/clinic")(url)
        assert (await clinic.dial(again)).up
        return caught.value.slug

    assert run(world) == "link-busy"


def test_links_above_the_bound_are_refused() -> None:
    """A city with more nodes than expected is told so, and nobody is cut off."""

    async def world(network: Network) -> tuple[str, int]:
        broker = hub(network, "hoshino/broker", limits=HubLimits(max_links=1))
        url = network.listen("hoshino/broker", broker.serve)
        first = hub(network, "hoshino/clinic")
        await first.dial(await network.connector("hoshino/clinic")(url))
        second = hub(network, "hoshino/market")
        pipe = await network.connector("hoshino/market")(url)
        with pytest.raises(HandshakeRefused) as caught:
            await second.dial(pipe)
        return caught.value.slug, len(broker.links)

    assert run(world) == ("link-busy", 1)


def test_peer_that_opens_many_links_loses_the_oldest() -> None:
    """A node that restarts often does not collect links that are half open."""

    async def world(network: Network) -> list[bool]:
        broker = hub(network, "hoshino/broker", limits=HubLimits(max_links_per_peer=2))
        clinic = hub(network, "hoshino/clinic")
        url = network.listen("hoshino/broker", broker.serve)
        links = [
            await clinic.dial(await network.connector("hoshino/clinic")(url))
            for _ in range(3)
        ]
        await pass_s(1)
        return [link.up for link in links]

    assert run(world) == [False, True, True]
