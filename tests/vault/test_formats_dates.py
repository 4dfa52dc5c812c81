# SPDX-License-Identifier: Apache-2.0
"""Dates and times as Japanese offices write them."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.formats.dates import parse_date, parse_datetime, parse_time
from vault.formats.problems import BadValue


@pytest.mark.parametrize(
    "text",
    [
        "2023-04-01",
        "2023/4/1",
        "2023.04.01",
        "20230401",
        "2023年4月1日",
        "２０２３年４月１日",
        "2023/4/1(土)",
        "2023/4/1 0:00",
        "2023 年 4 月 1 日",
        "令和5年4月1日",
        "令和５年４月１日",
        "㋿5年4月1日",
        "R5.4.1",
        "r5/4/1",
        "R050401",
        "5050401",
        "平成35年4月1日",
        "45017",
        "45017.75",
        "2023-03-31T15:00:00Z",
        "2023-04-01T23:59:59+09:00",
    ],
)
def test_every_spelling_of_a_day_is_the_same_day(text: str) -> None:
    """Offices, receipts, spreadsheets and servers write one day in many ways."""
    assert parse_date(text) == "2023-04-01"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "date-invalid"),
        ("きのう", "date-invalid"),
        ("2023-02-29", "date-invalid"),
        ("2023-13-01", "date-invalid"),
        ("令和0年1月1日", "date-invalid"),
        ("99999", "date-invalid"),
        ("0023-04-01", "date-invalid"),
        ("23/4/1", "date-ambiguous"),
        ("4/1/2023", "date-ambiguous"),
        ("2023-04", "date-incomplete"),
        ("2023年", "date-incomplete"),
        ("令和5年4月", "date-incomplete"),
        ("令和元年4月1日", "date-outside-era"),
        ("昭和1年12月24日", "date-outside-era"),
    ],
)
def test_what_is_no_certain_day_is_refused(text: str, code: str) -> None:
    """A guessed date would be worse than a missing one."""
    with pytest.raises(BadValue) as refusal:
        parse_date(text)
    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("昭和64年1月7日", "1989-01-07"),
        ("平成元年1月8日", "1989-01-08"),
        ("大正15年12月24日", "1926-12-24"),
        ("明治45年7月29日", "1912-07-29"),
        ("S20.8.15", "1945-08-15"),
    ],
)
def test_eras_meet_at_their_borders(text: str, expected: str) -> None:
    """The first year of an era is its year 1 (元年)."""
    assert parse_date(text) == expected


@given(st.dates(date(1930, 1, 1), date(2099, 12, 31)))
def test_every_day_survives_each_spelling(day: date) -> None:
    """Any day written with slashes, in Japanese or as a serial reads back."""
    serial = (day - date(1899, 12, 30)).days
    for text in (
        f"{day.year}/{day.month}/{day.day}",
        f"{day.year}年{day.month}月{day.day}日",
        f"{day:%Y%m%d}",
        str(serial),
    ):
        assert parse_date(text) == day.isoformat()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024/05/01 18:12", "2024-05-01T18:12:00+09:00"),
        ("令和6年5月2日 9時5分", "2024-05-02T09:05:00+09:00"),
        ("2024年5月2日 午後3時", "2024-05-02T15:00:00+09:00"),
        ("2024-05-01T09:00:00Z", "2024-05-01T18:00:00+09:00"),
        ("2024-05-01T09:00:00.123+0900", "2024-05-01T09:00:00+09:00"),
        ("20240501090500", "2024-05-01T09:05:00+09:00"),
        ("45413.5", "2024-05-01T12:00:00+09:00"),
        ("2024/5/1", "2024-05-01T00:00:00+09:00"),
        ("2024/5/1 24:00", "2024-05-02T00:00:00+09:00"),
    ],
)
def test_a_moment_is_written_at_the_offset_of_japan(text: str, expected: str) -> None:
    """One offset makes moments comparable as text."""
    assert parse_datetime(text) == expected


@pytest.mark.parametrize("text", ["2024-05-01 25:00", "2024-05-01T09:00:00+99:00"])
def test_a_moment_without_a_sound_time_is_refused(text: str) -> None:
    """The date alone would hide the fault."""
    with pytest.raises(BadValue) as refusal:
        parse_datetime(text)
    assert refusal.value.code == "time-invalid"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9:30", "09:30"),
        ("９時３０分", "09:30"),
        ("0930", "09:30"),
        ("午前12時30分", "00:30"),
        ("午後5時", "17:00"),
        ("17:00:00", "17:00"),
        ("17:00:30", "17:00:30"),
        ("0.375", "09:00"),
        ("24:00", "23:59"),
        ("24", "23:59"),
    ],
)
def test_a_time_of_day_has_one_form(text: str, expected: str) -> None:
    """24 as closing time is a fault seen in published files: it means 23:59."""
    assert parse_time(text) == expected


@pytest.mark.parametrize("text", ["", "25:00", "9", "9:60", "24:01", "9:00~17:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """A span or an hour past the day is not a time of day."""
    with pytest.raises(BadValue) as refusal:
        parse_time(text)
    assert refusal.value.code == "time-invalid"


@given(st.text())
def test_any_text_is_a_date_or_a_refusal(text: str) -> None:
    """No text makes a reader fail in another way."""
    for reader in (parse_date, parse_datetime, parse_time):
        try:
            assert reader(text)
        except BadValue as refusal:
            assert refusal.code.startswith(("date-", "time-"))
