# SPDX-License-Identifier: Apache-2.0
"""Makes `problems.md` from the catalog: `python -m docs.make_problems`."""

from __future__ import annotations

from pathlib import Path

from protocol.problem_catalog import CATALOG

FILE = Path(__file__).with_name("problems.md")

_HEAD = """\
# Problems

Every way in which something can be refused or fail: the stable code, the HTTP status
on a node's own interface, what it means, and how to mend it. Codes are never reused and
never removed. How a problem travels and who signs it:
[protocol.md](protocol.md#17-problems).

Made from `protocol/problem_catalog.py` by `python -m docs.make_problems`.

拒否や失敗の一覧です。コードは変わりません。「対処」は利用者・運用者が次に行うことです。

| Code | Status | Title 題 | Remedy 対処 |
|---|---|---|---|
"""


def render() -> str:
    """Return the text of the file."""
    rows = [
        f"| `{code}` | {entry.status} | {entry.title_en}<br>{entry.title_ja} "
        f"| {entry.remedy_en}<br>{entry.remedy_ja} |\n"
        for code, entry in sorted(CATALOG.items())
    ]
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
