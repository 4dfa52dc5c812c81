# SPDX-License-Identifier: Apache-2.0
"""The layers as a table, and the imports that must agree with it.

Every import counts, wherever it stands: at the top, under `TYPE_CHECKING`, inside a
function. `violations` is a pure function of path and source text, so the second half of
this file feeds it faults and sees them named. A new module falls under the rules of its
package by itself; a new library is one word in the table, with a reason in the commit.
"""

import ast
import graphlib
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Layer:
    """What one package may import."""

    ours: frozenset[str]
    libraries: frozenset[str]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _declared_libraries(pyproject: str) -> frozenset[str]:
    """Return the import names of what the project declares, the test extra aside."""
    project = tomllib.loads(pyproject)["project"]
    extras = project.get("optional-dependencies", {})
    lines = project["dependencies"] + [
        line for name, lines in extras.items() if name != "test" for line in lines
    ]
    names = [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in lines]
    renamed = {"pynacl": "nacl", "pydantic": "pydantic pydantic_core"}
    return _words(" ".join(renamed.get(n, n.replace("-", "_")) for n in names))


MODELS = _words("pydantic pydantic_core orjson")
COMPUTING = MODELS | _words("cryptography nacl")
LAYERS = {
    "protocol": Layer(frozenset(), COMPUTING),
    "identity": Layer(_words("protocol"), COMPUTING | {"sqlalchemy"}),
    "vault": Layer(_words("protocol"), COMPUTING | {"sqlalchemy", "jsonschema_rs"}),
    "federation": Layer(_words("protocol identity"), MODELS | {"sqlalchemy"}),
    "node": Layer(
        _words("protocol identity vault federation"),
        _declared_libraries((ROOT / "pyproject.toml").read_text(encoding="utf-8")),
    ),
}
# One module opens sockets, one announces on the local network.
LIBRARIES_OF_ONE_MODULE = {
    "federation.transport": _words("aiohttp"),
    "federation.discovery": _words("zeroconf"),
}

# The part of the standard library that computes: no I/O, clock, chance or threads.
PURE = _words(
    "__future__ abc base64 binascii bisect collections contextlib copy dataclasses "
    "datetime decimal enum fractions functools hashlib heapq hmac ipaddress itertools "
    "json math operator re string struct textwrap types typing unicodedata "
    "urllib.parse uuid zlib zoneinfo"
)
# The network and other processes: for the rim only.
RIM = _words(
    "ftplib http multiprocessing select selectors smtplib socket socketserver sqlite3 "
    "ssl subprocess urllib.request"
)
RIM_MODULES = _words("node federation.transport federation.discovery")
# Synchronous inside: what decides, keeps or encodes does not know the event loop. The
# links of federation do, although they open no socket.
EVENT_LOOP = _words("asyncio")
SYNCHRONOUS_MODULES = _words(
    "identity vault federation.agreements federation.broker federation.catalog "
    "federation.directory federation.frames federation.handshake federation.ledger "
    "federation.peers federation.replay federation.routing federation.tables"
)
CLOCK_AND_CHANCE = _words("random secrets time")
OWNER_OF_CLOCK_AND_CHANCE = "node.system"
# Import inside a function: for start-up time of the command line, nowhere else.
LAZY_MODULES = _words("node.cli")

# Inside node, from the base up: a module imports its own height or below. Modules that
# are not named here stand outside this order, not outside the rule against cycles.
HEIGHTS = [
    _words("auth limits jobs database problems config system"),
    _words("gateway connectors governance operations"),
    _words("portal console api"),
    _words("app"),
    _words("cli"),
]


@dataclass(frozen=True)
class Import:
    """One imported name, as written: `from a.b import c` is `a.b.c`."""

    name: str
    line: int
    inside_function: bool


def violations(sources: Mapping[str, str]) -> list[str]:
    """Return every broken rule as one line "path:line: what".

    Args:
        sources: Source text by path from the project root, with forward slashes.
    """
    modules = {_module(path) for path in sources}
    graph: dict[str, set[str]] = {}
    found: list[str] = []
    for path, source in sorted(sources.items()):
        module, tree = _module(path), ast.parse(source, filename=path)
        if path.endswith("/__init__.py") and not _is_docstring_only(tree):
            found.append(f"{path}:1: __init__.py holds a docstring only")
        found.extend(f"{path}:{line}: {what}" for line, what in _dynamic(tree))
        for imported in _imports(tree):
            where = f"{path}:{imported.line}"
            target = _resolve(imported.name, modules)
            if target is not None:
                graph.setdefault(module, set()).add(target)
            fault = _fault(module, imported, target)
            if fault is not None:
                found.append(f"{where}: {fault}")
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        found.append(f"cycle: {' > '.join(reversed(error.args[1]))}")
    return found


