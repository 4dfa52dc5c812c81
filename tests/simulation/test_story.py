# SPDX-License-Identifier: Apache-2.0
"""The main job, end to end: link, locate, consent, read across three cities."""

from __future__ import annotations

import json

from identity.residents import LinkState
from node.roles.locations import Linked
from protocol.errors import Misuse
from protocol.ids import NodeId
from protocol.membership import Role
from tests.simulation.town import (
    BROKER,
    CHECKUP,
    CLINIC,
    DAY_S,
    FAR_BROKER,
    FAR_CLINIC,
    HALL,
    MARKET,
    PURCHASE,
    RELEASED,
    TRANSIT,
    TWO_FACTORS,
    Resident,
    Town,
    checkup,
    hops_of,
    play,
    result_of,
    said,
)


def test_checkups_are_read_three_cities_away_with_consent() -> None:
    """The purpose's fields of every record, and nothing else, over three brokers."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups(2)
        consent = await town.consent(hanako)
        answer = await town.read(FAR_CLINIC, consent)
        result = result_of(answer)
        assert [json.loads(r.content)["date"] for r in result.records] == [
            "2026-01-01",
            "2026-02-01",
        ]
        assert "for the clinic only" not in str(result)
        assert result.cut == {"purpose": ("note",)}
        assert hops_of(answer) == [FAR_BROKER, TRANSIT, BROKER]

    play(story)


def test_both_sides_hold_the_same_history_of_a_read() -> None:
    """Exchange, request, answer and consent of provision and reception agree."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        await town.read(FAR_CLINIC, consent)
        (given,) = town.provisions(CLINIC)
        (got,) = town.provisions(FAR_CLINIC, "reception")
        for name in ("exchange", "request", "answer", "consent", "fields", "records"):
            assert getattr(given, name) == getattr(got, name), name
        assert (given.counterparty, got.counterparty) == (FAR_CLINIC, CLINIC)
        assert given.route == got.route == (FAR_BROKER, TRANSIT, BROKER)

    play(story)


def test_consent_per_record_releases_exactly_that_record() -> None:
    """Requirement 23: the other record of the same type stays."""

    async def story(town: Town) -> None:
        hanako = await town.register()
        await town.store(CLINIC, "H-1", checkup(0))
        wanted = await town.store(CLINIC, "H-1", checkup(1))
        other = await town.store(CLINIC, "H-1", checkup(2))
        await town.link(hanako, CLINIC, "H-1")
        scope = [{"dataset_type": CHECKUP, "records": [wanted]}]
        consent = await town.consent(hanako, scope=scope)
        result = result_of(await town.read(FAR_CLINIC, consent))
        assert [record.id for record in result.records] == [wanted]
        refused = await town.read(FAR_CLINIC, consent, records=(other,))
        assert said(refused) == "consent-record"
        both = await town.read(FAR_CLINIC, consent, records=(wanted, other))
        assert [record.id for record in result_of(both).records] == [wanted]

    play(story)


def test_hidden_holder_answers_as_a_member_of_its_city() -> None:
    """Requirement 7: the same records, and nothing that names the clinic."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups(2)
        consent = await town.consent(hanako, hidden_holder=True)
        answer = await town.read(FAR_CLINIC, consent)
        result = result_of(answer)
        assert len(result.records) == 2
        assert answer.holder is None
        assert result.cut["holder"] == ("doctor_name", "facility_name")
        for name in (CLINIC, "星野クリニック", ":clinic:"):
            assert name not in str(answer)
        one = result.records[0].id
        again = await town.read(FAR_CLINIC, consent, records=(one,))
        assert [record.id for record in result_of(again).records] == [one]

    play(story)


def test_hidden_consent_outlives_the_keys_that_it_came_with() -> None:
    """Tokens and nameless keys end after a day; the recipient gets fresh ones."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako, hidden_holder=True)
        for _ in range(2):
            assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
            town.federation.jump(1.1 * DAY_S)
            await town.federation.settled()
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED

    play(story)


