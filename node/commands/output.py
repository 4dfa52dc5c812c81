# SPDX-License-Identifier: Apache-2.0
"""What a command prints: lines for a person, or one JSON document for a script.

Every command takes `--json`. Results go to standard output, problems to standard error
(in JSON also to standard output, so that a script reads one document in every case).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeAlias

import orjson
import typer
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from node.commands.api_client import NodeProblem, NodeUnreachable
from node.config_file import BadSettings
from node.problems import problem_of
from protocol.errors import MachikuraError
from vault.moments import JST

AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON. JSON で出力します。")
]

_STATUS = {"refused": 1, "unreachable": 3, "unusable": 4}


def show(document: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Print the result of a command.

    Args:
        document: the result for a script.
        text: the same for a person.
        as_json: which of the two.
    """
    if as_json:
        sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
        sys.stdout.write("\n")
    else:
        Console(soft_wrap=True, highlight=False).print(Text(text))


def complain(text: str) -> None:
    """Print on standard error why something was not done."""
    Console(stderr=True, soft_wrap=True, highlight=False).print(Text(text))


def columns(rows: Sequence[Sequence[object]], *, indent: str = "") -> str:
    """Return rows as aligned columns; full-width characters count as two.

    Args:
        rows: cells of each row; None is shown as a dash.
        indent: stands before each line.
    """
    cells = [["-" if c is None or c == "" else str(c) for c in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    lines = (
        "  ".join(c + " " * (w - cell_len(c)) for c, w in zip(row, widths, strict=True))
        for row in cells
    )
    return "\n".join(f"{indent}{line}".rstrip() for line in lines)


def moment(seconds: int | None) -> str:
    """Return a time as people in Japan read it, with its zone; a dash for None."""
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds, JST).strftime("%Y-%m-%d %H:%M:%S+09:00")


def day(seconds: int | None) -> str:
    """Return a date in Japan; a dash for None."""
    return moment(seconds).partition(" ")[0]


def in_language(entry: Mapping[str, Any], member: str) -> str:
    """Return `member_ja` or `member_en` of an entry, as the locale says."""
    return str(entry.get(f"{member}_{language(os.environ)}", ""))


def report(error: Exception, *, as_json: bool) -> int:
    """Print why a command failed and return the exit status.

    Raises:
        Exception: one that nobody foresaw, as it is: a bug needs its traceback.
    """
    if isinstance(error, OSError):
        # A folder that cannot be written, a port that is taken: not a bug of ours.
        error = BadSettings(str(error))
    if isinstance(error, NodeProblem):
        document, status = error.document, _STATUS["refused"]
    elif isinstance(error, MachikuraError):
        document = problem_of(error).document(language(os.environ), "")
        document.pop("trace_id")
        kind = "refused"
        if isinstance(error, BadSettings):
            kind = "unusable"
        elif isinstance(error, NodeUnreachable):
            kind = "unreachable"
        status = _STATUS[kind]
    else:
        raise error
    if as_json:
        show(document, "", as_json=True)
    else:
        _print_problem(document)
    return status


def language(environ: Mapping[str, str]) -> str:
    """Return `ja` or `en`, as the locale says."""
    locale = environ.get("LC_ALL") or environ.get("LC_MESSAGES") or environ.get("LANG")
    return "ja" if (locale or "").startswith("ja") else "en"


def _print_problem(document: Mapping[str, Any]) -> None:
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    ja = document.get("title") == document.get("title_ja")
    title = f"✗ {document.get('title', '?')} ({document.get('code', '?')})"
    console.print(Text(title, style="bold red"))
    words = {
        "detail": "原因" if ja else "cause",
        "by": "拒否した相手" if ja else "refused by",
        "remedy": "対処" if ja else "remedy",
        "trace_id": "追跡ID" if ja else "trace",
    }
    for member, word in words.items():
        if document.get(member):
            console.print(Text(f"  {word}: {document[member]}"))
    for fault in document.get("errors", ()):
        sentence = (fault.get("detail_ja") if ja else None) or fault.get("detail", "")
        console.print(Text(f"  - {fault.get('field', '')}: {sentence}"))
