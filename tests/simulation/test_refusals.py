# SPDX-License-Identifier: Apache-2.0
"""Each refusal, from the party that has to give it, with its stable code.

One world gives them all; each test then looks at one. Wherever a holder refuses, it has
written down who tried, and nothing has left.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from federation.exchange import Refused
from node.reader import HolderAnswer
from node.simulate.federation import EVERYTHING
from protocol.agreement import Terms
from protocol.consent import Evidence
from protocol.decision import HolderPolicy
from protocol.errors import MachikuraError
from protocol.ids import NodeId, PurposeName
from protocol.membership import DataClass, Role
from protocol.problem_catalog import CATALOG
from tests.simulation.town import (
    CHECKUP,
    CLINIC,
    FAR_BOSAI,
    FAR_BROKER,
    FAR_CLINIC,
    HALL,
    MARKET,
    MAX_AGE_S,
    MEDICAL,
    PURCHASE,
    TRANSIT,
    Resident,
    Town,
    checkup,
    play,
    result_of,
    said,
)

PURPOSES = tuple(
    PurposeName(name)
    for name in ("treatment", "emergency", "household-budget", "selfies")
)
HEALTH_ONLY = Terms(
    dataset_types=("*",),
    purposes=PURPOSES,
    data_classes=(DataClass.OPEN, DataClass.SPECIAL_CARE),
    transit=True,
    hop_limit=6,
)
"""What Yamanami may ask of or through Minato."""

NEAR = "hoshino/hospital"


@dataclass
class Refusals:
    """What came of each attempt: the code, who said it, and the traces of it."""

    codes: dict[str, str] = field(default_factory=dict)
    by: dict[str, str | None] = field(default_factory=dict)
    released: int = 0
    seen: set[str] = field(default_factory=set)

    def note(self, name: str, answer: HolderAnswer) -> None:
        """Keep an outcome."""
        self.codes[name] = said(answer)
        if isinstance(answer.outcome, Refused):
            self.by[name] = answer.outcome.refusal.by
            assert answer.outcome.refusal.signed or answer.outcome.refusal.by is None


async def build(town: Town) -> None:
    """Add nodes without this or that, and an agreement that excludes purchases."""
    world = town.federation
    for city in ("hoshino", "minato", "yamanami"):
        await world.city(city)
    await world.node(HALL, Role.IDENTITY)
    await world.node(CLINIC, qualifications=MEDICAL)
    await world.node(MARKET)
    await world.node(NEAR, qualifications=MEDICAL)
    await world.node("hoshino/shop", data_classes=(DataClass.OPEN, DataClass.PERSONAL))
    await world.node(FAR_CLINIC, qualifications=MEDICAL)
    await world.node(FAR_BOSAI)
    await world.agree("hoshino", "minato")
    await world.agree("yamanami", "minato", HEALTH_ONLY, EVERYTHING)


async def gather(town: Town) -> Refusals:
    """Try everything that must not work."""
    found = Refusals()
    hanako = await town.resident_with_checkups(2)
    await town.link(hanako, MARKET, "M-1")
    consent = await town.consent(hanako)
    await _requests(town, found, consent)
    await _consents(town, found, hanako)
    await _holders(town, found, hanako, consent)
    await _routes(town, found, consent)
    await _time(town, found, hanako, consent)
    found.released = len(town.provisions(CLINIC))
    found.seen = {refusal.reason for refusal in town.refusals(CLINIC)}
    return found


async def _requests(town: Town, found: Refusals, consent: str) -> None:
    """What is wrong with the request alone."""
    read = town.read
    found.note("no consent", await read(FAR_CLINIC, holder=NodeId(CLINIC)))
    for name, purpose in (("other purpose", "emergency"), ("no purpose", "selfies")):
        found.note(name, await read(FAR_CLINIC, consent, purpose=purpose))
    fields = ("date", "note")
    found.note("field", await read(FAR_CLINIC, consent, fields=fields))
    found.note("odd field", await read(FAR_CLINIC, consent, fields=("shoe_size",)))
    wish: dict[str, Any] = {"data_class": DataClass.OPEN}
    found.note("wrong class", await read(FAR_CLINIC, consent, **wish))
    wish = {"data_class": DataClass.CLOSED}
    found.note("closed", await read(FAR_CLINIC, consent, **wish))
    found.note("hops", await read(FAR_CLINIC, consent, hops=2))
    answer = await read(FAR_CLINIC, consent, "health.allergy", "treatment")
    found.note("other type", answer)


async def _consents(town: Town, found: Refusals, hanako: Resident) -> None:
    """What the consent does not say."""
    to_bosai = await town.consent(hanako, recipients=[FAR_BOSAI])
    found.note("unqualified", await town.read(FAR_BOSAI, to_bosai))
    to_shop = await town.consent(hanako, recipients=["hoshino/shop"])
    found.note("membership class", await town.read("hoshino/shop", to_shop))
    store = await town.consent(hanako, operations=["store"])
    found.note("operation", await town.read(FAR_CLINIC, store))
    later = await town.consent(hanako, starts=town.now() + 3600)
    found.note("not started", await town.read(FAR_CLINIC, later))
    one = await town.store(CLINIC, "H-1", checkup(7))
    two = await town.store(CLINIC, "H-1", checkup(8))
    scope: list[dict[str, Any]] = [{"dataset_type": CHECKUP, "records": [one]}]
    single = await town.consent(hanako, scope=scope)
    found.note("record", await town.read(FAR_CLINIC, single, records=(two,)))
    scope = [{"dataset_type": CHECKUP, "fields": ["hba1c_percent"]}]
    narrow = await town.consent(hanako, scope=scope)
    wish: dict[str, Any] = {"fields": ("systolic_mmhg",)}
    found.note("nothing left", await town.read(FAR_CLINIC, narrow, **wish))
    hidden = await town.consent(hanako, hidden_holder=True)
    warrant = await town.warrant(FAR_CLINIC, hidden)
    found.codes["names the hidden"] = await town.read_by_hand(FAR_CLINIC, warrant)
    for_far = await town.warrant(FAR_CLINIC, narrow)
    found.codes["stolen"] = await town.read_by_hand(NEAR, for_far)
    found.codes["other holder"] = await town.read_by_hand(FAR_CLINIC, for_far, NEAR)
    for name, change in (
        ("no end", {"ends": None}),
        ("opt out", {"opt": "out"}),
    ):
        found.codes[name] = await _given(town, hanako, **change)
    counter = Evidence(level=1, method="counter", officer="officer-7")
    found.codes["counter"] = await _given(town, hanako, evidence=counter)
    paused = await town.consent(hanako)
    await town.desk().pause(hanako.account, paused)
    await town.acknowledged(hanako, paused)
    found.note("paused", await town.read(FAR_CLINIC, paused))
    await town.withdraw(hanako, paused)
    await town.acknowledged(hanako, paused)
    found.note("withdrawn", await town.read(FAR_CLINIC, paused))


async def _given(town: Town, resident: Resident, **wish: Any) -> str:
    try:
        await town.give(resident, **wish)
    except MachikuraError as error:
        return error.slug
    return "given"


async def _holders(town: Town, found: Refusals, hanako: Resident, consent: str) -> None:
    """What the holder's own policy keeps back."""
    parts = town.parts(CLINIC)
    closed = HolderPolicy(refused=frozenset({NodeId(FAR_CLINIC)}))
    for policy in (closed, HolderPolicy()):
        await parts.database.write(
            lambda c, p=policy: parts.vault.types.set_policy(c, CHECKUP, p, 0)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        )
        parts.database.read(parts.vault.types.load)
        answer = await town.read(FAR_CLINIC, consent)
        if policy is closed:
            found.note("policy", answer)
        else:
            assert len(result_of(answer).records) >= 2


