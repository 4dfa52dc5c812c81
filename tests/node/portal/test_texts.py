# SPDX-License-Identifier: Apache-2.0
"""Every word of the pages is there in both languages, and used."""

import re

import pytest

from node.portal.pages import HERE
from node.portal.texts import TEXTS, day, moment, other, text

SOURCES = [
    path.read_text(encoding="utf-8")
    for folder, kind in ((HERE / "templates", "*.html"), (HERE, "*.py"))
    for path in folder.glob(kind)
]
FAMILIES = ("state-", "status-", "done-", "period-")
"""Texts whose names are put together from a value."""


def test_every_text_that_a_page_asks_for_is_there() -> None:
    """In both languages, neither empty."""
    asked = {n for s in SOURCES for n in re.findall(r'\bt\(["\']([a-z-]+)["\'][,)]', s)}
    assert asked <= TEXTS.keys()
    assert all(all(pair) for pair in TEXTS.values())


def test_no_text_is_left_over() -> None:
    """What no page says any more is deleted."""
    everything = "\n".join(SOURCES)
    named = {n for n in TEXTS if re.search(f"[\"']{n}[\"']", _without(everything, n))}
    loose = {n for n in TEXTS.keys() - named if not n.startswith(FAMILIES)}
    assert loose == set()


def _without(everything: str, name: str) -> str:
    """Return the sources without the text's own definition."""
    return re.sub(rf'^ {{4}}"{name}": \(', "", everything, flags=re.MULTILINE)


@pytest.mark.parametrize("name", TEXTS)
def test_both_languages_name_the_same_values(name: str) -> None:
    """A sentence with a gap has it in both."""
    english, japanese = (sorted(re.findall(r"\{(\w+)\}", t)) for t in TEXTS[name])
    assert english == japanese


def test_times_are_written_as_people_of_that_language_do() -> None:
    """By the clock of Japan."""
    assert moment(1_800_000_000, "ja") == "2027年01月15日 17:00"
    assert moment(1_800_000_000, "en") == "2027-01-15 17:00 JST"
    assert moment(None, "en") == ""


def test_days_are_those_of_japan() -> None:
    """A day that was stored as an instant comes out as it went in."""
    assert day("2026-09-30T15:00:00Z", "en") == "2026-10-01"
    assert day("2026-10-01", "ja") == "2026年10月01日"
    assert day("autumn", "ja") == "autumn"


def test_values_stand_in_their_place() -> None:
    """And the other language is the other one."""
    assert text("code-life", "en", minutes=10).startswith("Show it there within 10")
    assert [other(lang) for lang in ("ja", "en")] == ["en", "ja"]
