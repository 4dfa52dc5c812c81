# SPDX-License-Identifier: Apache-2.0
"""`machikura attachment`: files of any size go up and come down, whole or not."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from node.commands.api_client import ApiClient
from tests.node.commands.town import SUBJECT, Town

pytestmark = pytest.mark.slow
SIZE = 3 * (1 << 20) + 12_345


async def record_of(town: Town) -> str:
    """Store a record at the energy company; return its id."""
    client = ApiClient(town.cores["energy"].parts.settings.admin_socket)
    body = {
        "dataset_type": "energy.usage",
        "subject": SUBJECT,
        "content": {
            "period_start": "2026-10-01",
            "period_end": "2026-10-31",
            "kind": "electricity",
            "usage": 250,
            "unit": "kWh",
        },
    }
    stored: Any = await asyncio.to_thread(client.post, "/v1/records", body)
    return str(stored["id"])


def digest(path: Path) -> str:
    """Return the digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def names(folder: Path) -> list[str]:
    """Return what stands in a folder."""
    return sorted(path.name for path in folder.iterdir())


def on_disk(town: Town) -> list[Path]:
    """Return every file of an attachment."""
    folder = town.cores["energy"].parts.settings.attachments_folder
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_file_goes_up_and_comes_down(town: Town, tmp_path: Path) -> None:
    """Its bytes, name and type; the disk has it sealed."""
    await town.start("broker", "energy")
    record, content = await record_of(town), os.urandom(SIZE)
    scan = tmp_path / "検針票.pdf"
    scan.write_bytes(content)
    words = "attachment", "add", record, scan, "--field", "kind"
    added = await town.json("energy", *words)
    assert added["intact"]
    assert (added["size"], added["name"]) == (SIZE, "検針票.pdf")
    assert added["media_type"] == "application/pdf"
    listed = await town.ok("energy", "attachment", "list", record)
    assert "application/pdf" in listed
    (sealed,) = on_disk(town)
    assert content[:100] not in sealed.read_bytes()
    copy = tmp_path / "copy.pdf"
    saved = await town.json("energy", "attachment", "save", added["id"], "--to", copy)
    assert digest(copy) == hashlib.sha256(content).hexdigest()
    assert saved["sha256"] == hashlib.sha256(content).hexdigest()
    assert saved["resumed_at"] == 0
    assert names(tmp_path) == ["copy.pdf", "検針票.pdf"]


async def test_progress_is_told_in_lines(town: Town, tmp_path: Path) -> None:
    """A script reads positions on standard error and the result on standard output."""
    await town.start("broker", "energy")
    file = tmp_path / "scan.bin"
    file.write_bytes(os.urandom(SIZE))
    record = await record_of(town)
    words = "attachment", "add", record, file, "--field", "kind", "--json"
    done = await town.run("energy", *words)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert lines[-1] == {"position": SIZE, "size": SIZE}


async def test_save_goes_on_where_an_earlier_one_ended(
    town: Town, tmp_path: Path
) -> None:
    """What was flushed is kept, what was not is fetched again."""
    await town.start("broker", "energy")
    content, record = os.urandom(SIZE), await record_of(town)
    file, copy = tmp_path / "scan.bin", tmp_path / "copy.bin"
    file.write_bytes(content)
    words = "attachment", "add", record, file, "--field", "kind"
    added = await town.json("energy", *words)
    (tmp_path / "copy.bin.part").write_bytes(content[:200_000] + b"not flushed")
    note = {
        "id": added["id"],
        "size": SIZE,
        "sha256": hashlib.sha256(content).hexdigest(),
        "kept": 150_000,
    }
    (tmp_path / "copy.bin.part.json").write_text(json.dumps(note))
    saved = await town.json("energy", "attachment", "save", added["id"], "--to", copy)
    assert saved["resumed_at"] == 131_072
    assert digest(copy) == hashlib.sha256(content).hexdigest()


async def test_altered_partial_file_is_noticed(town: Town, tmp_path: Path) -> None:
    """The whole is held against what the holder signed; nothing is left of it."""
    await town.start("broker", "energy")
    content, record = os.urandom(SIZE), await record_of(town)
    file, copy = tmp_path / "scan.bin", tmp_path / "copy.bin"
    file.write_bytes(content)
    words = "attachment", "add", record, file, "--field", "kind"
    added = await town.json("energy", *words)
    (tmp_path / "copy.bin.part").write_bytes(bytes(131_072))
    note = {
        "id": added["id"],
        "size": SIZE,
        "sha256": hashlib.sha256(content).hexdigest(),
        "kept": 131_072,
    }
    (tmp_path / "copy.bin.part.json").write_text(json.dumps(note))
    save = "attachment", "save", added["id"], "--to", copy
    assert await town.refused("energy", *save) == "digest-mismatch"
    assert names(tmp_path) == ["scan.bin"]


async def test_deleted_attachment_leaves_no_file(town: Town, tmp_path: Path) -> None:
    """Alone, or with its record."""
    await town.start("broker", "energy")
    record = await record_of(town)
    file = tmp_path / "scan.bin"
    file.write_bytes(b"x" * 100_000)
    words = "attachment", "add", record, file, "--field", "kind"
    first, second = [await town.json("energy", *words) for _ in range(2)]
    assert len(on_disk(town)) == 2
    await town.ok("energy", "attachment", "delete", first["id"], "--yes")
    assert [path.name for path in on_disk(town)] == [second["id"]]
    gone = "attachment", "save", first["id"], "--to", tmp_path / "copy"
    assert await town.refused("energy", *gone) == "not-found"
    client = ApiClient(town.cores["energy"].parts.settings.admin_socket)
    await asyncio.to_thread(client.delete, f"/v1/records/{record}")
    assert on_disk(town) == []
