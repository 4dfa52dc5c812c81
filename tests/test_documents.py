# SPDX-License-Identifier: Apache-2.0
"""Documents against code: what they state is held to what the code says.

A document that names a module, a test, a limit, a document type or a problem is wrong
as soon as the code moves on; these tests notice.
"""

import ast
import importlib
import inspect
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from pydantic import BaseModel

from docs import make_problems
from docs.examples import make_example
from node.config_file import lines
from protocol.agreement import Agreement
from protocol.canonical import unb64url
from protocol.dataset import RecordHeader
from protocol.model import Document, Request
from protocol.problem_catalog import CATALOG
from protocol.provision import ProvisionRecord

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PACKAGES = ("protocol", "identity", "vault", "federation", "node")
PAGES = sorted(
    [*DOCS.rglob("*.md"), *(p for p in ROOT.glob("*.md") if not p.is_symlink())]
)
PROTOCOL = (DOCS / "protocol.md").read_text(encoding="utf-8")

LIMIT = r"^\| `([a-z_]+\.[a-z_]+)\.([A-Za-z_.]+)` \| (\d+) \|"

# `node.id` is a setting, not a module.
SETTINGS = frozenset(line.name for line in lines())

# Kept by one party, never on the wire.
NOT_ON_THE_WIRE = (Agreement, ProvisionRecord, RecordHeader)


def _page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def _sources(*packages: str) -> Iterator[Path]:
    for package in packages:
        yield from sorted((ROOT / package).rglob("*.py"))


def _code_words(text: str) -> set[str]:
    """Return everything that stands between single backticks."""
    return set(re.findall(r"`([^`\n]+)`", text))


# --------------------------------------------------------------------- the example


def test_example_is_what_the_code_makes() -> None:
    """Every byte follows from the seeds and the recorded ciphertexts, which open."""
    text = make_example.FILE.read_text(encoding="utf-8")
    recorded = json.loads(text)["ciphertexts"]
    assert make_example.render(make_example.build(recorded)) == text


def test_new_ciphertexts_open_as_well() -> None:
    """The example can be made anew, and what it makes passes its own check."""
    example = make_example.build(None)
    assert make_example.build(example["ciphertexts"]) == example


def test_example_holds_every_kind_of_signed_document() -> None:
    """Other implementations find one of each."""
    text = make_example.FILE.read_text(encoding="utf-8")
    headers = set(re.findall(r"\b(eyJ[\w-]+)\.eyJ[\w-]+\.", text))
    signatures = json.loads(json.loads(text)["agreement"])["signatures"]
    headers.update(signature["protected"] for signature in signatures)
    typs = {json.loads(unb64url(header))["typ"] for header in headers}
    assert typs == {f"machikura-{kind}+jws" for kind in _kinds_described()}


# ------------------------------------------------------------------- protocol.md


def _kinds_described() -> set[str]:
    section = PROTOCOL.partition("## 4. ")[2].partition("\n## 5. ")[0]
    return set(re.findall(r"^\| `([a-z-]+)` \|", section, re.M)) - set(_CLAIMS)


_CLAIMS = ("iss", "aud", "jti", "iat", "exp")


def _constants(tree: ast.Module) -> dict[str, str]:
    """Return the module's constants that are text."""
    found = {}
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(name)], value=ast.Constant(str(value))):
                found[name] = value
    return found


def _kind_of(call: ast.AST) -> ast.expr | None:
    """Return the kind of document that a call signs or parses."""
    match call:
        case (
            ast.Call(func=ast.Name("sign") | ast.Name("sign_bytes"), args=[_, kind, *_])
            | ast.Call(
                func=ast.Attribute(ast.Name("Received"), "parse"), args=[_, kind, *_]
            )
        ):
            return kind
    return None


def _kinds_signed() -> set[str]:
    """Return the kinds of all documents that any code signs or parses."""
    trees = {p: ast.parse(p.read_text(encoding="utf-8")) for p in _sources(*PACKAGES)}
    shared: dict[str, str] = {}
    for path, tree in trees.items():
        if path.parent.name == "protocol":
            shared.update(_constants(tree))
    found = set()
    for tree in trees.values():
        known = {**shared, **_constants(tree)}
        for node in ast.walk(tree):
            kind = _kind_of(node)
            if isinstance(kind, ast.Constant):
                found.add(str(kind.value))
            elif isinstance(kind, ast.Name) and kind.id in known:
                found.add(known[kind.id])
    return found


def test_every_kind_of_signed_document_is_described() -> None:
    """The table of section 4 and the code name the same kinds."""
    assert _kinds_signed() == _kinds_described()


def _wire_models() -> list[type[BaseModel]]:
    models: list[type[BaseModel]] = []
    for path in _sources("protocol"):
        module = importlib.import_module(f"protocol.{path.stem}")
        for _, found in inspect.getmembers(module, inspect.isclass):
            model: type = found
            ours = model.__module__ == module.__name__
            if ours and issubclass(model, Document | Request):
                models.append(model)
    return [m for m in models if m not in (Document, Request, *NOT_ON_THE_WIRE)]


