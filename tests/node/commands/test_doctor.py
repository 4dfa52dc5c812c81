# SPDX-License-Identifier: Apache-2.0
"""`machikura doctor`: a table with causes and remedies, and an exit status."""

from __future__ import annotations

import pytest

from node import cli
from tests.node.commands.town import Town, run_command

pytestmark = pytest.mark.slow


async def test_node_that_is_well_passes(town: Town) -> None:
    """Every check has a ✓, the way to a peer included."""
    await town.start("broker", "market", "energy")
    done = await town.run("market", "doctor", "hoshino/energy")
    assert done.status == cli.DONE, done.stdout
    assert "✓ A canary exchange  (canary)" in done.stdout
    assert "✗" not in done.stdout


async def test_missing_link_is_named_with_its_remedy(town: Town) -> None:
    """An error ends with 1, so that a script notices."""
    await town.start("broker", "market")
    await town.stop("broker")
    done = await town.run("market", "doctor")
    assert done.status == cli.REFUSED
    assert "✗ Link to the city  (broker-link)" in done.stdout
    assert "→ Check `brokers` in the settings" in done.stdout


async def test_unknown_peer_ends_the_way(town: Town) -> None:
    """The first step that fails says why; those behind it are not tried."""
    await town.start("broker", "market")
    report = await town.run("market", "doctor", "minato/energy", "--json")
    assert report.status == cli.REFUSED
    checks = {check["id"]: check["ok"] for check in report.document["checks"]}
    assert list(checks.values())[-1] is False
    assert "canary" not in checks


async def test_words_are_those_of_the_terminal(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Japanese where the locale is."""
    await town.start("broker")
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    assert "会員証" in await town.ok("broker", "doctor")


async def test_wrong_peer_is_wrong_usage(town: Town) -> None:
    """Before anything is asked."""
    assert (await town.run("market", "doctor", "Energy")).status == cli.USAGE


async def test_node_that_does_not_run_is_told_after_the_wait(town: Town) -> None:
    """`--wait` gives up in the end."""
    done = await town.run("market", "doctor", "--wait", "0.3")
    assert done.status == cli.UNREACHABLE
    assert "machikura serve" in done.stderr


def test_help_tells_what_a_warning_is() -> None:
    """It does not fail the command."""
    assert "a warning (!) is not" in run_command("doctor", "--help").stdout
