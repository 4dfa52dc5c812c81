# SPDX-License-Identifier: Apache-2.0
"""`machikura read --all`: every record, in lines of JSON as they come.

Records go to standard output, one line each, so that a file or another program takes
them; what became of each holder's set goes to standard error. Exit status 0 means that
every set is complete: lines that were written stay good in any case.
"""

from __future__ import annotations

import http.client
import sys
from typing import Any

import orjson
import typer

from node.commands.api_client import ApiClient
from node.commands.output import complain, in_language

PATH = "/v1/exchanges/read-all"


def write_all(client: ApiClient, body: dict[str, Any], *, as_json: bool) -> None:
    """Write every record; ends the command with status 1 if something is missing.

    Args:
        client: the node.
        body: of the call.
        as_json: tell what became of the sets in JSON, too.

    Raises:
        NodeUnreachable, NodeProblem: it did not begin.
    """
    complete = False
    with client.download("POST", PATH, body=body) as answer:
        try:
            for line in answer:
                said = orjson.loads(line)
                if "record" in said:
                    sys.stdout.write(line.decode())
                elif "end" in said:
                    complete = bool(said["complete"])
                    _tell(said, f"{said['records']} records 件", as_json=as_json)
                else:
                    _tell(said, _words(said), as_json=as_json)
        except (OSError, http.client.HTTPException, ValueError):
            complain("✗ cut off: the set is not complete. 途中で切れました。")
            complete = False
    if not complete:
        raise typer.Exit(1)


def _tell(said: dict[str, Any], words: str, *, as_json: bool) -> None:
    if as_json:
        sys.stderr.write(orjson.dumps(said).decode() + "\n")
    else:
        complain(words)


def _words(said: dict[str, Any]) -> str:
    holder = said["holder"] or "(hidden holder 匿名の保有組織)"
    problem = said.get("problem")
    if problem is None:
        return f"✓ {holder}: {said['records']} records 件"
    words = f"✗ {holder}: {in_language(problem, 'title')} ({problem['code']})"
    if said["after"]:
        words += f"\n  go on with 続きから: --after {said['after']}"
    return words
