# SPDX-License-Identifier: Apache-2.0
"""The last look at a row's content: nothing unprintable, inexact or forbidden passes.

The My Number (個人番号) may be held for social security, tax and disaster matters alone
(番号法). One 12-digit number in eleven has its check digit by chance, so it is looked
for where a name or a word says that it is one, or where an identifier is expected.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Final

from protocol.canonical import MAX_SAFE_INTEGER, Json
from protocol.ids import looks_like_my_number

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_MY_NUMBER_NAMES: Final = (
    "個人番号",
    "マイナンバー",
    "mynumber",
    "individualnumber",
    "kojinbango",
)
_TWELVE_DIGITS: Final = re.compile(r"(?<!\d)\d{4}\D?\d{4}\D?\d{4}(?!\d)")
_SPREADSHEET_TAIL: Final = re.compile(r"\.0+$")
_MAX_DEPTH: Final = 16


def names_my_number(name: str) -> bool:
    """Tell whether a column's or member's name says that it holds My Numbers."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    plain = plain.replace(" ", "").replace("_", "").replace("-", "")
    return any(word in plain for word in _MY_NUMBER_NAMES)


def is_my_number(value: Json, *, named: bool = False) -> bool:
    """Tell whether an identifier, as text or number, passes the check digit.

    Args:
        value: what may be an identifier.
        named: its column says My Number: leading zeros may have been lost then.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return False
    text = unicodedata.normalize("NFKC", str(value)).strip()
    text = _SPREADSHEET_TAIL.sub("", text)
    if named and 9 <= len(text) < 12 and text.isdigit():
        text = text.zfill(12)
    return looks_like_my_number(text)


def text_problem(text: str) -> str | None:
    """Return the code of what is wrong with a text, or None."""
    if _SURROGATE.search(text):
        return "lone-surrogate"
    if _CONTROL.search(text):
        return "control-character"
    if _TWELVE_DIGITS.search(text):
        plain = unicodedata.normalize("NFKC", text)
        if names_my_number(plain) and any(
            looks_like_my_number(found) for found in _TWELVE_DIGITS.findall(plain)
        ):
            return "my-number-refused"
    return None


def content_problem(content: Mapping[str, Json]) -> tuple[str, str | None] | None:
    """Return the code and the top-level field of the first thing wrong, or None.

    The field is None where its own name is what is wrong. A caller that did not give
    the names itself MUST NOT repeat the field.
    """
    for name, value in content.items():
        if code := text_problem(name):
            return code, None
        if code := _value_problem(value, names_my_number(name), _MAX_DEPTH):
            return code, name
    return None


def _value_problem(value: Json, forbidden: bool, depth: int) -> str | None:
    """Walk into a value; `forbidden` if a name above it says My Number."""
    if forbidden and is_my_number(value, named=True):
        return "my-number-refused"
    if isinstance(value, str):
        return text_problem(value)
    if isinstance(value, int):
        return None if abs(value) <= MAX_SAFE_INTEGER else "number-too-large"
    if isinstance(value, float):
        return None if math.isfinite(value) else "number-too-large"
    if value is None:
        return None
    if depth == 0:
        return "nested-too-deep"
    named = value.items() if isinstance(value, dict) else (("", m) for m in value)
    for name, member in named:
        code = text_problem(name) or _value_problem(
            member, forbidden or names_my_number(name), depth - 1
        )
        if code:
            return code
    return None
