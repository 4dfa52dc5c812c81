# SPDX-License-Identifier: Apache-2.0
"""Times of records: ISO 8601 text on the wire, whole seconds where they are sorted.

A text without a zone is Japan time, as the records of Japanese organizations mean it. A
year or a month alone stands for its first instant.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

JST = timezone(timedelta(hours=9))
EARLIEST, LATEST = -(1 << 62), 1 << 62
_SHORT = re.compile(r"(\d{4})(?:-(\d{2}))?")


def seconds_of(text: str) -> int:
    """Return seconds since 1970, UTC; negative before.

    Raises:
        ValueError: not ISO 8601.
    """
    short = _SHORT.fullmatch(text)
    if short:
        text = f"{short[1]}-{short[2] or '01'}-01"
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=JST)
    return int(moment.timestamp() // 1)


def text_of(seconds: int) -> str:
    """Return the UTC time as ISO 8601, such as `2024-04-01T00:00:00Z`."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
