# SPDX-License-Identifier: Apache-2.0
"""`machikura read`, `push`, `locate`, `provisions`: data on its way, and its traces."""

from __future__ import annotations

import pytest

from node import cli
from tests.node.commands.town import SUBJECT, USAGE_FILE, Town, run_command

pytestmark = pytest.mark.slow
WHAT = ("--type", "energy.usage", "--purpose", "energy-saving-advice")


async def agreed(town: Town, *further: str) -> str:
    """Bring a person's usage to the point where the market may read it."""
    await town.start("broker", "hall", "energy", "market")
    await town.ok("energy", "import", USAGE_FILE)
    identifier = await town.consent(await town.linked("energy"), *further)
    holder = () if "--hidden" in further else ("energy",)

    def has_arrived(label: str) -> bool:
        parts = town.cores[label].parts
        find = parts.vault.ledger.package
        return parts.database.read(lambda c: find(c, identifier)) is not None

    def arrived(_: object) -> bool:
        return all(map(has_arrived, ("market", *holder)))

    await town.eventually("hall", "outbox", "list", true=arrived)
    return identifier


async def test_read_shows_records_cuts_and_the_way(town: Town) -> None:
    """What was released, what was cut by which clause, and each broker."""
    consent = await agreed(town)
    text = await town.ok("market", "read", "--consent", consent, *WHAT)
    assert "✓ hoshino/energy: 2 records" in text
    assert "usage: 254" in text
    assert "cut by purpose 除外: amount_yen" in text
    assert "hop 中継 +0 ms  hoshino/broker" in text
    narrow = "--field", "usage", "--field", "period_end", "--since", "2024-06-01"
    limits = (
        "--holder",
        "hoshino/energy",
        "--hops",
        "3",
        "--timeout-ms",
        "5000",
        "--limit",
        "10",
    )
    words = "read", "--consent", consent, *WHAT, *narrow, *limits
    (result,) = (await town.json("market", *words))["results"]
    contents = [record["content"] for record in result["records"]]
    assert contents == [{"usage": 231, "period_end": "2024-06-02"}]
    one = "--record", result["records"][0]["id"]
    single = "read", "--consent", consent, *WHAT, *one
    (result,) = (await town.json("market", *single))["results"]
    assert len(result["records"]) == 1


