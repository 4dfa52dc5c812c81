# SPDX-License-Identifier: Apache-2.0
"""`machikura routes` and `machikura status`: the node's surroundings."""

from __future__ import annotations

import pytest

from node import cli
from tests.node.commands.town import Town

pytestmark = pytest.mark.slow


async def test_city_without_agreements_has_no_routes(town: Town) -> None:
    """Said in words, not by an empty table; ways are shown in the scenario test."""
    await town.start("broker")
    assert "No routes" in await town.ok("broker", "routes")
    assert await town.json("broker", "routes") == {"routes": []}


async def test_only_brokers_have_routes(town: Town) -> None:
    """A vault node does not offer the question."""
    await town.start("broker", "market")
    done = await town.run("market", "routes", "--json")
    assert (done.status, done.document["code"]) == (cli.REFUSED, "not-found")


async def test_status_of_a_node_is_shown(town: Town) -> None:
    """With its links and checks."""
    await town.start("broker", "market")
    assert "peer: hoshino/broker" in await town.ok("market", "status")


async def test_way_to_a_node_is_traced_with_its_times(town: Town) -> None:
    """By every node; the broker on the way stands in it with its round trip."""
    await town.start("broker", "market")
    report = await town.json("market", "trace", "hoshino/market")
    assert report["reached"]
    assert [hop["node"] for hop in report["hops"]] == [
        "hoshino/broker",
        "hoshino/market",
    ]
    assert all(hop["round_ms"] >= 0 for hop in report["hops"])
    assert "ROUND" in await town.ok("market", "trace", "hoshino/broker")
