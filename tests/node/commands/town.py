# SPDX-License-Identifier: Apache-2.0
"""A small real city for commands: four nodes in the test's event loop, on loopback.

Founding takes seconds (Argon2id, keys, memberships), so it is done once a session, in a
folder that each test copies. Commands run in a thread, as their entry point runs them.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import shutil
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from urllib.parse import parse_qs, urlsplit

from identity.totp import STEP_S, code_at
from node import cli
from node.admission import accept_offline
from node.app import start
from node.city_root import write_root
from node.commands.api_client import ApiClient
from node.config_file import load
from node.core import Core
from node.new_city import CityAnswers, NewCity, create_city
from node.new_node import Answers, NewNode, create
from node.system import SystemClock, system_entropy
from protocol.ids import CityId, NodeId
from protocol.membership import Credentials, DataClass, Role

PASSPHRASE = b"a long passphrase of the root"
PASSWORD = "correct horse battery"
ROLES = {"hall": Role.IDENTITY, "energy": Role.VAULT, "market": Role.VAULT}
SUBJECT = "E-880001"


USAGE_FILE = (
    Path(__file__).resolve().parents[3]
    / "deploy/example-cities/minato/energy/usage.csv"
)


@dataclass(frozen=True)
class Done:
    """What a finished command left."""

    status: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """The JSON that was printed."""
        return json.loads(self.stdout)


def run_command(*words: str | Path) -> Done:
    """Run the command line as its entry point does; it always exits."""
    out, err, status = io.StringIO(), io.StringIO(), -1
    with redirect_stdout(out), redirect_stderr(err):
        try:
            cli.main([str(word) for word in words])
        except SystemExit as ended:
            status = int(ended.code or 0)
    return Done(status, out.getvalue(), err.getvalue())


def free_port() -> int:
    """Return a port on loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def short_folder() -> Iterator[Path]:
    """Yield a folder whose path leaves room for Unix sockets."""
    folder = Path(mkdtemp(prefix="mk"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def secret_of(uri: str) -> bytes:
    """Return what an authenticator app reads from the address."""
    text = parse_qs(urlsplit(uri).query)["secret"][0]
    return base64.b32decode(text + "=" * (-len(text) % 8))


def now() -> int:
    """Return seconds since 1970."""
    return SystemClock().now_ms() // 1000


def found(folder: Path, city: str = "hoshino") -> NewCity:
    """Found a city in `folder`/city; nothing runs."""
    answers = CityAnswers(
        city=CityId(city),
        title_ja="星野市",
        title_en=city.title(),
        hosts=("127.0.0.1",),
        port=free_port(),
        key_file=folder / f"{city}-broker.key",
        contact="0999-55-0000",
        settings=(("api.port", 0), ("link.host", "127.0.0.1")),
    )
    millis = SystemClock().now_ms()
    return create_city(
        answers, folder / city, PASSPHRASE, now_ms=millis, entropy=system_entropy
    )


def make_node(folder: Path, made: NewCity, label: str) -> NewNode:
    """Set a node of the city up; it has not joined yet."""
    node = create(
        Answers(
            node=NodeId(f"{made.card.city}/{label}"),
            title_en=label,
            roles=(ROLES[label],),
            brokers=made.card.brokers,
            key_file=folder / f"{label}.key",
            settings=(("api.port", 0),),
        ),
        folder / label,
        now_ms=SystemClock().now_ms(),
        entropy=system_entropy,
    )
    write_root(node.settings.root_key_file, made.card.root_key())
    return node


async def _admitted(made: NewCity, nodes: list[NewNode]) -> list[Credentials]:
    """Let the broker run for a moment, to admit the nodes."""
    async with AsyncExitStack() as stack:
        await start(made.broker, stack)
        client = ApiClient(made.broker.admin_socket)
        bodies = [
            {
                "request": node.join_request.read_text(),
                "roles": [str(role) for role in node.settings.node.roles],
                "data_classes": [str(c) for c in DataClass],
            }
            for node in nodes
        ]
        answers = [
            await asyncio.to_thread(client.post, "/v1/members", body) for body in bodies
        ]
    return [Credentials(**answer) for answer in answers]


def prepare(folder: Path) -> None:
    """Found the city and let its nodes join."""
    made = found(folder)
    nodes = [make_node(folder, made, label) for label in ROLES]
    # A thread of its own: the session's fixtures and tests have their own loops.
    with ThreadPoolExecutor(1) as pool:
        credentials = pool.submit(asyncio.run, _admitted(made, nodes)).result()
        for node, shown in zip(nodes, credentials, strict=True):
            job = pool.submit(
                accept_offline,
                node.settings,
                shown,
                now=now(),
                entropy=system_entropy,
            )
            job.result()


class Town:
    """The running nodes, and commands to them."""

    def __init__(self, folder: Path) -> None:
        """Take a copy of the prepared folder."""
        self.folder = folder
        self.cores: dict[str, Core] = {}
        self.totp_uri = ""
        self._stacks: dict[str, AsyncExitStack] = {}

    def config(self, label: str) -> Path:
        """Return the settings file of a node."""
        place = self.folder / "hoshino" if label == "broker" else self.folder
        return place / label / "node.toml"

    @property
    def session(self) -> Path:
        """Return where the resident's session is kept."""
        return self.folder / "session"

    async def start(self, *labels: str) -> None:
        """Start nodes and wait until they are well."""
        for label in labels:
            stack = self._stacks[label] = AsyncExitStack()
            self.cores[label] = await start(load(self.config(label), {}), stack)
        for label in labels:
            done = await self.run(label, "doctor", "--wait", "20")
            assert done.status == 0, done.stdout + done.stderr

    async def stop(self, *labels: str) -> None:
        """Stop nodes; all of them if none is named."""
        for label in labels or list(self._stacks)[::-1]:
            await self._stacks.pop(label).aclose()

    async def run(self, label: str, *words: str | Path) -> Done:
        """Run a command at a node."""
        where = "--config", self.config(label)
        return await asyncio.to_thread(run_command, *words, *where)

    async def ok(self, label: str, *words: str | Path) -> str:
        """Run a command that succeeds, and return what it printed."""
        done = await self.run(label, *words)
        assert done.status == 0, done.stdout + done.stderr
        return done.stdout

    async def json(self, label: str, *words: str | Path) -> Any:
        """Run a command that succeeds, and return its document."""
        return json.loads(await self.ok(label, *words, "--json"))

    async def refused(self, label: str, *words: str | Path) -> str:
        """Run a command that the node refuses, and return the problem's code."""
        done = await self.run(label, *words, "--json")
        assert done.status == cli.REFUSED, done.stdout + done.stderr
        return str(done.document["code"])

    async def eventually(
        self, label: str, *words: str | Path, true: Callable[[Any], bool]
    ) -> Any:
        """Repeat a command until its document is as wanted, and return it."""
        clock = SystemClock()
        end = clock.monotonic() + 20
        while True:
            document = await self.json(label, *words)
            if true(document):
                return document
            assert clock.monotonic() < end, document

    async def resident(self) -> str:
        """Open an account, sign in with the password; return the account."""
        password = self.folder / "password"
        password.write_text(PASSWORD + "\n", encoding="utf-8")
        password.chmod(0o600)
        file = "--password-file", password
        added = await self.json("hall", "resident", "add", "hanako", *file)
        where = "--session-file", self.session
        await self.ok("hall", "resident", "sign-in", "hanako", *file, *where)
        self.totp_uri = str(added["totp_uri"])
        return str(added["account"])

    async def confirm_factor(self, account: str) -> str:
        """Put the second factor in force; return the next code, for the sign-in."""
        secret, moment = secret_of(self.totp_uri), now()
        confirm = "resident", "confirm-factor", account
        await self.ok("hall", *confirm, code_at(secret, moment))
        return code_at(secret, moment + STEP_S)

    async def both_factors(self, account: str) -> None:
        """Sign the resident in with password and code."""
        code = await self.confirm_factor(account)
        words = "--password-file", self.folder / "password", "--code", code
        where = "--session-file", self.session
        await self.ok("hall", "resident", "sign-in", "hanako", *words, *where)

    async def consent(self, account: str, *further: str) -> str:
        """Take a consent at the counter: market may receive from energy."""
        words = [
            "consent give --recipient hoshino/market --holder hoshino/energy",
            "--type energy.usage --purpose energy-saving-advice --officer sato",
        ]
        given = await self.json(
            "hall", *" ".join(words).split(), "--account", account, *further
        )
        return str(given["id"])

    async def linked(self, *labels: str) -> str:
        """Open an account and link it at holders; return the account."""
        account = await self.resident()
        for label in labels:
            holder = "--holder", f"hoshino/{label}"
            session = "--session-file", self.session
            code = await self.json("hall", "link", "code", *holder, *session)
            shown = "--home", "hoshino/hall", "--code", str(code["code"])
            await self.ok(label, "link", "claim", *shown, "--subject", SUBJECT)
        return account
