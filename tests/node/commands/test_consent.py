# SPDX-License-Identifier: Apache-2.0
"""`machikura consent`: given, seen, paused, withdrawn; and seen where it arrives."""

from __future__ import annotations

import pytest

from node import cli
from tests.node.commands.town import SUBJECT, Town, run_command

pytestmark = pytest.mark.slow
GIVE = [
    *("consent", "give", "--recipient", "hoshino/market", "--holder", "hoshino/energy"),
    *("--type", "energy.usage", "--purpose", "energy-saving-advice"),
]


async def test_consent_goes_through_its_states(town: Town) -> None:
    """Each change is told to both parties, who answer."""
    await town.start("broker", "hall", "energy", "market")
    account = await town.linked("energy")
    identifier = await town.consent(account, "--ends", "2035-03-31")
    session = "--session-file", town.session
    listed = await town.ok("hall", "consent", "list", *session)
    assert identifier in listed
    assert "2035-03-31" in listed
    paused = await town.ok("hall", "consent", "pause", identifier, *session)
    assert "paused (version 2)" in paused
    show = "consent", "show", identifier, *session, "--wait", "20"
    assert all(one["done"] for one in (await town.json("hall", *show))["told"])
    withdraw = "consent", "withdraw", identifier, *session, "--wait", "20"
    text = await town.ok("hall", *withdraw)
    assert "withdrawn (version 3)" in text
    assert "acknowledged 確認済: 2 / 2" in text
    assert "✓  hoshino/market" in await town.ok("hall", *show)
    assert await town.refused("hall", "consent", "pause", identifier, *session)


async def test_parties_see_what_they_received(town: Town) -> None:
    """By id, or by their own number of the person."""
    await town.start("broker", "hall", "energy", "market")
    identifier = await town.consent(await town.linked("energy"))
    subject = "consent", "received", "--subject", SUBJECT
    found = await town.eventually("energy", *subject, true=lambda d: d["consents"])
    assert [one["id"] for one in found["consents"]] == [identifier]
    text = await town.ok("energy", *subject)
    assert "hoshino/hall" in text
    assert await town.refused("energy", "consent", "received", "--id", "none")
    assert await town.refused("energy", *subject[:3], "nobody") == "not-found"


async def test_hidden_holder_stays_hidden_from_the_recipient(town: Town) -> None:
    """It sees that there is one, and no name."""
    await town.start("broker", "hall", "energy", "market")
    account = await town.linked("energy")
    identifier = await town.consent(account, "--hidden")
    core = town.cores["market"].parts

    def arrived() -> bool:
        ledger = core.vault.ledger
        return core.database.read(lambda c: ledger.package(c, identifier)) is not None

    session = "--session-file", town.session
    list_ = "consent", "list", *session
    await town.eventually("hall", *list_, true=lambda _: arrived())
    text = await town.ok("market", "consent", "received", "--id", identifier)
    assert "(hidden 匿名)" in text
    assert "hoshino/energy" not in text


async def test_resident_consents_with_both_factors_only(town: Town) -> None:
    """A password alone is enough to look, not to agree."""
    await town.start("broker", "hall", "energy", "market")
    await town.linked("energy")
    session = "--session-file", town.session
    assert await town.refused("hall", *GIVE, *session) == "evidence-too-low"
    assert (await town.json("hall", "consent", "list", *session))["consents"] == []


async def test_resident_with_both_factors_decides_alone(town: Town) -> None:
    """Give, pause, resume: nobody assists."""
    await town.start("broker", "hall", "energy", "market")
    await town.both_factors(await town.linked("energy"))
    session = "--session-file", town.session
    given = await town.json("hall", *GIVE, *session)
    assert (given["evidence_level"], given["state"]) == (2, "active")
    for act, state in (("pause", "paused"), ("resume", "active")):
        changed = await town.json("hall", "consent", act, given["id"], *session)
        assert changed["consent"]["state"] == state


async def test_paused_consent_is_resumed_with_both_factors_only(town: Town) -> None:
    """Resuming is consenting again."""
    await town.start("broker", "hall", "energy", "market")
    identifier = await town.consent(await town.linked("energy"))
    session = "--session-file", town.session
    await town.ok("hall", "consent", "pause", identifier, *session)
    words = "consent", "resume", identifier, *session
    assert await town.refused("hall", *words) == "evidence-too-low"


async def test_node_refuses_what_makes_no_sense(town: Town) -> None:
    """Unknown types, purposes and fields; a holder that is not linked."""
    await town.start("broker", "hall", "energy", "market")
    account = await town.linked("energy")
    counter = "--account", account, "--officer", "sato"
    for wrong in (
        ["--field", "none"],
        ["--purpose", "party"],
        ["--type", "energy.none"],
        ["--holder", "hoshino/none"],
        ["--recipient", "nobody"],
        ["--record", "none"],
        ["--ends", "2001-01-01"],
    ):
        assert await town.refused("hall", *GIVE, *wrong, *counter)


@pytest.mark.parametrize(
    "words",
    [
        [*GIVE, "--ends", "soon"],
        [*GIVE, "--account", "a"],
        [*GIVE, "--officer", "sato"],
        [*GIVE, "--type", "health.checkup", "--field", "date"],
        [*GIVE, "--operation", "sell"],
        GIVE[:-2],
        ["consent", "received"],
        ["consent", "received", "--subject", "1", "--id", "2"],
    ],
)
def test_wrong_words_are_told(words: list[str]) -> None:
    """Without asking a node."""
    assert run_command(*words).status == cli.USAGE
