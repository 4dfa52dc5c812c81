# SPDX-License-Identifier: Apache-2.0
"""A home node that oversteps: it speaks for residents of another home node.

Minato's city hall is a home node as good as Hoshino's, and turns hostile. It may know
consent ids and even handles; it cannot consent, withdraw, pause or replace anything for
a resident who has linked through Hoshino's.
"""

from __future__ import annotations

from typing import Any, Literal

import pytest

from protocol.canonical import b64url
from protocol.consent import (
    CONSENT,
    WITHDRAWAL,
    Consent,
    State,
    StatusReference,
    Ticket,
    Withdrawal,
)
from protocol.envelope import Kind
from protocol.errors import MachikuraError
from protocol.ids import NodeId
from protocol.pseudonym import Handle, commitment
from protocol.request import ConsentNotice, ConsentPackage, Revoke, Warrant
from protocol.signature import sign
from protocol.status import STATUS_LIST, Status, StatusList, pack
from tests.simulation.town import (
    CLINIC,
    FAR_CLINIC,
    HALL,
    OTHER_HALL,
    RELEASED,
    Resident,
    Town,
    outcome,
    play,
    said,
)
from vault.queries import Held

pytestmark = pytest.mark.slow

EVIL, SALT = OTHER_HALL, bytes(16)


def _withdrawal(
    town: Town,
    consent: str,
    party: str,
    *,
    state: State = State.WITHDRAWN,
    version: int = 2,
    obligation: Literal["stop", "delete"] = "delete",
    **claims: Any,
) -> Revoke:
    """Return a withdrawal in the hostile home node's hand."""
    body = Withdrawal(
        **{
            "iss": EVIL,
            "aud": party,
            "jti": "w-1",
            "iat": town.now(),
            "exp": town.now() + 3600,
            "consent": consent,
            "version": version,
            "state": state,
            "at": town.now(),
            "obligation": obligation,
            **claims,
        }
    )
    signer = town.parts(EVIL).exchanges.signer
    return Revoke(withdrawal=sign(signer, WITHDRAWAL, body).token)


async def _revoke(town: Town, party: str, query: Revoke) -> str:
    return outcome(await town.ask(EVIL, party, Kind.REVOKE, query))


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("state", [State.WITHDRAWN, State.PAUSED])
def test_withdrawal_by_another_home_node_has_no_effect(
    hidden: bool, state: State
) -> None:
    """Not at the holder (which of a hidden consent knows nothing), nor elsewhere."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako, hidden_holder=hidden)
        for party in (CLINIC, FAR_CLINIC):
            for version in (2, 99):
                query = _withdrawal(town, consent, party, state=state, version=version)
                await _revoke(town, party, query)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        for victim in (CLINIC, FAR_CLINIC):
            await town.federation.restart(victim)
        await town.federation.settled()
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        # The right home node's word still counts.
        await town.withdraw(hanako, consent)
        await town.acknowledged(hanako, consent)
        assert said(await town.read(FAR_CLINIC, consent)) == "consent-withdrawn"

    play(story)


def test_received_records_are_not_deleted_on_another_home_nodes_word() -> None:
    """Nor stopped."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups(2)
        consent = await town.consent(hanako, operations=["store"])
        await town.received(CLINIC, consent)
        await town.push(consent)
        await town.federation.drained()
        for obligation in ("delete", "stop"):
            query = _withdrawal(town, consent, FAR_CLINIC, obligation=obligation)
            await _revoke(town, FAR_CLINIC, query)
        kept = town.kept(FAR_CLINIC, consent)
        assert kept is not None
        records = town.records_of(FAR_CLINIC, kept.subject, held=Held.RECEIVED)
        assert len(records) == 2

    play(story)


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"iss": HALL}, "wrong-issuer"),
        ({"aud": CLINIC}, "wrong-audience"),
        ({"exp": 1}, "expired"),
        ({"state": State.ACTIVE}, "malformed"),
    ],
)
def test_forged_withdrawal_is_refused(claims: dict[str, Any], code: str) -> None:
    """In another's name, to another party, over, or saying nothing."""

    async def story(town: Town) -> str:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        state = claims.pop("state", State.WITHDRAWN)
        query = _withdrawal(town, consent, FAR_CLINIC, state=state, **claims)
        said_code = await _revoke(town, FAR_CLINIC, query)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        return said_code

    assert play(story) == code


async def _handles(town: Town) -> dict[str, Handle]:
    """Return Hanako's handles, as if they had leaked to the hostile home node."""
    found = {}
    for node in (CLINIC, FAR_CLINIC):
        parts = town.parts(node)
        links = parts.database.read(lambda c: list(parts.vault.subjects.links(c)))  # noqa: B023  run at once
        found[node] = links[0].grant.handle
    return found