def _fault(module: str, imported: Import, target: str | None) -> str | None:
    """Return what is wrong with one import, or None."""
    name = imported.name
    package, root = module.split(".")[0], name.split(".")[0]
    if name.startswith("."):
        return "relative import"
    if root in LAYERS:
        if root != package and root not in LAYERS[package].ours:
            return f"{package} may not import {root}"
        if imported.inside_function and not _within(module, LAZY_MODULES):
            return f"{root} is imported inside a function"
        if target is not None and _height(target) > _height(module) >= 0:
            return f"{module} stands below {target}"
        return None
    if _within(name, CLOCK_AND_CHANCE):
        owner = module == OWNER_OF_CLOCK_AND_CHANCE
        return None if owner else f"clock and chance are arguments: {name}"
    if root in sys.stdlib_module_names:
        if package == "protocol" and not _within(name, PURE):
            return f"protocol only computes: {name}"
        if _within(name, RIM) and not _within(module, RIM_MODULES):
            return f"belongs at the rim: {name}"
        if _within(name, EVENT_LOOP) and _within(module, SYNCHRONOUS_MODULES):
            return f"{module} does not know the event loop"
        return None
    allowed = LAYERS[package].libraries.union(
        *(extra for m, extra in LIBRARIES_OF_ONE_MODULE.items() if _within(module, {m}))
    )
    return None if root in allowed else f"{module} may not import {root}"


