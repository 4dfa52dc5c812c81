# SPDX-License-Identifier: Apache-2.0
"""Times as text and as seconds."""

from __future__ import annotations

import pytest

from vault.moments import seconds_of, text_of

APRIL = 1_743_433_200  # 2025-04-01T00:00 in Japan


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2025-04-01", APRIL),
        ("2025-04", APRIL),
        ("2025-04-01T00:00:00", APRIL),
        ("2025-04-01T00:00:00+09:00", APRIL),
        ("2025-03-31T15:00:00Z", APRIL),
        ("2025-04-01T00:00:00.9", APRIL),
        ("1970-01-01T00:00:00Z", 0),
        ("1926-12-25", -1_357_635_600),
        ("2025", 1_735_657_200),
    ],
)
def test_text_stands_for_an_instant(text: str, seconds: int) -> None:
    """Without a zone it is Japan time; a month or year is its first instant."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "yesterday", "2025-13", "2025-02-30", "令和7年"])
def test_other_text_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match=r".*"):
        seconds_of(text)


def test_seconds_are_written_in_utc() -> None:
    """One spelling, also before 1970."""
    assert text_of(APRIL) == "2025-03-31T15:00:00Z"
    assert text_of(-1) == "1969-12-31T23:59:59Z"
