# SPDX-License-Identifier: Apache-2.0
"""Tables and times as people in Japan read them."""

from __future__ import annotations

import pytest

from node.commands import output

NEW_YEAR = 1_798_729_200  # 2027-01-01 00:00 in Japan


def test_full_width_characters_count_as_two_columns() -> None:
    """Else Japanese and Latin rows would not line up."""
    text = output.columns([("星野", "a"), ("ab", None)], indent="  ")
    assert text == "  星野  a\n  ab    -"


def test_times_are_those_of_japan_and_say_so() -> None:
    """Whatever the machine's own zone."""
    assert output.moment(NEW_YEAR) == "2027-01-01 00:00:00+09:00"
    assert output.day(NEW_YEAR) == "2027-01-01"
    assert (output.moment(None), output.day(None)) == ("-", "-")


def test_member_is_taken_in_the_language_of_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that is missing is empty."""
    entry = {"cause_en": "no link", "cause_ja": "接続なし"}
    assert output.in_language(entry, "cause") == "no link"
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    assert output.in_language(entry, "cause") == "接続なし"
    assert output.in_language(entry, "remedy") == ""


def test_port_that_is_taken_is_told_without_a_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The operator's machine is not our bug."""
    assert output.report(OSError(98, "address in use"), as_json=False) == 4
    assert "address in use" in capsys.readouterr().err