async def _routes(town: Town, found: Refusals, consent: str) -> None:
    """What agreements and broken ways keep from passing."""
    answer = await town.read(
        FAR_CLINIC, None, PURCHASE, "household-budget", holder=NodeId(MARKET)
    )
    found.note("class of agreement", answer)
    answer = await town.read(
        FAR_CLINIC, None, CHECKUP, "research", holder=NodeId(MARKET)
    )
    found.note("purpose of agreement", answer)
    await town.federation.crash(CLINIC)
    found.note("holder away", await town.read(FAR_CLINIC, consent))
    await town.federation.restart(CLINIC)
    await town.federation.settled()
    town.network.stall("hoshino/broker", CLINIC)
    found.note("holder silent", await town.read(FAR_CLINIC, consent, timeout_ms=2000))
    town.network.heal()
    await town.federation.crash(TRANSIT)
    await town.sleep(1)
    found.note("no route", await town.read(FAR_CLINIC, consent))
    await town.federation.restart(TRANSIT)
    await town.federation.settled()


async def _time(town: Town, found: Refusals, hanako: Resident, consent: str) -> None:
    """What time makes invalid."""
    short = await town.consent(hanako, ends=town.now() + 60)
    await town.sleep(61)
    found.note("expired", await town.read(FAR_CLINIC, short))
    await town.read(FAR_CLINIC, consent)
    await town.federation.crash(HALL)
    await town.sleep(MAX_AGE_S)
    found.note("stale", await town.read(FAR_CLINIC, consent))
    await town.federation.restart(HALL)
    await town.federation.settled()


