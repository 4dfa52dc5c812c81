# SPDX-License-Identifier: Apache-2.0
"""Who learns what: the table of DESIGN section 2, by canaries.

Canary strings stand in records, names, pseudonyms and consents. After a whole story,
every byte that each node received, everything that it opened, its database and its log
are searched for them, plain and encoded.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from identity.accounts import Accounts
from identity.residents import Residents
from node.demo.canaries import unfolded
from node.keys import IDENTITY, INDEX
from protocol.ids import CityId, NodeId
from tests.simulation.town import (
    BROKER,
    CITIES,
    CLINIC,
    FAR_BROKER,
    FAR_CLINIC,
    HALL,
    MEDICAL,
    TRANSIT,
    Resident,
    Town,
    checkup,
    play,
    result_of,
    stands_in,
)

pytestmark = pytest.mark.slow

HOSPITAL = "yamanami/hospital"
CONTENT, NOTE = "CANARY-CONTENT-7f3a", "CANARY-NOTE-91bc"
NAME, LOGIN = "CANARY-NAME-山田花子-55d0", "canary-login-0c2e"
DOCTOR = "CANARY-DOCTOR-8e44"


@dataclass
class Findings:
    """What was found where, after a story.

    Attributes:
        received: canary to the nodes that received it.
        stored: canary to the nodes on whose disk it stands.
    """

    received: dict[str, set[str]] = field(default_factory=dict)
    stored: dict[str, set[str]] = field(default_factory=dict)
    logged: str = ""


def _pseudonyms(town: Town, resident: Resident) -> Iterator[tuple[str, str]]:
    """Yield the resident's name at each organization and in each directory."""
    node = town.federation.nodes[HALL]
    index = node.keys.secret(INDEX)
    accounts = Accounts(
        key=node.keys.secret(IDENTITY), index=index, entropy=node.chance
    )
    residents = Residents(accounts=accounts, index=index, entropy=node.chance)
    account, read = resident.account, node.database.read
    for holder in (CLINIC, FAR_CLINIC, HOSPITAL):
        name = NodeId(holder)
        found = read(lambda c, n=name: residents.handle_at(c, account, n))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        yield f"handle at {holder}", found
    for city in CITIES:
        place = CityId(city)
        found = read(lambda c, p=place: residents.locator_in(c, account, p))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        yield f"locator in {city}", found


async def _build(town: Town) -> None:
    await town.build()
    await town.federation.node(HOSPITAL, qualifications=MEDICAL)


async def _story(town: Town) -> Findings:
    """Link, read openly and hidden, locate, pause, withdraw."""
    hanako = await town.register(LOGIN, NAME)
    content = checkup(doctor_comment=CONTENT, note=NOTE, doctor_name=DOCTOR)
    await town.store(CLINIC, "H-1", content)
    for holder, number in ((CLINIC, "H-1"), (FAR_CLINIC, "Y-1"), (HOSPITAL, "P-1")):
        await town.link(hanako, holder, number)
    consent = await town.consent(hanako)
    assert CONTENT in str(result_of(await town.read(FAR_CLINIC, consent)))
    hidden = await town.consent(hanako, recipients=[HOSPITAL], hidden_holder=True)
    assert CONTENT in str(result_of(await town.read(HOSPITAL, hidden)))
    await town.federation.drained()
    await town.locate(hanako, records=True)
    for identifier in (consent, hidden):
        await town.withdraw(hanako, identifier)
        await town.acknowledged(hanako, identifier)
        await town.read(FAR_CLINIC if identifier == consent else HOSPITAL, identifier)
    return _search(
        town,
        {
            "content": CONTENT,
            "note": NOTE,
            "name": NAME,
            "login": LOGIN,
            "doctor": DOCTOR,
            "consent": consent,
            "hidden consent": hidden,
            "holder": CLINIC,
            **dict(_pseudonyms(town, hanako)),
        },
    )


def _search(town: Town, canaries: dict[str, str]) -> Findings:
    findings = Findings()
    for node, simulated in town.federation.nodes.items():
        received = unfolded(bytes(simulated.learned))
        stored = unfolded(town.federation.on_disk(node))
        for name, text in canaries.items():
            if stands_in(text, received):
                findings.received.setdefault(name, set()).add(node)
            if stands_in(text, stored):
                findings.stored.setdefault(name, set()).add(node)
    findings.logged = "\0".join(canaries.values())
    return findings


