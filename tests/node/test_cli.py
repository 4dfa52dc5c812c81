# SPDX-License-Identifier: Apache-2.0
"""The command line: quick help, documented exit status, JSON for scripts."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest
import typer
from aiohttp import web
from typer.testing import CliRunner

from node import cli
from node.api import clients
from node.api.registry import Registry
from node.auth import Gate, bind_admin_socket
from node.commands import output
from node.commands.api_client import NodeProblem, NodeUnreachable
from node.config_file import CONFIG_VARIABLE, BadSettings, load
from node.database import InlineDatabase
from node.limits import RateLimit
from node.problems import problem_middleware
from protocol.errors import Malformed
from protocol.membership import JoinRequest
from tests.node.conftest import CountedEntropy, SetClock

ROOT = Path(__file__).resolve().parents[2]


INIT = ["init", "{tmp}/n", "--node", "hoshino/clinic", "--key-file", "{tmp}/k"]


@dataclass
class Done:
    """What a finished command left."""

    returncode: int
    stdout: str
    stderr: str


Machikura: TypeAlias = Callable[..., Done]


@pytest.fixture
def machikura(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Machikura:
    """Return a function that runs the command line as its entry point does."""
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)

    def run(*words: str, **environ: str) -> Done:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environ.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                cli.main(words)
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return run


def test_help_lists_the_commands_and_the_exit_status(machikura: Machikura) -> None:
    """What a newcomer sees first."""
    done = machikura("--help")
    assert done.returncode == cli.DONE
    for name in cli.COMMANDS:
        assert re.search(rf"│ {name} +", done.stdout)
    assert "Exit status: 0 done" in done.stdout


def test_help_loads_no_command() -> None:
    """That is why it is quick: under half a second."""
    probe = (
        "import sys\nfrom node.cli import build\nimport typer\n"
        "typer.main.get_command(build(None))\n"
        "print([m for m in ('aiohttp', 'pydantic', 'sqlalchemy', 'node.commands')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["no-such-command"], cli.USAGE),
        (["init"], cli.USAGE),
        (["client", "add", "emr"], cli.USAGE),
        (["client", "add", "emr", "--scope", "everything"], cli.USAGE),
        (["init", "{tmp}/n", "--node", "hoshino/clinic"], cli.UNUSABLE),
        (["init", "{tmp}/n", "--node", "No Id", "--key-file", "k"], cli.UNUSABLE),
        (["init", "{tmp}/n", "--key-file", "{tmp}/k"], cli.UNUSABLE),
        ([*INIT, "--set", "api.prot=1"], cli.UNUSABLE),
        ([*INIT, "--set", "api.port=many"], cli.UNUSABLE),
        ([*INIT, "--set", "api.port"], cli.UNUSABLE),
        (["status", "--config", "{tmp}/none.toml"], cli.UNUSABLE),
        (["status", "--socket", "{tmp}/none.sock"], cli.UNREACHABLE),
        (["client", "list", "--socket", "{tmp}/none.sock"], cli.UNREACHABLE),
    ],
)
def test_exit_status_is_as_documented(
    machikura: Machikura, tmp_path: Path, words: list[str], status: int
) -> None:
    """Scripts decide by it; nothing ends in a traceback."""
    done = machikura(*(word.replace("{tmp}", str(tmp_path)) for word in words))
    assert done.returncode == status, done.stderr
    assert done.stderr


def test_init_makes_a_node(machikura: Machikura, tmp_path: Path) -> None:
    """From the command line to a join request that verifies."""
    folder = tmp_path / "clinic"
    words = ["init", str(folder), "--node", "hoshino/clinic", "--title-ja", "星野医院"]
    further = ["--set", "api.port=9000", "--set", "link.public_url=wss://b.example"]
    done = machikura(*words, *further, "--key-file", str(tmp_path / "key"), "--json")
    assert done.returncode == cli.DONE, done.stderr
    made = json.loads(done.stdout)
    token = Path(made["join_request"]).read_text(encoding="ascii")
    assert JoinRequest.verify(token).body.sub == "hoshino/clinic"
    settings = load(Path(made["config_file"]), {})
    assert settings.api.port == 9000
    assert settings.link.public_url == "wss://b.example"
    again = machikura(*words, "--key-file", str(tmp_path / "key"))
    assert made["fingerprint"] in again.stdout


def test_problem_is_printed_in_the_language_of_the_terminal(
    machikura: Machikura, tmp_path: Path
) -> None:
    """With cause and remedy, on standard error."""
    words = ["status", "--socket", str(tmp_path / "none.sock")]
    done = machikura(*words, LC_ALL="ja_JP.UTF-8")
    assert done.stdout == ""
    assert "原因: nothing answers" in done.stderr
    assert "対処: " in done.stderr
    assert "remedy: " in machikura(*words).stderr


def test_problem_is_json_for_a_script(machikura: Machikura, tmp_path: Path) -> None:
    """One document on standard output in every case."""
    done = machikura("status", "--socket", str(tmp_path / "none.sock"), "--json")
    assert json.loads(done.stdout)["code"] == "peer-unreachable"


def test_completion_knows_the_options_of_a_command(machikura: Machikura) -> None:
    """Also of those that are loaded late."""
    done = machikura(
        _MACHIKURA_COMPLETE="complete_bash",
        COMP_WORDS="machikura init --pass",
        COMP_CWORD="2",
    )
    assert "--passphrase-file" in done.stdout


@pytest.mark.parametrize("name", [n for n in cli.COMMANDS if n != "serve"])
def test_line_in_the_help_says_what_the_command_says(name: str) -> None:
    """The table exists twice, so that the help is quick."""
    app = cli.build(name)
    command = typer.main.get_command(app)
    words = " ".join((getattr(command, "commands")[name].help or "").split())  # noqa: B009  (typer's group type is private)
    assert words.startswith(cli.COMMANDS[name][0])


@pytest.mark.parametrize("name", [n for n in cli.COMMANDS if n != "serve"])
def test_every_command_takes_json(name: str) -> None:
    """Whatever a person can read, a script can."""
    command = getattr(typer.main.get_command(cli.build(name)), "commands")[name]  # noqa: B009  (typer's group type is private)
    for leaf in getattr(command, "commands", {"": command}).values():
        assert "--json" in [option for p in leaf.params for option in p.opts]


async def serve(
    database: InlineDatabase, admin_socket: Path, ask: Callable[[], list[str]]
) -> list[str]:
    """Serve the clients' endpoints while `ask` runs in a thread."""
    registry, clock, entropy = (
        Registry(title="", version=""),
        SetClock(),
        CountedEntropy(),
    )
    clients.register(registry, database=database, now_ms=clock.now_ms, entropy=entropy)
    gate = Gate(
        database=database,
        now_ms=clock.now_ms,
        admin_socket=admin_socket,
        rate=RateLimit(per_s=1, burst=1),
    )
    app = web.Application(middlewares=[problem_middleware(entropy)])
    app.router.add_routes(registry.build(gate, max_body_bytes=10_000))
    runner = web.AppRunner(app)
    await runner.setup()
    await web.SockSite(runner, bind_admin_socket(admin_socket)).start()
    try:
        return await asyncio.to_thread(ask)
    finally:
        await runner.cleanup()


