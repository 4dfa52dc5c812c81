# SPDX-License-Identifier: Apache-2.0
"""What a command prints: lines for a person, or one JSON document for a script.

Every command takes `--json`. Results go to standard output, problems to standard error
(in JSON also to standard output, so that a script reads one document in every case).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

import orjson
import typer
from rich.console import Console
from rich.text import Text

from node.commands.api_client import NodeProblem, NodeUnreachable
from node.config_file import BadSettings
from node.problems import problem_of
from protocol.errors import MachikuraError

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


def report(error: Exception, *, as_json: bool) -> int:
    """Print why a command failed and return the exit status.

    Raises:
        Exception: one that nobody foresaw, as it is: a bug needs its traceback.
    """
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