def test_consent_works_as_long_as_it_says() -> None:
    """Weeks later, when every membership of the day it was given has ended."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        store = await town.consent(hanako, operations=["store"])
        consents = [
            await town.consent(hanako, hidden_holder=hidden) for hidden in (False, True)
        ]
        await town.federation.pass_days(16)
        for consent in consents:
            assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        await town.push(store)
        # A type that is new to the directory is registered under the old grant.
        await town.store(CLINIC, "H-1", {"name": "卵"}, "health.allergy")
        assert await town.locations(CLINIC).refresh() == 1
        await town.federation.drained()
        assert town.federation.dead_letters() == {}
        assert len(town.provisions(FAR_CLINIC, "reception")) == 3

    play(story)


def test_resident_sees_where_the_data_is_and_with_whom_it_was_shared() -> None:
    """Every party that was asked is listed with its answer."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups(3)
        await town.store(MARKET, "M-1", purchase(), PURCHASE)
        await town.link(hanako, MARKET, "M-1")
        consent = await town.consent(hanako)
        await town.read(FAR_CLINIC, consent)
        await town.federation.drained()
        found = await town.locate(hanako, records=True)
        held = {str(one.holder): one.holding for one in found.found}
        assert held.keys() == {CLINIC, MARKET}
        assert (held[CLINIC].count, len(held[CLINIC].records)) == (3, 3)
        (shared,) = held[CLINIC].sharing
        assert (shared.recipient, shared.releases) == (FAR_CLINIC, 1)
        assert held[MARKET].sharing == ()
        asked = {party.party: (party.status, len(party.hops)) for party in found.asked}
        assert asked == {
            "hoshino directory": ("answer", 1),
            "minato directory": ("answer", 2),
            "yamanami directory": ("answer", 3),
            CLINIC: ("answer", 1),
            MARKET: ("answer", 1),
        }

    play(story)


def test_party_that_cannot_be_asked_is_listed_too() -> None:
    """Silent omission would show: DESIGN section 6."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        await town.link(hanako, FAR_CLINIC, "Y-1")
        await town.federation.drained()
        await town.federation.crash(CLINIC)
        await town.federation.crash(TRANSIT)
        await town.sleep(1)
        found = await town.locate(hanako)
        asked = {party.party: (party.status, party.code) for party in found.asked}
        assert asked == {
            "hoshino directory": ("answer", ""),
            "yamanami directory": ("refusal", "no-route"),
            CLINIC: ("refusal", "peer-unreachable"),
            FAR_CLINIC: ("refusal", "no-route"),
        }
        assert found.found == ()

    play(story)


def test_holder_that_never_registered_is_asked_because_it_is_linked() -> None:
    """A directory that keeps silent about a holder hides nothing."""

    async def story(town: Town) -> None:
        hanako = await town.register()
        await town.link(hanako, CLINIC, "H-1")
        await town.store(CLINIC, "H-1", checkup())
        found = await town.locate(hanako)
        assert [one.holder for one in found.found] == [CLINIC]

    play(story)


def test_link_code_is_good_once_and_for_one_holder() -> None:
    """A code read over a shoulder is worth nothing elsewhere."""

    async def story(town: Town) -> None:
        hanako = await town.register()
        desk, hall = town.desk(), NodeId(HALL)
        code = await desk.link_code(hanako.account, NodeId(CLINIC))
        elsewhere = await town.locations(MARKET).claim(hall, code, "M-1")
        assert getattr(elsewhere, "code", None) == "link-code-wrong"
        first = await town.locations(CLINIC).claim(hall, code, "H-1")
        assert first == Linked(hall, ())
        again = await town.locations(CLINIC).claim(hall, code, "H-2")
        assert getattr(again, "code", None) == "link-code-wrong"
        assert [link.holder for link in desk.links(hanako.account)] == [CLINIC]

    play(story)


def test_pause_stops_at_once_and_resuming_allows_again() -> None:
    """Under the same consent, in its third version."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        desk = town.desk()
        await desk.pause(hanako.account, consent)
        await town.acknowledged(hanako, consent)
        assert said(await town.read(FAR_CLINIC, consent)) == "consent-paused"
        await desk.resume(hanako.account, consent, TWO_FACTORS)
        await town.received(FAR_CLINIC, consent, version=3)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED

    play(story)