async def test_applications_are_managed_from_the_command_line(
    database: InlineDatabase, admin_socket: Path
) -> None:
    """Add, list, refuse a second one, remove."""
    runner = CliRunner()

    def run(*words: str) -> str:
        done = runner.invoke(
            cli.build("client"), ["client", *words, "--socket", str(admin_socket)]
        )
        return done.output if done.exception is None else type(done.exception).__name__

    def ask() -> list[str]:
        scopes = ["--scope", "records:read", "--scope", "status:read"]
        return [
            run("add", "emr", *scopes, "--title", "電子カルテ"),
            run("list"),
            run("add", "emr", *scopes),
            run("remove", "emr", "--json"),
            run("list", "--json"),
        ]

    added, listed, second, removed, rest = await serve(database, admin_socket, ask)
    assert re.search(r"client_secret: \S{43}\n", added)
    assert re.search(r"^emr +2027-01-15  records:read status:read  電子カルテ", listed)
    assert second == "NodeProblem"
    assert json.loads(removed) == {"id": "emr", "removed": True}
    assert json.loads(rest) == {"clients": []}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NodeProblem(403, {"code": "forbidden", "title": "Not allowed"}), cli.REFUSED),
        (Malformed("not a file of ours"), cli.REFUSED),
        (NodeUnreachable("nobody"), cli.UNREACHABLE),
        (BadSettings("api.port: too large"), cli.UNUSABLE),
    ],
)
def test_each_kind_of_error_has_its_status(
    error: Exception, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """And says its detail."""
    assert output.report(error, as_json=False) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("✗ ")


def test_bug_is_not_hidden() -> None:
    """Its traceback is what the developers need."""
    with pytest.raises(ZeroDivisionError):
        output.report(ZeroDivisionError(), as_json=False)
