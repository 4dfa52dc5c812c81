# SPDX-License-Identifier: Apache-2.0
"""One cell becomes one value, as its column's type says.

Cells arrive as text (CSV) or as JSON values (NDJSON). An empty cell becomes None and is
left out of the record. Nothing is guessed: what can be read in two ways is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Final

from protocol.canonical import MAX_SAFE_INTEGER, Json
from vault.formats import codes
from vault.formats.dates import parse_date, parse_datetime, parse_time
from vault.formats.problems import BadValue
from vault.formats.profile import Column, Kind, value_key
from vault.formats.screen import is_my_number, text_problem
from vault.formats.text import UNREADABLE

_EMPTY: Final = frozenset(
    (
        "",
        "-",
        "--",
        "―",
        "—",
        "‐",
        "ー",
        "−",
        "n/a",
        "na",
        "null",
        "none",
        "不明",
        "未定",
    )
)
_YES: Final = re.compile(
    "1|○|◯|〇|●|◎|レ|✓|✔|有|有り|あり|可|はい|済|該当|true|yes|y|on"
)
_NO: Final = re.compile("0|×|✕|✗|☓|無|無し|なし|不可|いいえ|未|非該当|false|no|n|off")
_NUMBER: Final = re.compile(
    r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d*)?(?:e[+-]?\d{1,3})?"
)
_DEGREES: Final = re.compile(
    r"(\d{2,3})(?:度|°|\.)(\d{1,2})(?:分|'|′|\.)(\d{1,2}(?:\.\d+)?)(?:秒|\"|''|′′|)"
)
_URL: Final = re.compile(r"https?://[^\s<>\"]+", re.IGNORECASE)
_EMAIL: Final = re.compile(r"[^\s@<>\"]+@[^\s@<>\"]+\.[^\s@<>\".]+")
_LATITUDES: Final = (20.0, 46.0)
_LONGITUDES: Final = (122.0, 154.0)


def convert(value: Json, column: Column) -> Json:
    """Return the field's value, or None for an empty cell.

    Raises:
        BadValue: what is wrong, without the value.
    """
    if column.type == "list":
        return _list(value, column)
    if column.type == "id-list":
        return _id_list(value)
    if isinstance(value, bool):
        if column.type in ("boolean", "flag"):
            return value
        raise BadValue("value-kind")
    text = _text(value)
    if column.choices is not None:
        return _chosen(text, column)
    if column.type == "flag":
        return bool(text) and _boolean(text)
    if not text or (column.type != "text" and _folded(text) in _EMPTY):
        return None
    return _READERS[column.type](text, column)


def read_subject(value: Json) -> str:
    """Return the organization's own number of a person.

    Raises:
        BadValue: subject-missing, subject-invalid, my-number-refused,
            mangled-by-spreadsheet, control-character, lone-surrogate.
    """
    if isinstance(value, bool | list | dict):
        raise BadValue("subject-invalid")
    text = _text(value)
    if code := text_problem(text):
        raise BadValue(code)
    try:
        subject = codes.identifier(text)
    except BadValue as error:
        too_long = error.code == "text-too-long"
        raise BadValue("subject-invalid" if too_long else error.code) from error
    if not subject or subject in _EMPTY:
        raise BadValue("subject-missing")
    if UNREADABLE in subject:
        raise BadValue("undecodable-text")
    if is_my_number(subject):
        raise BadValue("my-number-refused")
    return subject


def _text(value: Json) -> str:
    """Return a scalar as the text that a CSV file would hold."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int | float):
        return str(value)
    raise BadValue("value-kind")


def _folded(text: str) -> str:
    return codes.narrow(text).casefold()


def _chosen(text: str, column: Column) -> Json:
    choices = column.choices or {}
    key = value_key(text)
    if key in choices:
        return choices[key]
    if not key:
        return None
    raise BadValue("value-not-listed")


def _boolean(text: str) -> bool:
    folded = _folded(text)
    if _YES.fullmatch(folded):
        return True
    if _NO.fullmatch(folded) or folded in _EMPTY:
        return False
    raise BadValue("boolean-invalid")


