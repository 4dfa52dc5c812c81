# SPDX-License-Identifier: Apache-2.0
"""`machikura evidence`, `reconcile` and `route-proof` on running nodes."""

from __future__ import annotations

import pytest

from federation.evidence import Finding
from node import cli
from protocol.ids import NodeId
from tests.node.commands.test_read import WHAT, agreed
from tests.node.commands.town import Town

pytestmark = pytest.mark.slow

BROKER, MARKET = "hoshino/broker", "hoshino/market"


async def test_neighbors_agree_and_say_so(town: Town) -> None:
    """A canary exchange stands in both journals a few seconds later."""
    await town.start("broker", "market", "energy")
    await town.ok("market", "doctor", "hoshino/energy")
    found = await town.eventually(
        "market",
        "evidence",
        "status",
        true=lambda found: found["neighbors"][0]["taken_ms"] is not None,
    )
    (neighbor,) = found["neighbors"]
    assert (neighbor["peer"], neighbor["speaks"]) == (BROKER, True)
    found = await town.json("market", "reconcile", BROKER, "2020", "2090")
    assert found["differences"] == 0
    assert found["faults"] == []
    assert found["counts"]["match"] + found["counts"]["waiting"] > 0
    assert "match" in await town.ok("market", "reconcile", BROKER, "2020", "2090")
    assert "No alarms" in await town.ok("market", "evidence", "alarms")


async def test_alarm_is_seen_and_acknowledged(town: Town) -> None:
    """In the list, in the doctor's report, with its proof, and gone when seen."""
    await town.start("broker", "market")
    finding = Finding("invented", "0197a2c4-0000-7000-8000-000000000001", "never here")
    desk = town.cores["market"].parts.evidence
    await desk.journal.alarms.tell(NodeId(BROKER), [finding], b"one\ntwo")
    (alarm,) = (await town.json("market", "evidence", "alarms"))["alarms"]
    assert (alarm["kind"], alarm["peer"]) == ("invented", BROKER)
    assert "! Evidence" in (await town.run("market", "doctor")).stdout
    number = str(alarm["id"])
    proof = await town.json("market", "evidence", "proof", number)
    assert proof["statements"] == ["one", "two"]
    await town.ok("market", "evidence", "acknowledge", number)
    assert (await town.json("market", "evidence", "alarms"))["alarms"] == []
    (seen,) = (await town.json("market", "evidence", "alarms", "--all"))["alarms"]
    assert seen["acknowledged_ms"] is not None
    assert "not-found" in await town.refused("market", "evidence", "proof", "99")


async def test_unknown_exchange_and_stranger_are_refused(town: Town) -> None:
    """With the stable codes."""
    await town.start("broker", "market")
    nobody = "0197a2c4-0000-7000-8000-000000000001"
    for flag in ("--ask", "--no-ask"):
        done = await town.run("market", "route-proof", nobody, flag, "--json")
        assert (done.status, done.document["code"]) == (cli.REFUSED, "not-found")
    done = await town.run("market", "reconcile", MARKET, "2020", "2090", "--json")
    assert (done.status, done.document["code"]) == (cli.REFUSED, "not-found")
    done = await town.run("market", "reconcile", BROKER, "yesterday", "2090")
    assert done.status == cli.USAGE


async def test_route_of_a_read_is_proven_at_both_ends(town: Town) -> None:
    """By requester and holder, with time and decision; kept for later."""
    consent = await agreed(town)
    words = "read", "--consent", consent, *WHAT
    (result,) = (await town.json("market", *words))["results"]
    for label in ("market", "energy"):
        text = await town.ok(label, "route-proof", result["exchange"])
        assert f"{result['exchange']} (" in text
        assert "✓" in text
        assert "hoshino/broker" in text
        kept = await town.json(label, "route-proof", result["exchange"], "--no-ask")
        (route,) = kept["routes"]
        assert route["verdict"] == "proven"
        assert [hop["decision"] for hop in route["hops"]] == ["forward"]
        assert route["proofs"][0]["broker"] == BROKER
        assert route["asked"] is (label == "market")