def test_hidden_consent_can_be_paused_and_resumed() -> None:
    """Its holder is told of the pause, and learns of the end of it from the consent."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako, hidden_holder=True)
        desk = town.desk()
        await desk.pause(hanako.account, consent)
        await town.acknowledged(hanako, consent)
        assert said(await town.read(FAR_CLINIC, consent)) == "consent-paused"
        await desk.resume(hanako.account, consent, TWO_FACTORS)
        await town.received(FAR_CLINIC, consent, version=3)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED

    play(story)


def test_one_consent_reads_from_several_holders_at_once() -> None:
    """Each by its own exchange, and one that is away does not hold up the others."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        await town.store(FAR_CLINIC, "Y-1", checkup(5))
        await town.link(hanako, FAR_CLINIC, "Y-1")
        consent = await town.consent(
            hanako, recipients=["minato/clinic"], holders=[CLINIC, FAR_CLINIC]
        )
        answers = await town.read_all("minato/clinic", consent)
        assert {a.holder: said(a) for a in answers} == {
            CLINIC: RELEASED,
            FAR_CLINIC: RELEASED,
        }
        await town.federation.crash(CLINIC)
        answers = await town.read_all("minato/clinic", consent)
        assert {a.holder: said(a) for a in answers} == {
            CLINIC: "peer-unreachable",
            FAR_CLINIC: RELEASED,
        }

    async def build(town: Town) -> None:
        await town.build()
        await town.federation.node("minato/clinic", qualifications=("privacy-mark",))

    play(story, build=build)


def test_one_node_may_be_home_and_holder() -> None:
    """A bank: it signs people in and holds data of theirs (requirement 1)."""
    bank = "hoshino/bank"

    async def build(town: Town) -> None:
        await town.build()
        await town.federation.node(
            bank, Role.IDENTITY, Role.VAULT, qualifications=("privacy-mark",)
        )

    async def story(town: Town) -> None:
        taro = await town.register("taro", home=bank)
        await town.store(bank, "B-1", purchase(), PURCHASE)
        await town.link(taro, bank, "B-1")
        await town.federation.drained()
        found = await town.locate(taro)
        assert [one.holder for one in found.found] == [bank]
        wish = {"holders": [bank], "scope": [{"dataset_type": PURCHASE}]}
        consent = await town.consent(taro, purposes=["household-budget"], **wish)
        answer = await town.read(FAR_CLINIC, consent, PURCHASE, "household-budget")
        assert len(result_of(answer).records) == 1
        await town.withdraw(taro, consent)
        await town.acknowledged(taro, consent)
        answer = await town.read(FAR_CLINIC, consent, PURCHASE, "household-budget")
        assert said(answer) == "consent-withdrawn"

    play(story, build=build)


def test_two_residents_of_one_holder_do_not_mix() -> None:
    """Each consent releases its own person's records."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups(1)
        taro = await town.resident_with_checkups(3, login="taro", local_id="H-2")
        counts = {}
        for resident in (hanako, taro):
            consent = await town.consent(resident)
            result = result_of(await town.read(FAR_CLINIC, consent))
            counts[resident.account] = len(result.records)
        assert counts == {hanako.account: 1, taro.account: 3}

    play(story)


def test_holder_that_is_not_linked_any_more_cannot_be_named() -> None:
    """Neither in a consent, nor does anything new come of the old link."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        desk = town.desk()
        await desk.unlink(hanako.account, NodeId(CLINIC))
        assert [link.state for link in desk.links(hanako.account)] == [
            LinkState.UNLINKED
        ]
        refused = await _refused(town, hanako)
        assert refused == "hoshino/clinic is not linked"

    play(story)


async def _refused(town: Town, resident: Resident) -> str:
    try:
        await town.give(resident)
    except Misuse as error:
        return error.detail
    return ""


def purchase() -> dict[str, object]:
    """Return the content of a purchase."""
    return {
        "purchased_at": "2026-01-01T10:00:00+09:00",
        "item_name": "りんご",
        "amount_yen": 298,
    }
