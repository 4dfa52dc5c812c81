# SPDX-License-Identifier: Apache-2.0
"""The catalog: every code that the protocol can give is explained in two languages."""

import ast
import re
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from protocol import errors
from protocol.errors import MachikuraError
from protocol.problem_catalog import CATALOG

PROTOCOL = Path(errors.__file__).parent


def texts_in(function: str, module: str) -> set[str]:
    """Return the texts that a function of a module returns."""
    tree = ast.parse((PROTOCOL / f"{module}.py").read_text(encoding="utf-8"))
    found = next(
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == function
    )
    return {
        str(node.value.value)
        for node in ast.walk(found)
        if isinstance(node, ast.Return)
        and isinstance(node.value, ast.Constant)
        and node.value.value is not None
    }


def reasons_of_decisions() -> set[str]:
    """Return every text in the decision that looks like a code."""
    tree = ast.parse((PROTOCOL / "decision.py").read_text(encoding="utf-8"))
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"[a-z]+(-[a-z]+)+", node.value)
    }


def test_every_error_is_in_the_catalog() -> None:
    """Whatever is raised can be shown to a person."""
    slugs = {
        kind.slug
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, MachikuraError)
    }
    assert slugs <= CATALOG.keys()


def test_every_refusal_of_the_decision_is_in_the_catalog() -> None:
    """A resident reads why something was not released."""
    reasons = reasons_of_decisions()
    assert len(reasons) > 25
    assert reasons <= CATALOG.keys()


def test_every_legal_limit_is_in_the_catalog() -> None:
    """An officer reads why a consent cannot be issued."""
    limits = texts_in("legal_limits", "consent")
    assert limits
    assert limits <= CATALOG.keys()


def test_every_clause_of_an_agreement_is_in_the_catalog() -> None:
    """An operator reads which clause forbids an exchange."""
    clauses = texts_in("refusal", "agreement")
    assert clauses
    assert clauses <= CATALOG.keys()


@pytest.mark.parametrize("code", CATALOG)
def test_entry_is_complete(code: str) -> None:
    """Title and remedy, English and Japanese, and a status that fits."""
    entry = CATALOG[code]
    texts = (entry.title_en, entry.title_ja, entry.remedy_en, entry.remedy_ja)
    assert all(text and text == text.strip() for text in texts)
    assert 400 <= entry.status <= 599
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
    assert entry.remedy_en.endswith((".", "?"))
    assert entry.remedy_ja.endswith("。")


@pytest.mark.parametrize("code", CATALOG)
def test_japanese_is_japanese(code: str) -> None:
    """A text that was forgotten in English shows."""
    entry = CATALOG[code]
    assert not entry.title_ja.isascii()
    assert not entry.remedy_ja.isascii()
    assert entry.title_en.isascii()


def test_no_two_codes_have_the_same_title() -> None:
    """Two codes with one title are one code, or one wrong title."""
    for titles in (
        [entry.title_en for entry in CATALOG.values()],
        [entry.title_ja for entry in CATALOG.values()],
    ):
        assert sorted(set(titles)) == sorted(titles)


def test_entry_cannot_be_changed() -> None:
    """The catalog is data."""
    with pytest.raises(FrozenInstanceError):
        CATALOG["internal"].status = 200  # type: ignore[misc]  # what is tested
