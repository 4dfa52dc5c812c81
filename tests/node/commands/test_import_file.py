# SPDX-License-Identifier: Apache-2.0
"""`machikura import`: files of any size, and a report of every row."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from node import cli
from tests.node.commands.town import USAGE_FILE, Town, run_command

pytestmark = pytest.mark.slow
ROOT = USAGE_FILE.parents[4]
PROFILES = ROOT / "vault" / "formats" / "profiles"


async def test_report_names_the_broken_rows(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row, field and reason; all others are kept."""
    await town.start("broker", "energy")
    text = await town.ok("energy", "import", USAGE_FILE)
    assert "stored 新規     5" in text
    assert "This is not a number." in text
    again = await town.json("energy", "import", USAGE_FILE)
    assert (again["stored"], again["known"]) == (0, 5)
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    assert "数値" in await town.ok("energy", "import", USAGE_FILE)


async def test_profile_of_one_s_own_is_used(town: Town) -> None:
    """JSON or TOML; also one whose text is long."""
    await town.start("broker", "energy")
    own = orjson.loads((PROFILES / "energy-usage.json").read_bytes())
    own["name"] = "our-usage"
    own["columns"][0]["names"] += [f"検針期間の初日その{n}" for n in range(150)]
    mapping = town.folder / "own.json"
    mapping.write_bytes(orjson.dumps(own))
    found = await town.json("energy", "import", USAGE_FILE, "--mapping", mapping)
    assert found["stored"] == 5
    toml = town.folder / "own.toml"
    toml.write_text(
        'name = "notes"\ndataset_type = "energy.usage"\nsubject = ["お客様番号"]\n'
        '[[columns]]\nnames = ["備考なし"]\nfield = "kind"\nrequired = true\n',
        encoding="utf-8",
    )
    done = await town.run("energy", "import", USAGE_FILE, "--mapping", toml)
    assert done.status == cli.REFUSED, "a file of which nothing is kept"


async def test_large_file_is_streamed(town: Town) -> None:
    """More than one piece, and more than a request body may have at once."""
    await town.start("broker", "energy")
    head, *rows = USAGE_FILE.read_bytes().split(b"\n")
    big = town.folder / "big.csv"
    with big.open("wb") as file:
        file.write(head + b"\n")
        for number in range(200):
            line = rows[0].replace(b"E-880001", b"E-%06d" % number)
            file.write(line.rstrip(b"\r") + b" " * 90_000 + b"\n")
    assert big.stat().st_size > 17_000_000
    found = await town.json("energy", "import", big)
    assert found["rows"] >= 200


async def test_standard_input_is_read(town: Town) -> None:
    """From a pipe, without a file in between."""
    await town.start("broker", "energy")
    words = [sys.executable, "-m", "node.cli", "import", "-", "--format", "csv"]
    socket = town.folder / "energy" / "admin.sock"
    done = await asyncio.to_thread(
        subprocess.run,
        [*words, "--socket", str(socket), "--json"],
        cwd=ROOT,
        input=USAGE_FILE.read_bytes(),
        capture_output=True,
        check=True,
    )
    assert orjson.loads(done.stdout)["stored"] == 5


async def test_node_refuses_what_it_does_not_know(town: Town) -> None:
    """The problem arrives although the file is not read to its end."""
    await town.start("broker", "energy")
    words = "import", USAGE_FILE, "--profile", "none"
    assert await town.refused("energy", *words) == "invalid-input"
    words = "import", USAGE_FILE, "--format", "xml"
    assert await town.refused("energy", *words) == "invalid-input"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["{tmp}/none.csv"], cli.REFUSED),
        (["{tmp}/file"], cli.USAGE),
        (["{tmp}/a.csv", "--profile", "a", "--mapping", "{tmp}/a.csv"], cli.USAGE),
        (["{tmp}/a.csv", "--mapping", "{tmp}/none"], cli.REFUSED),
        (["{tmp}/a.csv", "--mapping", "{tmp}/a.csv"], cli.REFUSED),
        (["{tmp}/a.csv", "--mapping", "{tmp}/huge.json"], cli.REFUSED),
        (["{tmp}/a.csv"], cli.UNREACHABLE),
    ],
)
def test_wrong_words_are_told(tmp_path: Path, words: list[str], status: int) -> None:
    """Before the node is asked, where the node is not needed to tell."""
    for name in ("a.csv", "file"):
        (tmp_path / name).write_text("a,b\n", encoding="utf-8")
    huge = orjson.loads((PROFILES / "energy-usage.json").read_bytes())
    huge["ignore"] = [f"列{n}" * 100 for n in range(100)]
    (tmp_path / "huge.json").write_bytes(orjson.dumps(huge))
    given = [word.replace("{tmp}", str(tmp_path)) for word in words]
    done = run_command("import", *given, "--socket", tmp_path / "none.sock")
    assert done.status == status, done.stderr
