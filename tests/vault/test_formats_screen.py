# SPDX-License-Identifier: Apache-2.0
"""The last look at a row's content."""

from __future__ import annotations

import math

import pytest

from protocol.canonical import Json
from tests.protocol.published import published
from tests.vault.files import MY_NUMBER
from vault.formats.screen import content_problem, is_my_number, names_my_number


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"note": "a\x00b"}, ("control-character", "note")),
        ({"note": "a\x85b"}, ("control-character", "note")),
        ({"note": ["\ud800"]}, ("lone-surrogate", "note")),
        ({"no\x00te": "a"}, ("control-character", None)),
        ({"n": 2**53}, ("number-too-large", "n")),
        ({"n": math.inf}, ("number-too-large", "n")),
        ({"n": math.nan}, ("number-too-large", "n")),
        ({"マイナンバー": MY_NUMBER}, ("my-number-refused", "マイナンバー")),
        ({"my_number": int(MY_NUMBER)}, ("my-number-refused", "my_number")),
        ({"ids": [{"個人番号": {"値": MY_NUMBER}}]}, ("my-number-refused", "ids")),
        ({"note": f"個人番号は{MY_NUMBER}です"}, ("my-number-refused", "note")),
        ({"note": "ﾏｲﾅﾝﾊﾞｰ 1234 5678 9018"}, ("my-number-refused", "note")),
    ],
)
def test_what_may_not_be_stored_is_found(
    content: dict[str, Json], expected: tuple[str, str | None]
) -> None:
    """Unprintable, inexact and forbidden values are named with their field."""
    assert content_problem(content) == expected


@pytest.mark.parametrize(
    "content",
    [
        {
            "note": "一行目\n二行目\tタブ",
            "n": 2**53 - 1,
            "x": -0.5,
            "b": True,
            "z": None,
        },
        {"jan": MY_NUMBER},
        {"note": f"伝票 {MY_NUMBER}"},
        {"個人番号": "会員 00123"},
        {"name": "𠮷野家 👪"},
    ],
)
def test_ordinary_content_passes(content: dict[str, Json]) -> None:
    """A 12-digit number alone is no My Number: one in eleven passes by chance."""
    assert content_problem(content) is None


def test_nesting_without_end_is_refused() -> None:
    """A record is a form, not a tree of any depth."""
    nested: Json = "x"
    for _ in range(50):
        nested = [nested]
    assert content_problem({"a": nested}) == ("nested-too-deep", "a")


def test_a_column_named_for_it_is_known_by_many_names() -> None:
    """Width, spaces and language of the name do not matter."""
    names = ["個人番号", "個人番号(12桁)", "マイナンバー", "ﾏｲﾅﾝﾊﾞｰ", "My Number"]
    assert all(names_my_number(name) for name in [*names, "individual_number"])
    assert not names_my_number("会員番号")


def test_a_zero_that_a_spreadsheet_dropped_does_not_hide_it() -> None:
    """In a column of that name, eleven digits are twelve with a lost zero."""
    number = next(n for n in range(10**10, 10**11) if is_my_number(f"{n:012d}"))
    assert is_my_number(number, named=True)
    assert not is_my_number(number)


def test_strings_that_break_programs_pass_or_are_refused() -> None:
    """The published list of naughty strings meets no other end."""
    listed = published("vectors/naughty_strings_odd.json")
    strings = listed if isinstance(listed, list) else listed["strings"]
    for text in strings:
        found = content_problem({"note": text})
        assert found is None or found[1] == "note"
