# SPDX-License-Identifier: Apache-2.0
"""Dates and times as Japanese offices write them, turned into ISO 8601.

Accepted: `2023-04-01`, `2023/4/1`, `2023年4月1日`, `20230401`, an era (`令和5年4月1日`,
`R5.4.1`, `㋿5/4/1`), the era digit of receipts (`5050401`), spreadsheet serials
(`45017`), full-width digits. Refused: two-digit years and what has no day. Text in,
text out; the time zone of a text without one is an argument, +09:00 in Japan.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Final

from vault.formats.problems import BadValue

JST: Final = timezone(timedelta(hours=9))

# First day of each era; a year past an era's end is plain arithmetic (平成32年), since
# long-lived documents were written before the era changed.
_ERAS: Final = (
    ("1", "明治", "m", date(1868, 1, 25)),
    ("2", "大正", "t", date(1912, 7, 30)),
    ("3", "昭和", "s", date(1926, 12, 25)),
    ("4", "平成", "h", date(1989, 1, 8)),
    ("5", "令和", "r", date(2019, 5, 1)),
)
_ERA_START: Final = {
    name: start for digit, *names, start in _ERAS for name in (digit, *names)
}
_YMD: Final = re.compile(r"(\d{4})(?:[-/.]|年)(\d{1,2})(?:[-/.]|月)(\d{1,2})日?")
_COMPACT: Final = re.compile(r"(\d{4})(\d{2})(\d{2})")
_ERA_YMD: Final = re.compile(
    r"(明治|大正|昭和|平成|令和|[mtshr])\.?(元|\d{1,2})(?:[-/.]|年)"
    r"(\d{1,2})(?:[-/.]|月)(\d{1,2})日?"
)
_ERA_COMPACT: Final = re.compile(r"([1-5mtshr])(\d{2})(\d{2})(\d{2})")
_SERIAL: Final = re.compile(r"(\d{5})(\.\d+)?")
_PARTIAL: Final = re.compile(
    r"(?:\d{4}|(?:明治|大正|昭和|平成|令和|[mtshr])\.?(?:元|\d{1,2}))"
    r"(?:年|(?:[-/.]|年)\d{1,2}月?)?"
)
_SHORT_YEAR: Final = re.compile(r"\d{1,2}[-/.]\d{1,2}[-/.]\d{1,4}")
_WEEKDAY: Final = re.compile(r"\([月火水木金土日](?:曜日?)?(?:・?[祝休])?\)")
_TAIL_TIME: Final = re.compile(
    r"[t ]*((?:午前|午後)?\d{1,2}(?::|時).*|(?<=t)\d{4}.*|(?<= )\d{1,2}:\d{2}.*)$"
)
_ZONE: Final = re.compile(r"(z|[+-]\d{2}:?\d{2})$")
_TIME: Final = re.compile(
    r"(午前|午後|am|pm)?(\d{1,2})(?::|時)(\d{1,2})?(?::|分)?"
    r"(?:(\d{1,2})(?:\.\d+)?秒?)?(am|pm)?"
)
_COMPACT_TIME: Final = re.compile(r"(\d{2})(\d{2})(\d{2})?")
_COMPACT_DATETIME: Final = re.compile(r"(\d{8})(\d{4}(?:\d{2})?)")
_FRACTION: Final = re.compile(r"0?\.\d+")
# A spreadsheet's day 1 is 1900-01-01 and it believes in 1900-02-29.
_SERIAL_ORIGIN: Final = date(1899, 12, 30)
_SERIAL_DAYS: Final = range(10000, 73051)  # 1927 to 2100
_YEARS: Final = range(1850, 2201)


def plain(text: str) -> str:
    """Return the text with half-width letters, one case, and no weekday."""
    folded = unicodedata.normalize("NFKC", text).strip().casefold()
    return _WEEKDAY.sub("", folded)


def parse_date(text: str) -> str:
    """Return `YYYY-MM-DD`; a time of day after the date is cut off.

    A text that names its zone is taken to the date in Japan.

    Raises:
        BadValue: date-invalid, -incomplete, -ambiguous, -outside-era.
    """
    day, seconds, zone = _parts(plain(text))
    if zone is None or seconds is None:
        return day.isoformat()
    return _instant(day, seconds, zone).astimezone(JST).date().isoformat()


def parse_datetime(text: str, zone: timezone = JST) -> str:
    """Return `YYYY-MM-DDTHH:MM:SS±HH:MM` in `zone`; 24:00 is the next midnight.

    Args:
        text: a date with a time; a date alone means midnight.
        zone: the offset of the answer, and of a text that names none.

    Raises:
        BadValue: as `parse_date`, or time-invalid.
    """
    day, seconds, named = _parts(plain(text))
    return _instant(day, seconds or 0, named or zone).astimezone(zone).isoformat()


def _parts(folded: str) -> tuple[date, int | None, timezone | None]:
    """Split a folded text into the day, the seconds of the day and the zone."""
    serial = _SERIAL.fullmatch(folded)
    if serial:
        seconds = round(float("0" + serial[2]) * 86400) if serial[2] else None
        return _calendar_date(serial[1]), seconds, None
    compact = _COMPACT_DATETIME.fullmatch(folded)
    if compact:
        folded = f"{compact[1]}t{compact[2]}"
    zone = None
    marker = _ZONE.search(folded, 10)
    if marker and ("t" in folded or ":" in folded[: marker.start()]):
        zone = _offset(marker[1])
        folded = folded[: marker.start()]
    tail = None if folded.isdigit() else _TAIL_TIME.search(folded, 6)
    if tail is None:
        return _calendar_date(folded.replace(" ", "")), None, zone
    day = _calendar_date(folded[: tail.start()].replace(" ", ""))
    return day, _seconds(tail[1]), zone


def parse_time(text: str) -> str:
    """Return `HH:MM`, or `HH:MM:SS` where seconds count.

    A closing time of 24:00 becomes 23:59, as the standard data sets ask (24 is among
    the faults seen in published files).

    Raises:
        BadValue: time-invalid.
    """
    folded = plain(text)
    if folded in ("24", "24時", "24:00", "24:00:00", "24時00分", "2400"):
        return "23:59"
    if _FRACTION.fullmatch(folded):
        seconds = round(float(folded) * 86400)
    else:
        seconds = _seconds(folded)
    if seconds >= 86400:
        raise BadValue("time-invalid")
    hours, rest = divmod(seconds, 3600)
    clock = f"{hours:02d}:{rest // 60:02d}"
    return clock if rest % 60 == 0 else f"{clock}:{rest % 60:02d}"


def _calendar_date(folded: str) -> date:
    found = _YMD.fullmatch(folded) or _COMPACT.fullmatch(folded)
    if found:
        return _date(int(found[1]), int(found[2]), int(found[3]))
    era = _ERA_YMD.fullmatch(folded) or _ERA_COMPACT.fullmatch(folded)
    if era:
        start = _ERA_START[era[1]]
        year = 1 if era[2] == "元" else int(era[2])
        if year == 0:
            raise BadValue("date-invalid")
        day = _date(start.year + year - 1, int(era[3]), int(era[4]))
        if day < start:
            raise BadValue("date-outside-era")
        return day
    serial = _SERIAL.fullmatch(folded)
    if serial and int(serial[1]) in _SERIAL_DAYS:
        return _SERIAL_ORIGIN + timedelta(days=int(serial[1]))
    if _SHORT_YEAR.fullmatch(folded):
        raise BadValue("date-ambiguous")
    if _PARTIAL.fullmatch(folded):
        raise BadValue("date-incomplete")
    raise BadValue("date-invalid")


def _date(year: int, month: int, day: int) -> date:
    if year not in _YEARS:
        raise BadValue("date-invalid")
    try:
        return date(year, month, day)
    except ValueError as error:
        raise BadValue("date-invalid") from error


def _seconds(folded: str) -> int:
    """Return the seconds since midnight, at most those of 24:00."""
    folded = folded.replace(" ", "")
    found = _TIME.fullmatch(folded)
    if found:
        half, hour, minute, second = found[1] or found[5], found[2], found[3], found[4]
    else:
        compact = _COMPACT_TIME.fullmatch(folded)
        if compact is None:
            raise BadValue("time-invalid")
        half, (hour, minute, second) = None, compact.groups()
    hours = int(hour) + (12 if half in ("午後", "pm") and int(hour) < 12 else 0)
    if half in ("午前", "am") and hours == 12:
        hours = 0
    minutes, seconds = int(minute or 0), int(second or 0)
    total = hours * 3600 + minutes * 60 + seconds
    if minutes > 59 or seconds > 59 or total > 86400:
        raise BadValue("time-invalid")
    return total


def _offset(marker: str) -> timezone:
    if marker == "z":
        return UTC
    hours, minutes = int(marker[1:3]), int(marker[-2:])
    if hours > 14 or minutes > 59:
        raise BadValue("time-invalid")
    delta = timedelta(hours=hours, minutes=minutes)
    return timezone(-delta if marker[0] == "-" else delta)


def _instant(day: date, seconds: int, zone: timezone) -> datetime:
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    return midnight + timedelta(seconds=seconds)