def _imports(tree: ast.Module) -> Iterator[Import]:
    """Yield every imported name with the place it is imported at."""
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            names = [f"{start}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield Import(name, node.lineno, id(node) in inside)


def _dynamic(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield calls that import by a name computed while running."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func).split(".")[-1]
            if called in ("__import__", "import_module"):
                yield node.lineno, f"import in disguise: {called}"


def _is_docstring_only(tree: ast.Module) -> bool:
    return len(tree.body) == 1 and ast.get_docstring(tree) is not None


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _resolve(name: str, modules: set[str]) -> str | None:
    """Return the longest beginning of `name` that is a module of ours."""
    while name not in modules:
        if "." not in name:
            return None
        name = name.rpartition(".")[0]
    return name


def _within(name: str, roots: frozenset[str] | set[str]) -> bool:
    """Tell whether `name` is one of `roots` or lies under one."""
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def _height(module: str) -> int:
    """Return the place of a module in node's inner order, -1 where it has none."""
    package, _, rest = module.partition(".")
    if package != "node":
        return -1
    part = rest.split(".")[0]
    return next((i for i, names in enumerate(HEIGHTS) if part in names), -1)


def test_imports_of_the_project_agree_with_the_layers() -> None:
    """The rule itself, over every module there is."""
    sources = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for package in LAYERS
        for path in (ROOT / package).rglob("*.py")
    }
    assert set(LAYERS) <= {_module(path) for path in sources}
    assert violations(sources) == []


FAULTS = {
    "protocol knows no other package": (
        {"protocol/a.py": "from vault.records import Record"},
        "protocol/a.py:1: protocol may not import vault",
    ),
    "protocol does no input and output": (
        {"protocol/a.py": "import pathlib"},
        "protocol only computes: pathlib",
    ),
    "protocol parses addresses but opens none": (
        {"protocol/a.py": "from urllib import parse\nfrom urllib import request"},
        "protocol/a.py:2: protocol only computes: urllib.request",
    ),
    "protocol has no database": (
        {"protocol/a.py": "import sqlalchemy"},
        "protocol.a may not import sqlalchemy",
    ),
    "identity has no HTTP": (
        {"identity/a.py": "from aiohttp import web"},
        "identity.a may not import aiohttp",
    ),
    "identity does not know the vault": (
        {"identity/a.py": "import vault.records as store"},
        "identity may not import vault",
    ),
    "vault does not know who is calling": (
        {"vault/a.py": "from identity.trust import Registry"},
        "vault may not import identity",
    ),
    "vault stays off the event loop": (
        {"vault/a.py": "import asyncio"},
        "vault.a does not know the event loop",
    ),
    "routing is a pure function": (
        {"federation/routing.py": "from asyncio import Queue"},
        "federation.routing does not know the event loop",
    ),
    "a link opens no socket": (
        {"federation/link.py": "import asyncio\nimport socket"},
        "federation/link.py:2: belongs at the rim: socket",
    ),
    "federation is unable to open a record": (
        {"federation/a.py": "from vault import release"},
        "federation may not import vault",
    ),
    "federation decrypts nothing": (
        {"federation/a.py": "from cryptography.hazmat.primitives import hpke"},
        "federation.a may not import cryptography",
    ),
    "one module of federation opens sockets": (
        {"federation/routing.py": "import aiohttp"},
        "federation.routing may not import aiohttp",
    ),
    "one module of federation announces": (
        {"federation/transport.py": "import zeroconf"},
        "federation.transport may not import zeroconf",
    ),
    "nothing imports node": (
        {"federation/a.py": "from node.config import Settings"},
        "federation may not import node",
    ),
    "node uses declared libraries": (
        {"node/a.py": "import requests"},
        "node.a may not import requests",
    ),
    "the base of node does not import its top": (
        {"node/config.py": "from node import app", "node/app.py": ""},
        "node.config stands below node.app",
    ),
    "the console is above the jobs": (
        {
            "node/jobs.py": "from node.console.home import page",
            "node/console/home.py": "",
        },
        "node.jobs stands below node.console.home",
    ),
    "a type hint is an import": (
        {
            "vault/a.py": (
                "from typing import TYPE_CHECKING\n"
                "if TYPE_CHECKING:\n    from node.app import App"
            )
        },
        "vault/a.py:3: vault may not import node",
    ),
    "a function is no way around": (
        {"vault/a.py": "def f():\n    from vault import b", "vault/b.py": ""},
        "vault/a.py:2: vault is imported inside a function",
    ),
    "a method is no way around": (
        {"vault/a.py": "class C:\n  async def f(self):\n    import protocol.ids"},
        "vault/a.py:3: protocol is imported inside a function",
    ),
    "a computed name is no way around": (
        {"vault/a.py": "import importlib\nimportlib.import_module('no' + 'de')"},
        "vault/a.py:2: import in disguise: import_module",
    ),
    "absolute imports only": (
        {"vault/a.py": "from . import b"},
        "relative import",
    ),
    "two modules do not need each other": (
        {"vault/a.py": "import vault.b", "vault/b.py": "from vault.a import f"},
        "cycle: ",
    ),
    "a hint closes a cycle": (
        {
            "vault/a.py": "from vault.b import f",
            "vault/b.py": (
                "from typing import TYPE_CHECKING\n"
                "if TYPE_CHECKING:\n    from vault.a import T"
            ),
        },
        "cycle: ",
    ),
    "the time is an argument": (
        {"node/jobs.py": "import time"},
        "clock and chance are arguments: time",
    ),
    "chance is an argument": (
        {"federation/simulation.py": "from random import Random"},
        "clock and chance are arguments: random.Random",
    ),
    "a package holds nothing itself": (
        {"vault/__init__.py": '"""Text."""\nfrom vault.a import f', "vault/a.py": ""},
        "vault/__init__.py:1: __init__.py holds a docstring only",
    ),
}


@pytest.mark.parametrize(("sources", "fault"), FAULTS.values(), ids=FAULTS)
def test_fault_is_named(sources: dict[str, str], fault: str) -> None:
    """Each rule has a source text that breaks it and nothing else."""
    found = violations(sources)
    assert len(found) == 1
    assert fault in found[0]


ALLOWED = {
    "protocol computes": {"protocol/a.py": "import hashlib, orjson, nacl.signing"},
    "packages build downwards": {
        "vault/a.py": "from protocol.ids import NodeId\nimport sqlalchemy as sa",
        "protocol/ids.py": "",
    },
    "one module opens sockets": {"federation/transport.py": "import aiohttp, asyncio"},
    "it may grow into a folder": {"federation/transport/a.py": "import aiohttp"},
    "one module announces": {
        "federation/discovery.py": "from zeroconf import Zeroconf"
    },
    "one module owns clock and chance": {"node/system.py": "import time, secrets"},
    "the command line starts quickly": {
        "node/cli.py": "def run():\n    from node import app",
        "node/app.py": "import typer, prometheus_client, federation",
    },
    "a library may load late": {"node/a.py": "def f():\n    import alembic"},
}


@pytest.mark.parametrize("sources", ALLOWED.values(), ids=ALLOWED)
def test_allowed_import_passes(sources: dict[str, str]) -> None:
    """What the table allows is not reported."""
    assert violations(sources) == []


def test_libraries_are_read_from_the_metadata() -> None:
    """A connector's extra counts as declared, the test tools do not."""
    pyproject = """
        [project]
        dependencies = ["pynacl>=1", "jsonschema-rs>=0.60,<1; sys_platform == 'linux'"]
        [project.optional-dependencies]
        mqtt = ["aiomqtt"]
        test = ["pytest"]
    """
    assert _declared_libraries(pyproject) == {"nacl", "jsonschema_rs", "aiomqtt"}
