# SPDX-License-Identifier: Apache-2.0
"""What must be true when everything is healed, and nobody has helped.

Links and routes come back, outboxes drain, what was acknowledged is there, consents in
force release exactly what was stored, ended ones release nothing, and the records of
both sides agree.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import islice

from federation.exchange import Answer
from node.simulate.federation import NotInTime
from node.simulate.ledgers import Ledgers
from node.simulate.people import said
from node.simulate.scene import Scene, WasPushed
from node.simulate.truth import Agreed, Released
from protocol.answer import ReadResult
from protocol.consent import State
from protocol.errors import MachikuraError
from vault.queries import Held

SETTLED_S, DRAINED_S = 300, 900
"""Most that links and outboxes may take to recover, in seconds."""

FORBIDDEN = frozenset(
    {
        "push: consent-withdrawn",
        "push: consent-paused",
        "push: consent-superseded",
        "push: consent-expired",
        "push: consent-not-for-subject",
        "push: nothing-left",
        "push: policy-denied",
        "push: qualification-missing",
        "push: purpose-not-consented",
        "push: expired",
        "push: not-found",
    }
)
"""Why a push may be given up: the resident or the holder forbids it by now."""

EXPIRED = ": message-expired"
"""Messages that say an end of their own need not arrive after it; those that say none
are kept for days, which is longer than any story."""

_READS = 6


async def recover(scene: Scene) -> None:
    """Wait until links are up and outboxes empty; complain if that takes too long."""
    try:
        await scene.federation.settled(SETTLED_S)
    except NotInTime:
        scene.complain("drain", f"no way between all cities after {SETTLED_S} s")
        return
    try:
        await scene.federation.drained(DRAINED_S)
    except NotInTime:
        waiting = ", ".join(f"{n}: {c}" for n, c in scene.federation.waiting().items())
        scene.complain("drain", f"messages wait after {DRAINED_S} s: {waiting}")
    for node, letters in scene.federation.dead_letters().items():
        for letter in letters:
            if letter not in FORBIDDEN and not letter.endswith(EXPIRED):
                scene.complain("drain", f"{node} has given up {letter}")


async def look_back(scene: Scene, ledgers: Ledgers) -> None:
    """Check everything that was acknowledged."""
    _consents_are_where_they_belong(scene)
    await _consents_in_force_release(scene)
    await _ended_consents_release_nothing(scene)
    _pushes_arrived_once(scene)
    ledgers.scan()
    ledgers.compare(frozenset(read.exchange for read in scene.reads))


def bounded(scene: Scene, tasks_before: int) -> None:
    """Check that nothing is left in memory of what is over."""
    if scene.wire.open:
        scene.complain("memory", f"{scene.wire.open} exchanges are still open")
    more = len(asyncio.all_tasks()) - tasks_before
    if more > len(scene.cast.everybody):
        scene.complain("memory", f"{more} tasks more than before the story")


def _in_force(scene: Scene, agreed: Agreed) -> bool:
    now_ms = scene.now_ms()
    lasting = agreed.ends_ms > now_ms + 60_000
    return agreed.certain.at(now_ms) and lasting and not agreed.disturbed


def _recipients(scene: Scene, agreed: Agreed) -> list[str]:
    """Return the honest ones that have not erased the person since."""
    return [
        recipient
        for recipient in sorted(agreed.recipients - {scene.villain})
        if (agreed.person, recipient) not in scene.truth.erased
    ]


def _consents_are_where_they_belong(scene: Scene) -> None:
    for consent, agreed in scene.truth.consents.items():
        resident = scene.persons[agreed.person]
        if _in_force(scene, agreed):
            for recipient in _recipients(scene, agreed):
                kept = scene.people.kept(recipient, consent)
                if kept is None or kept.consent.state is not State.ACTIVE:
                    scene.complain("durable", f"{recipient} lacks a consent in force")
        if agreed.ended and agreed.ends_ms > scene.now_ms():
            told = scene.people.told(resident, consent)
            for party, state in told.items():
                if not state.acknowledged and party != scene.villain:
                    scene.complain("durable", f"{party} has not signed a withdrawal")


async def _consents_in_force_release(scene: Scene) -> None:
    """Read under some of them: all records that were stored, and all that may leave."""
    usable = (
        (consent, agreed, recipient)
        for consent, agreed in scene.truth.consents.items()
        if agreed.read and _in_force(scene, agreed)
        for recipient in _recipients(scene, agreed)[:1]
        if scene.villain not in agreed.holders
    )
    for consent, agreed, recipient in islice(usable, _READS):
        await _full_read(scene, consent, agreed, recipient)


async def _full_read(
    scene: Scene, consent: str, agreed: Agreed, recipient: str
) -> None:
    (name,) = agreed.fields
    purpose = sorted(agreed.purposes)[0]
    try:
        answers = await scene.people.read_all(recipient, consent, name, purpose)
    except MachikuraError as error:
        scene.complain("recovery", f"{recipient} cannot read: {error.slug}")
        return
    expected = {h: scene.truth.expected(agreed, h, name) for h in agreed.holders}
    lawful = all(
        _lawful(scene, _asked(scene, consent, holder, recipient, name, purpose), agreed)
        for holder in agreed.holders
    )
    if not lawful or any(records is None for records in expected.values()):
        return
    count = 0
    for answer in answers:
        if not isinstance(answer.outcome, Answer):
            who = answer.holder or "a hidden holder"
            scene.complain("recovery", f"{recipient} reads from {who}: {said(answer)}")
            return
        if isinstance(answer.outcome.result, ReadResult):
            count += len(answer.outcome.result.records)
    wanted = sum(len(records or ()) for records in expected.values())
    if count != wanted:
        scene.complain("durable", f"{recipient} reads {count} of {wanted} records")


def _lawful(scene: Scene, asked: Released, agreed: Agreed) -> bool:
    """Tell whether the oracle would let it through, and something is left of it."""
    if not scene.truth.links.get((agreed.person, asked.holder)):
        return False
    policies = scene.truth.policy(asked.holder, asked.name)
    if any(asked.recipient in policy.refused for policy in policies):
        return False
    kept_back = frozenset().union(*(policy.withheld for policy in policies))
    left = scene.truth.allowed(asked, agreed) - kept_back
    return bool(left) and not scene.truth.judge(asked)


def _asked(
    scene: Scene, consent: str, holder: str, recipient: str, name: str, purpose: str
) -> Released:
    return Released(
        holder=holder,
        recipient=recipient,
        consent=consent,
        name=name,
        purpose=purpose,
        fields=frozenset(),
        records=(),
        at_ms=scene.now_ms(),
        push=False,
    )


async def _ended_consents_release_nothing(scene: Scene) -> None:
    ended = (
        (consent, agreed)
        for consent, agreed in scene.truth.consents.items()
        if agreed.ended and agreed.read
    )
    for consent, agreed in islice(ended, _READS):
        (name,) = agreed.fields
        for recipient in _recipients(scene, agreed)[:1]:
            if scene.people.kept(recipient, consent) is None:
                continue
            purpose = sorted(agreed.purposes)[0]
            try:
                answers = await scene.people.read_all(recipient, consent, name, purpose)
            except MachikuraError:
                continue
            for answer in answers:
                if (
                    isinstance(answer.outcome, Answer)
                    and answer.holder != scene.villain
                ):
                    scene.complain("bound", "a consent that has ended still releases")


def _pushes_arrived_once(scene: Scene) -> None:
    for pushed in scene.pushes:
        if scene.villain in (pushed.holder, pushed.recipient):
            continue
        held = _held(scene, pushed)
        if len(set(held)) != len(held):
            scene.complain("twice", f"{pushed.recipient} stored a record twice")
        missing = pushed.records - set(held)
        if missing and _must_have_arrived(scene, pushed):
            count = len(missing)
            scene.complain(
                "durable", f"{pushed.recipient} lacks {count} pushed records"
            )


def _must_have_arrived(scene: Scene, pushed: WasPushed) -> bool:
    """Tell whether nothing has happened since that could have stopped a push."""
    agreed = scene.truth.consents[pushed.consent]
    asked = _asked(
        scene,
        pushed.consent,
        pushed.holder,
        pushed.recipient,
        pushed.name,
        pushed.purpose,
    )
    return (
        _in_force(scene, agreed)
        and pushed.recipient in _recipients(scene, agreed)
        and agreed.certain.steady(pushed.at_ms)
        and (pushed.holder, pushed.name) not in scene.truth.policies
        and scene.truth.expected(agreed, pushed.holder, pushed.name) is not None
        and _lawful(scene, replace(asked, push=True), agreed)
    )


def _held(scene: Scene, pushed: WasPushed) -> list[str]:
    """Return the records that a recipient holds under a push, by the holder's ids."""
    kept = scene.people.kept(pushed.recipient, pushed.consent)
    if kept is None:
        return []
    found = scene.people.records_of(
        pushed.recipient, kept.subject, pushed.name, held=Held.RECEIVED
    )
    return [
        str(record.origin.record)
        for record in found
        if record.origin is not None and record.origin.consent == pushed.consent
    ]