@pytest.fixture(scope="module")
def refusals() -> Refusals:
    """Return what came of everything that must not work."""
    return play(gather, build=build)


BY_HOLDER = {
    "no consent": "consent-missing",
    "other purpose": "purpose-not-consented",
    "no purpose": "purpose-unknown",
    "field": "field-outside-purpose",
    "odd field": "field-unknown",
    "wrong class": "data-class-mismatch",
    "other type": "consent-type",
    "unqualified": "qualification-missing",
    "operation": "consent-operation",
    "not started": "consent-not-started",
    "record": "consent-record",
    "nothing left": "nothing-left",
    "paused": "consent-paused",
    "withdrawn": "consent-withdrawn",
    "policy": "policy-denied",
    "expired": "consent-expired",
    "stale": "proof-stale",
}
"""Refusals that the holder signs and the resident can see."""

BY_BROKER = {
    "closed": ("closed-outside-city", FAR_BROKER),
    "hops": ("hop-budget-exhausted", "hoshino/broker"),
    "membership class": ("membership-class", "hoshino/broker"),
    "class of agreement": ("agreement-data-class", FAR_BROKER),
    "purpose of agreement": ("agreement-purpose", FAR_BROKER),
    "holder away": ("peer-unreachable", "hoshino/broker"),
    "holder silent": ("timeout", "hoshino/broker"),
    "no route": ("no-route", FAR_BROKER),
}
"""Refusals that the broker signs that gives them."""

OTHERS = {
    "names the hidden": "consent-not-for-subject",
    "stolen": "consent-not-for-recipient",
    "other holder": "consent-not-for-holder",
    "no end": "special-care-no-end",
    "opt out": "special-care-opt-out",
    "counter": "evidence-too-low",
}


@pytest.mark.parametrize("name", BY_HOLDER)
def test_holder_refuses_with_a_signed_stable_code(
    refusals: Refusals, name: str
) -> None:
    """And writes down who tried."""
    assert refusals.codes[name] == BY_HOLDER[name]
    assert refusals.by[name] in (CLINIC, MARKET)
    assert BY_HOLDER[name] in refusals.seen


@pytest.mark.parametrize("name", BY_BROKER)
def test_broker_refuses_with_a_signed_stable_code(
    refusals: Refusals, name: str
) -> None:
    """The first party that can tell refuses, so that no byte travels in vain."""
    code, by = BY_BROKER[name]
    assert (refusals.codes[name], refusals.by[name]) == (code, by)


@pytest.mark.parametrize("name", OTHERS)
def test_attempt_ends_in_a_stable_code(refusals: Refusals, name: str) -> None:
    """Also where the requester or the resident made it by hand."""
    assert refusals.codes[name] == OTHERS[name]


def test_every_code_has_words_for_people(refusals: Refusals) -> None:
    """Title and remedy, in English and Japanese."""
    assert set(refusals.codes.values()) <= CATALOG.keys()


def test_only_lawful_reads_released_anything(refusals: Refusals) -> None:
    """Two in the whole story: under the policy taken back, and before the outage."""
    assert refusals.released == 2


def test_home_node_of_nobody_releases_nothing() -> None:
    """A holder without the person refuses as for another person."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        parts = town.parts(CLINIC)
        (link,) = parts.database.read(lambda c: list(parts.vault.subjects.links(c)))
        await parts.database.write(
            lambda c: parts.vault.subjects.unlink(c, link.subject)
        )
        assert said(await town.read(FAR_CLINIC, consent)) == "consent-not-for-subject"
        assert town.provisions(CLINIC) == []

    play(story)