@pytest.fixture(scope="module")
def findings() -> Findings:
    """Return what was found after the story."""
    return play(_story, build=_build)


RECEIVED: dict[str, set[str]] = {
    "content": {FAR_CLINIC, HOSPITAL},
    "note": set(),
    "name": set(),
    "login": set(),
    "doctor": {FAR_CLINIC},
    "consent": {HALL, CLINIC, FAR_CLINIC},
    # The holder's city certifies a nameless key for each consent.
    "hidden consent": {HALL, CLINIC, HOSPITAL, BROKER},
    f"handle at {CLINIC}": {CLINIC},
    f"handle at {FAR_CLINIC}": {FAR_CLINIC},
    f"handle at {HOSPITAL}": {HOSPITAL},
    "locator in hoshino": {CLINIC, BROKER},
    "locator in minato": {TRANSIT},
    "locator in yamanami": {FAR_CLINIC, HOSPITAL, FAR_BROKER},
}
"""Who may have received each canary, and must have: else the search is blind."""


@pytest.mark.parametrize("canary", RECEIVED)
def test_each_party_receives_what_it_may_and_nothing_else(
    findings: Findings, canary: str
) -> None:
    """Over links, in sealed bodies it could open, in tokens it could read."""
    assert findings.received.get(canary, set()) == RECEIVED[canary]


def test_holder_is_known_in_its_city_and_to_the_recipient_it_was_named_to(
    findings: Findings,
) -> None:
    """Neither to brokers on the way, nor to the recipient of the hidden consent."""
    for node in (HOSPITAL, TRANSIT, FAR_BROKER):
        assert node not in findings.received["holder"], node
    assert FAR_CLINIC in findings.received["holder"]


@pytest.mark.parametrize("canary", [name for name in RECEIVED if "consent" not in name])
def test_stolen_disk_shows_nothing(findings: Findings, canary: str) -> None:
    """No content, no identity, no pseudonym in clear, at any node."""
    assert findings.stored.get(canary, set()) == set()


def test_consents_stand_in_clear_at_nobody_but_their_home_node(
    findings: Findings,
) -> None:
    """And there only their random ids."""
    for name in ("consent", "hidden consent"):
        assert findings.stored.get(name, set()) <= {HALL}


def test_no_log_names_a_person_or_a_consent(caplog: pytest.LogCaptureFixture) -> None:
    """At the most talkative level (STYLE, section 1)."""
    caplog.set_level(logging.DEBUG)
    findings = play(_story, build=_build)
    logged = caplog.text
    assert "link to" in logged
    public = {CLINIC, HALL}
    for text in set(findings.logged.split("\0")) - public:
        assert text not in logged


def test_pushed_content_is_learned_by_its_recipient_alone() -> None:
    """In a push the sender stands in the routing header; nothing else does."""

    async def story(town: Town) -> Findings:
        hanako = await town.register(LOGIN, NAME)
        content = checkup(doctor_comment=CONTENT, note=NOTE)
        await town.store(CLINIC, "H-1", content)
        await town.link(hanako, CLINIC, "H-1")
        consent = await town.consent(hanako, operations=["store"])
        await town.received(CLINIC, consent)
        await town.push(consent)
        await town.federation.drained()
        await town.withdraw(hanako, consent, "delete")
        await town.acknowledged(hanako, consent)
        pseudonyms = dict(_pseudonyms(town, hanako))
        return _search(
            town,
            {
                "content": CONTENT,
                "note": NOTE,
                "near": pseudonyms[f"handle at {CLINIC}"],
                "far": pseudonyms[f"handle at {FAR_CLINIC}"],
            },
        )

    found = play(story, build=_build)
    assert found.received["content"] == {FAR_CLINIC}
    assert found.received.get("note") is None
    assert found.received["near"] == {CLINIC}
    assert found.received.get("far", set()) <= {FAR_CLINIC}
    assert found.stored == {}


def test_pseudonyms_of_one_resident_have_nothing_in_common() -> None:
    """Two organizations, or two directories, cannot tell that they mean one person."""

    async def story(town: Town) -> None:
        hanako = await town.register()
        names = [text for _, text in _pseudonyms(town, hanako)]
        assert len(set(names)) == len(names) == 6
        heads = {name[:6] for name in names}
        assert len(heads) == 6

    play(story, build=_build)