async def _forged_consent(
    town: Town, model: Consent, handles: dict[str, Handle]
) -> tuple[Consent, Warrant, ConsentPackage]:
    """Return a consent of the hostile home node over leaked handles, all signed."""
    parts = town.parts(EVIL)
    signer, home = parts.exchanges.signer, parts.standing.credentials()
    subjects = tuple(
        sorted(commitment(SALT, NodeId(node), handles[node]) for node in handles)
    )
    consent = model.model_copy(
        update={
            "iss": EVIL,
            "subjects": subjects,
            "status": StatusReference(list=0, index=0),
        }
    )
    token = sign(signer, CONSENT, consent).token
    now = town.now()
    proof = StatusList(
        iss=EVIL,
        aud="machikura",
        jti="s-1",
        iat=now,
        exp=now + 60,
        list=0,
        epoch=1,
        lst=pack({0: Status.VALID}),
    )
    tickets = {}
    for node, handle in handles.items():
        member = await parts.addressbook.member(NodeId(node))
        ticket = Ticket(
            consent=consent.jti, party=NodeId(node), handle=handle, salt=b64url(SALT)
        )
        tickets[node] = ticket.seal(member.sealing.load())
    fresh = sign(signer, STATUS_LIST, proof).token
    warrant = Warrant(consent=token, ticket=tickets[CLINIC], proof=fresh, home=home)
    package = ConsentPackage(
        consent=token,
        own_ticket=tickets[FAR_CLINIC],
        holders=(),
        proof=fresh,
        home=home,
    )
    return consent, warrant, package


async def _linked_both(town: Town) -> tuple[Resident, Consent]:
    hanako = await town.resident_with_checkups()
    await town.link(hanako, FAR_CLINIC, "Y-1")
    identifier = await town.consent(hanako)
    kept = town.kept(FAR_CLINIC, identifier)
    assert kept is not None
    return hanako, kept.consent


def test_consent_by_another_home_node_releases_nothing() -> None:
    """Although all of it verifies, and the handle is the right one."""

    async def story(town: Town) -> None:
        _, model = await _linked_both(town)
        forged = model.model_copy(update={"jti": "forged-consent"})
        _, warrant, _ = await _forged_consent(town, forged, await _handles(town))
        code = await town.read_by_hand(FAR_CLINIC, warrant)
        assert code == "consent-not-for-subject"
        assert town.provisions(CLINIC) == []

    play(story)


def test_recipient_keeps_no_consent_of_another_home_node() -> None:
    """For a person who has linked it through the right one."""

    async def story(town: Town) -> None:
        _, model = await _linked_both(town)
        forged = model.model_copy(update={"jti": "forged-consent"})
        consent, _, package = await _forged_consent(town, forged, await _handles(town))
        notice = ConsentNotice(package=package)
        asked = await town.ask(EVIL, FAR_CLINIC, Kind.NOTIFY, notice)
        assert outcome(asked) == "malformed"
        assert town.kept(FAR_CLINIC, consent.jti) is None

    play(story)


def test_consent_cannot_be_replaced_under_its_id() -> None:
    """Attack: a higher version of a known consent, in the hostile node's hand.

    The person is a stranger to the recipient, so that only the id is in the way.
    """

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        identifier = await town.consent(hanako)
        before = town.kept(FAR_CLINIC, identifier)
        assert before is not None
        forged = before.consent.model_copy(update={"version": 9})
        handles = {CLINIC: Handle("A" * 43), FAR_CLINIC: Handle("B" * 43)}
        _, _, package = await _forged_consent(town, forged, handles)
        notice = ConsentNotice(package=package)
        asked = await town.ask(EVIL, FAR_CLINIC, Kind.NOTIFY, notice)
        assert outcome(asked) != RELEASED
        kept = town.kept(FAR_CLINIC, identifier)
        assert kept is not None
        assert (kept.consent.iss, kept.consent.version) == (HALL, 1)
        assert said(await town.read(FAR_CLINIC, identifier)) == RELEASED

    play(story)


def test_hostile_home_node_learns_nothing_of_another_ones_residents() -> None:
    """Not where their data is, nor which consents there are."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        mallory = await town.register("mallory", home=EVIL)
        await town.federation.drained()
        found = await town.locate(mallory)
        assert found.found == ()
        desk = town.desk(EVIL)
        for act in (
            desk.withdraw(mallory.account, consent, "stop"),
            desk.pause(mallory.account, consent),
        ):
            with pytest.raises(MachikuraError) as caught:
                await act
            assert caught.value.slug == "not-found"

    play(story)


def test_residents_of_one_home_node_cannot_touch_each_others_consents() -> None:
    """Not yours and not found look alike."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        taro = await town.register("taro")
        consent = await town.consent(hanako)
        desk = town.desk()
        with pytest.raises(MachikuraError) as caught:
            await desk.withdraw(taro.account, consent, "delete")
        assert caught.value.slug == "not-found"
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED

    play(story)