def number(text: str, unit: str | None = None) -> int | float:
    """Read a number: commas, full-width digits, yen, △ for minus, its own unit.

    Raises:
        BadValue: number-invalid, number-too-large.
    """
    folded = _folded(text).replace(" ", "").replace("−", "-")
    folded = folded.removesuffix("円").lstrip("¥\\")
    if unit:
        folded = folded.removesuffix(_folded(unit))
    if folded[:1] in ("△", "▲"):
        folded = "-" + folded[1:]
    elif folded[:1] == "(" and folded[-1:] == ")":
        folded = "-" + folded[1:-1]
    if not _NUMBER.fullmatch(folded) or not re.search(r"\d", folded.partition("e")[0]):
        raise BadValue("number-invalid")
    digits = folded.replace(",", "")
    found = float(digits)
    if not re.fullmatch(r"[+-]?\d+", digits):
        if math.isfinite(found):
            return found
    elif abs(found) <= MAX_SAFE_INTEGER:
        return int(digits)
    raise BadValue("number-too-large")


def _integer(text: str, column: Column) -> int:
    found = number(text, column.unit)
    if found != int(found):
        raise BadValue("integer-expected")
    return int(found)


def _coordinate(text: str, column: Column) -> float:
    """Read decimal degrees or degrees, minutes and seconds.

    Either coordinate of Japan is let through: rows with the two swapped are put right
    later, when both are known.
    """
    degrees = _DEGREES.fullmatch(_folded(text).replace(" ", ""))
    if degrees:
        parts = [float(part) for part in degrees.groups()]
        found = parts[0] + parts[1] / 60 + parts[2] / 3600
    else:
        found = float(number(text))
    low, high = _LATITUDES if found < 100 else _LONGITUDES
    if found != 0 and not low <= found <= high:
        raise BadValue("coordinate-invalid")
    return round(found, 8)


def is_latitude(value: float) -> bool:
    """Tell whether a coordinate is a latitude of Japan, not a longitude."""
    return _LATITUDES[0] <= value <= _LATITUDES[1]


def _identifier(text: str, column: Column) -> str:
    found = codes.identifier(text)
    if is_my_number(found):
        raise BadValue("my-number-refused")
    return found


def _matching(pattern: re.Pattern[str], code: str) -> Callable[[str, Column], Json]:
    def read(text: str, column: Column) -> Json:
        narrow = codes.narrow(text)
        if not pattern.fullmatch(narrow):
            raise BadValue(code)
        return narrow

    return read


def _list(value: Json, column: Column) -> Json:
    """Split text at the separator of either width; a JSON list comes as it is."""
    if isinstance(value, list):
        members = [_text(member) for member in value]
    else:
        narrow = codes.narrow(column.separator) or column.separator
        text = _text(value)
        for spelling in (column.separator, narrow, _wide(narrow), "\n"):
            text = text.replace(spelling, "\0")
        members = [part.strip() for part in text.split("\0")]
    if column.choices is not None:
        found = [_chosen(member, column) for member in members if member]
    else:
        found = [member for member in members if member]
    return found or None


def _wide(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def _id_list(value: Json) -> Json:
    """Read `種別:番号;種別:番号`, or a JSON list of {idType, id}."""
    if isinstance(value, list):
        members = value
    else:
        parts = codes.narrow(_text(value)).split(";")
        pairs = [part.rpartition(":") for part in parts]
        members = [
            {"idType": kind.strip() or "ID", "id": codes.identifier(serial)}
            for kind, _, serial in pairs
            if serial.strip()
        ]
    for member in members:
        if not isinstance(member, dict):
            raise BadValue("value-kind")
        if is_my_number(member.get("id")):
            raise BadValue("my-number-refused")
    return members or None


_READERS: Final[dict[Kind, Callable[[str, Column], Json]]] = {
    "text": lambda text, column: text,
    "id": _identifier,
    "integer": _integer,
    "number": lambda text, column: number(text, column.unit),
    "boolean": lambda text, column: _boolean(text),
    "date": lambda text, column: parse_date(text),
    "datetime": lambda text, column: parse_datetime(text),
    "time": lambda text, column: parse_time(text),
    "latitude": _coordinate,
    "longitude": _coordinate,
    "municipal-code": lambda text, column: codes.municipal_code(text),
    "town-id": lambda text, column: codes.town_id(text),
    "corporate-number": lambda text, column: codes.corporate_number(text),
    "postal-code": lambda text, column: codes.postal_code(text),
    "phone": lambda text, column: codes.phone(text),
    "url": _matching(_URL, "url-invalid"),
    "email": _matching(_EMAIL, "email-invalid"),
}
