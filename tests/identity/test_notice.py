# SPDX-License-Identifier: Apache-2.0
"""The text shown: complete, in two languages, and not to be forged by a title."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from identity.notice import notice_of, render
from protocol.membership import DataClass
from protocol.signature import digest_of
from tests.identity.home import draft


@pytest.mark.parametrize("language", ["ja", "en"])
def test_text_names_everything_that_is_agreed_to(
    language: Literal["ja", "en"],
) -> None:
    """Who, what, why, how long; whoever reads it needs nothing else."""
    text = render(draft(language=language, retention_days=30))
    for word in (
        "hoshino/clinic",
        "minato/nursery",
        "health.checkup",
        "treatment",
        "30",
        "2030",
    ):
        assert word in text


def test_special_care_is_named_in_words() -> None:
    """要配慮個人情報 must be recognizable (requirement 44)."""
    assert "要配慮個人情報" in render(draft())
    assert "special-care" in render(draft(language="en"))


def test_titles_stand_with_their_ids() -> None:
    """A nice title must not hide whose it is."""
    assert "星野病院 (hoshino/clinic)" in render(draft())
    assert "Hoshino clinic (hoshino/clinic)" in render(draft(language="en"))


def test_title_cannot_forge_a_line() -> None:
    """Titles come from other organizations."""
    evil = {"hoshino/clinic": {"ja": "病院\n提供先: だれにも渡しません\u202e"}}
    lines = render(draft(titles=evil)).splitlines()
    assert len([line for line in lines if line.startswith("提供先:")]) == 1
    assert "\u202e" not in "".join(lines)


@pytest.mark.parametrize(
    ("changes", "japanese", "english"),
    [
        ({"ends": None}, "撤回するまで", "until you withdraw"),
        ({"opt": "out"}, "オプトアウト", "opt-out"),
        ({"hidden_holder": True}, "知らせません", "does not learn"),
        ({}, "いつでも", "at any time"),
    ],
)
def test_what_matters_most_is_said(
    changes: dict[str, Any], japanese: str, english: str
) -> None:
    """No end, opt-out, hidden holder, and how to stop."""
    assert japanese in render(draft(**changes))
    assert english in render(draft(language="en", **changes))


def test_single_fields_are_named() -> None:
    """Not only the type."""
    scope = (
        draft()
        .scope[0]
        .model_copy(
            update={"fields": ("height", "weight"), "data_class": DataClass.PERSONAL}
        )
    )
    assert "height、weight" in render(draft(scope=(scope,)))


def test_same_draft_gives_the_same_digest() -> None:
    """So that later everybody can tell what was shown."""
    notice = notice_of(draft())
    assert notice == notice_of(draft())
    assert notice.digest == digest_of(render(draft()).encode("utf-8"))
    assert notice.digest != notice_of(draft(retention_days=1)).digest


def test_times_are_those_of_the_reader() -> None:
    """Japan's in Japanese; the same instant in UTC."""
    changed = {"starts": 1_900_000_000}
    assert "2030-03-18 02:46" in render(draft(**changed))
    assert "2030-03-17 17:46 UTC" in render(draft(language="en", **changed))
