# SPDX-License-Identifier: Apache-2.0
"""A holder pushes records under a consent to store: durable, judged at both ends."""

from __future__ import annotations

import json
from typing import Any

from federation.exchange import About
from federation.outcome import LinkLost
from federation.peers import Carrier
from node.simulate.meddler import give_back, take_over
from protocol.envelope import Envelope, Kind
from protocol.membership import DataClass
from protocol.request import Push, Warrant, WireRecord
from protocol.signature import digest_of
from tests.simulation.town import (
    BROKER,
    CHECKUP,
    CLINIC,
    DAY_S,
    FAR_CLINIC,
    MARKET,
    RELEASED,
    TRANSIT,
    TREATMENT,
    Town,
    checkup,
    outcome,
    play,
    said,
)
from vault.queries import Held


async def _consented(town: Town, count: int = 2, **wish: Any) -> str:
    """Let Hanako consent to a push; both ends have it."""
    hanako = await town.resident_with_checkups(count)
    consent = await town.consent(hanako, **{"operations": ["store"], **wish})
    await town.received(CLINIC, consent)
    return consent


def _received(town: Town, consent: str) -> list[dict[str, Any]]:
    """Return the content of what the recipient has received."""
    kept = town.kept(FAR_CLINIC, consent)
    assert kept is not None
    found = town.records_of(FAR_CLINIC, kept.subject, held=Held.RECEIVED)
    return [json.loads(record.content) for record in found]


async def _arrivals(town: Town, count: int, seconds: float = 60) -> None:
    await town.federation.until(
        lambda: len(town.provisions(FAR_CLINIC, "reception")) >= count, seconds
    )


def test_pushed_records_arrive_with_the_fields_of_the_purpose() -> None:
    """Both ends write it down, under the same exchange."""

    async def story(town: Town) -> None:
        consent = await _consented(town)
        await town.push(consent)
        await _arrivals(town, 1)
        contents = _received(town, consent)
        assert [content["date"] for content in contents] == ["2026-01-01", "2026-02-01"]
        assert all("note" not in content for content in contents)
        (given,) = town.provisions(CLINIC)
        (got,) = town.provisions(FAR_CLINIC, "reception")
        assert (given.records, given.exchange) == (got.records, got.exchange)
        assert (given.counterparty, got.counterparty) == (FAR_CLINIC, CLINIC)

    play(story)


