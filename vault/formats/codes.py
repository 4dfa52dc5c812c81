# SPDX-License-Identifier: Apache-2.0
"""Code numbers of Japanese public data: checked, completed where one reading is left.

Spreadsheets drop leading zeros, so a municipal code of five digits is either a whole
code without its zero or one without its check digit. Where both readings hold, or a
check digit is wrong, the value is refused: guessing would move data to another city.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from protocol.ids import municipal_check_digit
from vault.formats.problems import BadValue

_WRAPPED: Final = re.compile(r'="(.*)"|\'(.*)', re.DOTALL)
_DIGITS_DOT_ZERO: Final = re.compile(r"([+-]?\d+)\.0+")
_ROUNDED: Final = re.compile(r"\d(?:\.\d+)?[eE]\+?\d+")
_DASHES: Final = re.compile("[‐‑‒–—―−ー-]")
_MAX_ID: Final = 200


def narrow(text: str) -> str:
    """Return the text in half-width letters and digits, without space around it."""
    return (text if text.isascii() else unicodedata.normalize("NFKC", text)).strip()


def identifier(text: str) -> str:
    """Return an identifier without what a spreadsheet puts around it.

    `="0012"` and `'0012` are spreadsheet spellings of the text 0012; `12.0` of the
    number 12. A number that was rounded cannot be brought back.

    Raises:
        BadValue: mangled-by-spreadsheet, text-too-long.
    """
    token = narrow(text)
    wrapped = _WRAPPED.fullmatch(token)
    if wrapped:
        token = (wrapped[1] or wrapped[2] or "").strip()
    if _ROUNDED.fullmatch(token):
        raise BadValue("mangled-by-spreadsheet")
    if len(token) > _MAX_ID:
        raise BadValue("text-too-long", limit=_MAX_ID)
    whole = _DIGITS_DOT_ZERO.fullmatch(token)
    return whole[1] if whole else token


def _digits(text: str) -> str:
    return _DASHES.sub("", identifier(text)).replace(" ", "")


def municipal_code(text: str) -> str:
    """Return the six digits of a 全国地方公共団体コード.

    Raises:
        BadValue: municipal-code-invalid, or -ambiguous where two readings hold.
    """
    digits = _digits(text)
    if not re.fullmatch(r"[0-9]{4,6}", digits):
        raise BadValue("municipal-code-invalid")
    if len(digits) == 6:
        readings = {digits}
    elif len(digits) == 5:
        readings = {"0" + digits, digits + municipal_check_digit(digits)}
    else:
        readings = {"0" + digits + municipal_check_digit("0" + digits)}
    sound = {code for code in readings if _is_municipal(code)}
    if len(sound) > 1:
        raise BadValue("municipal-code-ambiguous")
    if not sound:
        raise BadValue("municipal-code-invalid")
    return sound.pop()


def _is_municipal(code: str) -> bool:
    return 1 <= int(code[:2]) <= 47 and code[5] == municipal_check_digit(code[:5])


def town_id(text: str) -> str:
    """Return the seven digits of a 町字ID, with lost leading zeros.

    Raises:
        BadValue: town-id-invalid.
    """
    digits = _digits(text)
    if not re.fullmatch(r"[0-9]{4,7}", digits):
        raise BadValue("town-id-invalid")
    return digits.zfill(7)


def corporate_number(text: str) -> str:
    """Return the 13 digits of a 法人番号 (check digit: 国税庁告示).

    Raises:
        BadValue: corporate-number-invalid, mangled-by-spreadsheet.
    """
    digits = _digits(text)
    if not re.fullmatch(r"[0-9]{13}", digits):
        raise BadValue("corporate-number-invalid")
    weighted = sum(
        int(digit) * (1 if position % 2 else 2)
        for position, digit in enumerate(reversed(digits[1:]), start=1)
    )
    if int(digits[0]) != 9 - weighted % 9:
        raise BadValue("corporate-number-invalid")
    return digits


def postal_code(text: str) -> str:
    """Return the seven digits of a 郵便番号, with one lost leading zero.

    Raises:
        BadValue: postal-code-invalid.
    """
    digits = _digits(text).removeprefix("〒")
    if not re.fullmatch(r"[0-9]{6,7}", digits):
        raise BadValue("postal-code-invalid")
    return digits.zfill(7)


_PHONE: Final = re.compile(
    r"[+(]?\d[\d() -]+(?:(?: ?/ ?|[;,、]) ?[+(]?\d[\d() -]+)*"
    r"(?: ?\(?(?:内線|代表|代|ext\.?)[: ]?\d*\)?)?",
    re.IGNORECASE,
)


def phone(text: str) -> str:
    """Return a telephone number with half-width characters and its lost zero.

    Raises:
        BadValue: phone-invalid, mangled-by-spreadsheet.
    """
    number = _DASHES.sub("-", identifier(text))
    if not _PHONE.fullmatch(number):
        raise BadValue("phone-invalid")
    if number.isdigit() and len(number) in (9, 10) and number[0] != "0":
        return "0" + number
    return number