@pytest.mark.parametrize("model", _wire_models(), ids=lambda model: model.__name__)
def test_every_member_of_a_document_is_described(model: type[BaseModel]) -> None:
    """Nothing travels that the protocol does not name."""
    words = _code_words(PROTOCOL) | set(re.findall(r'"([a-z_]+)":', PROTOCOL))
    names = {field.alias or name for name, field in model.model_fields.items()}
    assert names <= words


def test_every_query_and_result_is_described() -> None:
    """Each `op` has its row."""
    ops = {
        field.default
        for model in _wire_models()
        for name, field in model.model_fields.items()
        if name == "op"
    }
    assert ops <= _code_words(PROTOCOL)


def test_limits_are_those_of_the_code() -> None:
    """The table of limits is read and compared."""
    rows = re.findall(LIMIT, PROTOCOL, re.M)
    assert len(rows) > 15
    for module, name, value in rows:
        found: object = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        assert found == int(value), name


# -------------------------------------------------------------------- problems.md


def test_problems_page_is_made_from_the_catalog() -> None:
    """`python -m docs.make_problems` was run after the last change."""
    assert make_problems.FILE.read_text(encoding="utf-8") == make_problems.render()


def test_every_problem_named_in_the_protocol_exists() -> None:
    """Codes are not invented by a document."""
    section = PROTOCOL.partition("## 13. ")[2].partition("\n## 14. ")[0]
    section += PROTOCOL.partition("\n## 22. ")[2].partition("\n## 23. ")[0]
    named = re.findall(r"\(`([a-z]+-[a-z-]+)`", section)
    named += re.findall(r"^\| [^|]+ \| `([a-z]+-[a-z-]+)`", section, re.M)
    assert {code for code in named if code not in CATALOG} == set()


# --------------------------------------------------------------------- all pages


@cache
def _anchors(page: Path) -> frozenset[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    kept = (re.sub(r"[^\w\- ]", "", h.replace("`", "").lower()) for h in headings)
    return frozenset(h.strip().replace(" ", "-") for h in kept)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links name a file that exists, and a heading in it."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    text = re.sub(r"`[^`\n]+`", "", text)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in _anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_modules_and_tests_that_are_named_exist(page: Path) -> None:
    """`protocol/ids.py`, `tests/….py::test_…` and `protocol.ids` are really there."""
    for word in _code_words(page.read_text(encoding="utf-8")):
        path, _, test = word.partition("::")
        if re.fullmatch(rf"(?:{'|'.join(PACKAGES)}|tests)/[\w/]+\.\w+", path):
            assert (ROOT / path).is_file(), word
            if test:
                source = (ROOT / path).read_text(encoding="utf-8")
                assert f"def {test}(" in source, word
        elif word in SETTINGS:
            continue
        elif re.fullmatch(rf"(?:{'|'.join(PACKAGES)})\.[a-z_][\w.]*", word):
            module, *rest = word.split(".")
            parts = [ROOT / module]
            while rest and (parts[-1] / rest[0]).is_dir():
                parts.append(parts[-1] / rest.pop(0))
            if rest:
                assert (parts[-1] / f"{rest[0]}.py").is_file(), word


# -------------------------------------------------------------------- glossary.md


def test_classes_named_in_the_glossary_exist() -> None:
    """A word that is spelled as in the code is in the code."""
    words = {w for w in _code_words(_page("glossary.md")) if re.match("[A-Z][a-z]", w)}
    classes = {
        node.name
        for path in _sources(*PACKAGES)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    assert words - classes == set()


# ----------------------------------------------------------------- requirements.md

STATES = ("done", "partly", "planned")


def test_every_requirement_has_one_row() -> None:
    """Rows 1 to 118, once each, in order, each with a state that the page explains."""
    rows = re.findall(
        r"^\| (\d+) \| .+? \| ([a-z]+) \| .+ \|$", _page("requirements.md"), re.M
    )
    assert [int(number) for number, _ in rows] == list(range(1, 119))
    assert {state for _, state in rows} <= set(STATES)
    counted = [sum(s == state for _, s in rows) for state in STATES]
    told = "Of 118: {} done, {} partly, {} planned.".format(*counted)
    assert told in _page("requirements.md")


def test_requirement_that_is_done_names_a_test() -> None:
    """Whatever is called done can be run."""
    rows = re.findall(
        r"^\| (\d+) \| .+? \| done \| (.+) \|$", _page("requirements.md"), re.M
    )
    assert [number for number, where in rows if "`tests/" not in where] == []


# ----------------------------------------------------------------------- decisions


def test_decisions_are_numbered_and_have_the_four_parts() -> None:
    """A decision is found by its number and read in one form."""
    pages = sorted((DOCS / "decisions").glob("*.md"))
    numbers = [int(p.name[:4]) for p in pages]
    assert len(set(numbers)) == len(numbers)
    for page in pages:
        text = page.read_text(encoding="utf-8")
        headings = re.findall(r"^## (.+)$", text, re.M)
        assert headings == ["Context", "Decision", "Consequences", "Alternatives"], page
        assert text.startswith(f"# {page.name[:4]} "), page