def test_push_delivered_twice_is_stored_once() -> None:
    """The answer to the first delivery was lost; the second finds it carried out."""

    async def story(town: Town) -> None:
        consent = await _consented(town)
        broker = town.parts(BROKER)
        lost: list[bytes] = []

        async def lose(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
            answer = await link.request(payload, deadline_ms=deadline_ms)
            if Envelope.unpack(payload, 1 << 24).header.kind is not Kind.PUSH:
                return answer
            lost.append(answer)
            give_back(broker, TRANSIT)
            raise LinkLost("closed")

        take_over(broker, TRANSIT, lose)
        await town.push(consent)
        await town.federation.drained()
        assert len(lost) == 1
        assert len(_received(town, consent)) == 2
        assert len(town.provisions(FAR_CLINIC, "reception")) == 1
        assert town.federation.dead_letters() == {}

    play(story)


def test_sender_that_dies_before_it_has_noted_the_delivery_sends_again() -> None:
    """At least once, and what arrives twice changes nothing."""

    async def story(town: Town) -> None:
        consent = await _consented(town)
        database = town.federation.nodes[CLINIC].database
        # Queued, released; the third write would forget the message.
        database.dies_at = database.writes + 3
        await town.push(consent)
        await town.federation.until(lambda: town.federation.deaths == [CLINIC])
        await town.federation.restart(CLINIC)
        await town.federation.drained()
        assert len(_received(town, consent)) == 2
        subject = town.kept(FAR_CLINIC, consent)
        assert subject is not None
        records = town.records_of(FAR_CLINIC, subject.subject)
        assert {record.version for record in records} == {1}

    play(story)


def test_corrected_record_replaces_the_one_pushed_before() -> None:
    """By a later push of the same record."""

    async def story(town: Town) -> None:
        consent = await _consented(town, 0)
        record = await town.store(CLINIC, "H-1", checkup())
        parts = town.parts(CLINIC)
        await town.push(consent, records=[record])
        await _arrivals(town, 1)
        await parts.database.write(
            lambda c: parts.vault.intake.change(
                c, record, checkup(systolic_mmhg=140), expected_version=1, now_ms=1
            )
        )
        await town.push(consent, records=[record])
        await _arrivals(town, 2)
        (content,) = _received(town, consent)
        assert content["systolic_mmhg"] == 140

    play(story)


def test_received_records_are_not_released_as_own() -> None:
    """The far clinic cannot pass on what it was only to store."""

    async def story(town: Town) -> None:
        consent = await _consented(town)
        await town.push(consent)
        await _arrivals(town, 1)
        hanako = town.people["hanako"]
        await town.link(hanako, FAR_CLINIC, "Y-1")
        onward = await town.consent(
            hanako, recipients=["minato/clinic"], holders=[FAR_CLINIC]
        )
        answer = await town.read("minato/clinic", onward)
        assert said(answer) == RELEASED
        assert "systolic" not in str([r.content for r in _records(answer)])

    async def build(town: Town) -> None:
        await town.build()
        await town.federation.node("minato/clinic", qualifications=("privacy-mark",))

    play(story, build=build)


def test_hidden_holder_does_not_push() -> None:
    """A push would show who it is: refused before anything leaves."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(
            hanako, operations=["store", "share"], hidden_holder=True
        )
        assert town.kept(CLINIC, consent) is None

    play(story)


def test_push_that_the_sender_itself_must_refuse_is_set_aside() -> None:
    """With the reason, for its operator; nothing has left."""

    async def story(town: Town) -> None:
        consent = await _consented(town, operations=["share"])
        await town.push(consent)
        await town.federation.drained()
        assert town.federation.dead_letters() == {CLINIC: ["push: consent-operation"]}
        assert town.provisions(CLINIC) == []

    play(story)


def test_push_under_a_withdrawn_consent_is_refused() -> None:
    """Also if it was queued before."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako, operations=["store"])
        await town.received(CLINIC, consent)
        town.network.stall(CLINIC, BROKER)
        await town.push(consent)
        await town.withdraw(hanako, consent)
        await town.sleep(20)
        town.network.heal()
        await town.federation.drained()
        assert _received(town, consent) == []

    play(story)


def test_recipient_judges_every_push_for_itself() -> None:
    """A holder that sends what it may not is refused; nothing is stored."""

    async def story(town: Town) -> None:
        consent = await _consented(town)
        shared = await town.consent(town.people["hanako"], operations=["share"])
        await town.received(CLINIC, shared)
        good = await _warrant(town, consent)
        wire = _wire(checkup())
        cases = {
            "consent-missing": (None, wire),
            "consent-operation": (await _warrant(town, shared), wire),
            "schema-violation": (good, _wire({**checkup(), "shoe_size": 23})),
            "field-outside": (good, _wire(checkup(note="not for you"))),
            "other type": (good, wire.model_copy(update={"dataset_type": "a.b"})),
        }
        codes = {
            name: await _push(town, warrant, record)
            for name, (warrant, record) in cases.items()
        }
        assert codes["consent-missing"] == "consent-missing"
        assert codes["consent-operation"] == "consent-operation"
        for name in ("schema-violation", "field-outside", "other type"):
            assert codes[name] == "schema-violation", name
        bare = Warrant(consent=good.consent, ticket=good.ticket, home=good.home)
        assert await _push(town, bare, wire) == "proof-missing"
        swapped = good.model_copy(update={"ticket": good.ticket[:-8] + "AAAAAAAA"})
        assert await _push(town, swapped, wire) == "consent-not-for-subject"
        assert await _push(town, good, wire, sender=MARKET) == "consent-not-for-holder"
        assert _received(town, consent) == []
        assert town.provisions(FAR_CLINIC, "reception") == []

    play(story)


def test_pushed_records_go_when_their_retention_ends() -> None:
    """As the consent says (requirement 110); what was shared stays on record."""

    async def story(town: Town) -> None:
        consent = await _consented(town, retention_days=10)
        await town.push(consent)
        await _arrivals(town, 1)
        for days, left in ((1, 2), (10, 0)):
            town.federation.jump(days * DAY_S)
            await town.parts(FAR_CLINIC).purge()
            await town.parts(CLINIC).purge()
            assert len(_received(town, consent)) == left
        assert len(town.provisions(CLINIC)) == 1
        assert len(town.provisions(FAR_CLINIC, "reception")) == 1

    play(story)


def test_outage_of_the_recipient_does_not_multiply_the_releases() -> None:
    """However often delivery was tried, the resident sees one release."""

    async def story(town: Town) -> None:
        consent = await _consented(town)
        await town.federation.crash(FAR_CLINIC)
        await town.push(consent)
        await town.sleep(400)
        await town.federation.restart(FAR_CLINIC)
        await town.federation.drained()
        assert len(_received(town, consent)) == 2
        found = await town.locate(town.people["hanako"])
        (held,) = (f.holding for f in found.found if f.holder == CLINIC)
        assert [shared.releases for shared in held.sharing] == [1]

    play(story)


# ------------------------------------------------------------------------- hands


async def _warrant(town: Town, consent: str) -> Warrant:
    """Return what the clinic would send with a push."""
    return await town.warrant(CLINIC, consent)


def _wire(content: dict[str, Any]) -> WireRecord:
    fields = {k: v for k, v in content.items() if k != "note" or v == "not for you"}
    return WireRecord.model_validate(
        {
            "id": "urn:machikura:hoshino:clinic:01970000-0000-7000-8000-000000000001",
            "dataset_type": CHECKUP,
            "version": 1,
            "content": json.dumps(fields, ensure_ascii=False),
        }
    )


async def _push(
    town: Town, warrant: Warrant | None, record: WireRecord, sender: str = CLINIC
) -> str:
    digest = None if warrant is None else digest_of(warrant.consent.encode())
    asked = await town.ask(
        sender,
        FAR_CLINIC,
        Kind.PUSH,
        Push(warrant=warrant, records=(record,)),
        about=About(CHECKUP, TREATMENT, DataClass.SPECIAL_CARE, digest),
    )
    return outcome(asked)


def _records(answer: Any) -> Any:
    return answer.outcome.result.records