async def test_refusal_says_who_refused_and_why(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the holder's signature and the way it took; 1 for a script."""
    consent = await agreed(town)
    words = "read", "--consent", consent, "--type", "energy.usage", "--purpose"
    done = await town.run("market", *words, "household-budget")
    assert (done.status, done.stdout) == (cli.REFUSED, "")
    assert "✗ hoshino/energy:" in done.stderr
    assert "(purpose-not-consented)" in done.stderr
    assert "refused by: hoshino/energy (signed)" in done.stderr
    assert "hop 中継" in done.stderr
    refused = await town.refused("market", *words, "household-budget")
    assert refused == "purpose-not-consented"
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    done = await town.run("market", *words, "household-budget")
    assert "拒否した相手: hoshino/energy (署名付き)" in done.stderr


async def test_without_consent_nothing_is_read(town: Town) -> None:
    """The holder itself says so; and some wishes make no sense at all."""
    await agreed(town)
    holder = "--holder", "hoshino/energy"
    assert await town.refused("market", "read", *WHAT, *holder) == "consent-missing"
    assert await town.refused("market", "read", *WHAT) == "not-found"
    assert await town.refused("market", "read", *WHAT, "--consent", "none")
    assert await town.refused("market", "read", *WHAT, *holder, "--hops", "99")
    assert run_command("read", "--type", "energy.usage").status == cli.USAGE


async def test_hidden_holder_has_no_name(town: Town) -> None:
    """In the terminal as little as on the wire."""
    consent = await agreed(town, "--hidden")
    text = await town.ok("market", "read", "--consent", consent, *WHAT)
    assert "✓ (hidden holder 匿名の保有組織): 2 records" in text
    assert "hoshino/energy" not in text


async def test_resident_sees_where_the_data_is_and_who_was_asked(town: Town) -> None:
    """Also whoever was silent; and what was released under which purpose."""
    consent = await agreed(town)
    await town.ok("market", "read", "--consent", consent, *WHAT)
    session = "--session-file", town.session
    text = await town.ok("hall", "locate", "--records", *session)
    assert "energy.usage" in text
    assert "→ hoshino/market" in text
    assert "urn:machikura:hoshino:energy:" in text
    assert "✓  hoshino directory" in text
    found = await town.json("hall", "locate", *session)
    assert [held["records"] for held in found["holdings"]] == [[]]
    await town.stop("energy")
    assert "✗  hoshino/energy" in await town.ok("hall", "locate", *session)
    assert await town.refused("hall", "locate") == "unauthenticated"


async def test_each_side_shows_who_got_the_data(town: Town) -> None:
    """Releases and refusals, newest first."""
    consent = await agreed(town)
    await town.ok("market", "read", "--consent", consent, *WHAT)
    words = "read", "--consent", consent, "--type", "energy.usage", "--purpose"
    await town.refused("market", *words, "household-budget")
    show = "provisions", "--subject", SUBJECT
    found = (await town.json("energy", *show))["provisions"]
    assert [one["role"] for one in found] == ["refusal", "provision"]
    text = await town.ok("energy", *show, "--limit", "1")
    assert "purpose-not-consented" in text
    assert "provision " not in text
    assert await town.refused("energy", "provisions", "--subject", "0") == "not-found"
    assert run_command("provisions", "--subject", "1", "--limit", "0").status == 2


async def test_push_reaches_the_recipient(town: Town) -> None:
    """Under a consent that allows it to be stored there."""
    consent = await agreed(town, "--operation", "store")
    push = "push", "--consent", consent, "--recipient", "hoshino/market", *WHAT
    assert (await town.json("energy", *push)) == {"queued": True}
    show = "provisions", "--subject", SUBJECT
    await town.eventually("energy", *show, true=lambda d: d["provisions"])
    nothing = await town.eventually(
        "energy", "outbox", "list", true=lambda d: not d["waiting"]
    )
    assert nothing["dead"] == []


async def test_push_that_was_not_agreed_to_waits_for_the_operator(town: Town) -> None:
    """Refused for good it is listed with its reason, tried again, or dropped."""
    consent = await agreed(town)
    push = "push", "--consent", consent, "--recipient", "hoshino/market", *WHAT
    await town.ok("energy", *push)
    list_ = "outbox", "list"
    (dead,) = (await town.eventually("energy", *list_, true=lambda d: d["dead"]))[
        "dead"
    ]
    assert dead["reason"] == "consent-operation"
    assert "consent-operation" in await town.ok("energy", *list_)
    number = str(dead["id"])
    await town.ok("energy", "outbox", "retry", number)
    await town.eventually("energy", *list_, true=lambda d: d["dead"])
    await town.ok("energy", "outbox", "drop", number)
    assert "Empty" in await town.ok("energy", *list_)
    for act in ("retry", "drop"):
        assert await town.refused("energy", "outbox", act, number) == "not-found"
        assert run_command("outbox", act, "0").status == cli.USAGE
        assert run_command("outbox", act).status == cli.USAGE


async def test_messages_to_one_node_are_retried_and_dropped_together(
    town: Town,
) -> None:
    """By its name; other nodes keep theirs."""
    consent = await agreed(town)
    push = "push", "--consent", consent, "--recipient", "hoshino/market", *WHAT
    await town.ok("energy", *push)
    await town.ok("energy", *push)
    list_ = "outbox", "list"
    await town.eventually("energy", *list_, true=lambda d: len(d["dead"]) == 2)
    to = "--to", "hoshino/market"
    assert await town.json("energy", "outbox", "retry", *to) == {"changed": 2}
    await town.eventually("energy", *list_, true=lambda d: len(d["dead"]) == 2)
    others = await town.json("energy", *list_, "--to", "hoshino/hall")
    assert others == {"waiting": [], "dead": []}
    drop = "outbox", "drop", "--to"
    assert await town.json("energy", *drop, "hoshino/hall") == {"changed": 0}
    assert await town.json("energy", *drop, "hoshino/market") == {"changed": 2}
    assert "Empty" in await town.ok("energy", *list_)


async def test_push_to_somebody_else_is_refused_at_once(town: Town) -> None:
    """The consent does not name them; and a name has two parts."""
    consent = await agreed(town, "--operation", "store")
    words = "push", "--consent", consent, *WHAT, "--recipient"
    assert await town.refused("energy", *words, "hoshino/hall") == "not-found"
    assert (await town.run("energy", *words, "market")).status == cli.USAGE


async def test_messages_wait_for_a_node_that_is_away(town: Town) -> None:
    """And the operator sees for whom."""
    await town.start("broker", "hall", "energy", "market")
    account = await town.linked("energy")
    await town.stop("market")
    await town.consent(account)
    await town.eventually(
        "hall",
        *("outbox", "list"),
        true=lambda d: any(w["reason"] == "node-away" for w in d["waiting"]),
    )
    text = await town.ok("hall", "outbox", "list")
    assert "hoshino/market" in text
    assert "node-away" in text
    assert await town.json("hall", "outbox", "retry", "--all") == {"changed": 0}
    drop = "outbox", "drop", "--to", "hoshino/market", "--waiting"
    assert (await town.json("hall", *drop))["changed"] >= 1
