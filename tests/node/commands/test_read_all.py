# SPDX-License-Identifier: Apache-2.0
"""`machikura read --all` and `fetch`: whole sets and files, between running nodes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from node import cli
from node.commands.api_client import ApiClient
from tests.node.commands.test_read import WHAT, agreed
from tests.node.commands.town import Town

pytestmark = pytest.mark.slow


def lines(text: str) -> list[Any]:
    """Return lines of JSON."""
    return [json.loads(line) for line in text.splitlines()]


async def test_every_record_is_a_line(town: Town) -> None:
    """Records on standard output, what became of the set on standard error."""
    consent = await agreed(town)
    words = "read", "--all", "--consent", consent, *WHAT
    done = await town.run("market", *words, "--json")
    assert done.status == 0, done.stderr
    records = lines(done.stdout)
    assert [line["holder"] for line in records] == ["hoshino/energy"] * 2
    assert {line["record"]["content"]["usage"] for line in records} == {254, 231}
    holder, end = lines(done.stderr)
    assert holder == {"holder": "hoshino/energy", "records": 2, "done": True}
    assert end == {"end": True, "complete": True, "records": 2}
    plain = await town.run("market", *words)
    assert "✓ hoshino/energy: 2 records" in plain.stderr


async def test_set_that_is_not_complete_says_so(town: Town) -> None:
    """Exit status 1, the problem, and the lines that came before stay."""
    consent = await agreed(town)
    words = "read", "--all", "--consent", consent, "--type", "energy.usage"
    done = await town.run("market", *words, "--purpose", "marketing", "--json")
    assert done.status == cli.REFUSED
    holder, end = lines(done.stderr)
    assert holder["problem"]["code"] in ("purpose-unknown", "purpose-not-consented")
    assert end == {"end": True, "complete": False, "records": 0}
    plain = await town.run("market", *words, "--purpose", "marketing")
    assert "✗ hoshino/energy" in plain.stderr


async def test_set_that_cannot_begin_is_a_problem(town: Town) -> None:
    """An unknown consent or type, and a page of several holders at once."""
    await agreed(town)
    unknown = "read", "--all", "--consent", "nothing", *WHAT
    assert await town.refused("market", *unknown) == "not-found"
    other = "--type", "energy.nothing", "--purpose", "energy-saving-advice"
    words = "read", "--all", "--consent", "nothing", *other
    assert await town.refused("market", *words) == "unknown-dataset-type"


async def test_attachment_is_seen_in_a_read_and_fetched(
    town: Town, tmp_path: Path
) -> None:
    """The digest is the holder's; both sides show the transfer."""
    consent = await agreed(town)
    (result,) = (await town.json("market", "read", "--consent", consent, *WHAT))[
        "results"
    ]
    record = str(result["records"][0]["id"])
    content = os.urandom(2_500_000)
    scan, copy = tmp_path / "meter.png", tmp_path / "copy.png"
    scan.write_bytes(content)
    added = await town.json(
        "energy", "attachment", "add", record, scan, "--field", "usage"
    )
    shown = await town.ok("market", "read", "--consent", consent, *WHAT)
    assert added["id"] in shown
    assert "image/png" in shown
    words = (
        *("fetch", added["id"], "--record", record, "--consent", consent),
        *(*WHAT, "--holder", "hoshino/energy", "--to", copy),
    )
    saved = await town.json("market", *words)
    assert saved["sha256"] == hashlib.sha256(content).hexdigest()
    assert saved["attempts"] == 1
    for label, side in (("market", "requester"), ("energy", "holder")):
        (transfer,) = (await town.json(label, "transfers"))["transfers"]
        assert transfer["side"] == side
        assert transfer["position"] == transfer["size"] == len(content)
        assert "100 %" in await town.ok(label, "transfers")
    hidden = await town.json(
        "energy", "attachment", "add", record, scan, "--field", "amount_yen"
    )
    refused = ("fetch", hidden["id"], *words[2:])
    assert await town.refused("market", *refused) == "field-outside-purpose"
    client = ApiClient(town.cores["market"].parts.settings.admin_socket)
    order = {
        "dataset_type": "energy.usage",
        "purpose": "energy-saving-advice",
        "consent": consent,
        "record": record,
        "attachment": added["id"],
        "offset": len(content) - 10,
    }

    def tail() -> bytes:
        with client.download("POST", "/v1/exchanges/fetch", body=order) as answer:
            return answer.read()

    assert await asyncio.to_thread(tail) == content[-10:]
