# SPDX-License-Identifier: Apache-2.0
"""`machikura dataset`: types as people read them, and the holder's own policy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from node import cli
from tests.node.commands.town import Town, run_command

pytestmark = pytest.mark.slow
CATALOG = Path(__file__).resolve().parents[3] / "vault" / "catalog"
POLICY = ("dataset", "policy", "energy.usage")


async def test_types_are_listed_and_shown(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In short, whole, and in the language of the terminal."""
    await town.start("broker", "energy")
    assert "Energy usage" in await town.ok("energy", "dataset", "list")
    text = await town.ok("energy", "dataset", "show", "energy.usage")
    assert "purpose energy-saving-advice" in text
    whole = await town.json("energy", "dataset", "show", "energy.usage")
    assert whole["schema"]["type"] == "object"
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    assert "エネルギー使用量" in await town.ok("energy", "dataset", "list")
    unknown = "dataset", "show", "energy.none"
    assert await town.refused("energy", *unknown) == "unknown-dataset-type"


async def test_type_is_added_once(town: Town) -> None:
    """Again changes nothing; the same version with other content is refused."""
    await town.start("broker", "energy")
    definition = json.loads((CATALOG / "energy.usage.json").read_bytes())
    definition["name"] = "energy.solar"
    file = town.folder / "solar.json"
    file.write_text(json.dumps(definition), encoding="utf-8")
    assert (await town.json("energy", "dataset", "add", file))["new"] is True
    assert "already" in await town.ok("energy", "dataset", "add", file)
    assert "energy.solar" in await town.ok("energy", "dataset", "list")
    definition["evidence_level"] = 3
    file.write_text(json.dumps(definition), encoding="utf-8")
    assert await town.refused("energy", "dataset", "add", file) == "conflict"
    file.write_text("{}", encoding="utf-8")
    await town.refused("energy", "dataset", "add", file)


async def test_policy_changes_only_what_is_said(town: Town) -> None:
    """What was set before stays, until `--reset`."""
    await town.start("broker", "energy")
    assert (await town.json("energy", *POLICY))["shared"] is True
    await town.ok("energy", *POLICY, "--withhold", "kind", "--refuse", "hoshino/market")
    found = await town.json(
        "energy", *POLICY, "--not-shared", "--purpose", "watch-over"
    )
    assert found["withheld_fields"] == ["kind"]
    assert found["refused"] == ["hoshino/market"]
    assert (found["shared"], found["purposes"]) == (False, ["watch-over"])
    text = await town.ok("energy", *POLICY, "--reset", "--retention-days", "90")
    assert "any" in text
    kept = await town.json("energy", *POLICY)
    assert kept["withheld_fields"] == []
    assert kept["retention_days"] == 90


async def test_wrong_policy_is_refused(town: Town) -> None:
    """The node says which member is wrong."""
    await town.start("broker", "energy")
    await town.refused("energy", *POLICY, "--retention-days", "0")
    done = await town.run("energy", *POLICY, "--refuse", "nobody")
    assert done.status == cli.REFUSED
    assert "refused" in done.stderr
    await town.refused("energy", "dataset", "policy", "energy.none", "--not-shared")


def test_missing_definition_is_told(tmp_path: Path) -> None:
    """Without asking a node."""
    done = run_command("dataset", "add", tmp_path / "none", "--socket", tmp_path / "s")
    assert done.status == cli.REFUSED
    assert "No such file" in done.stderr
