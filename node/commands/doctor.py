# SPDX-License-Identifier: Apache-2.0
"""`machikura doctor`: what is wrong with this node, or on the way to a peer."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import AsJson, in_language, show
from node.commands.typed import node_id
from node.commands.waiting import Wait, waited

PATH = "/v1/doctor"
_TIMEOUT_S = 60.0


def doctor(
    peer: Annotated[
        str, typer.Argument(help="Node to reach, such as minato/energy. 相手ノード。")
    ] = "",
    wait: Wait = 0,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Examine this node, and the way to a peer.

    ノードと経路を診断します。

    Ends with 1 if something is wrong; a warning (!) is not.
    """
    body: dict[str, str] = {"peer": node_id(peer)} if peer else {}
    client = connect(config, socket, timeout_s=_TIMEOUT_S)
    last: dict[str, Any] = {}

    def examine() -> dict[str, Any] | None:
        last.update(client.post(PATH, body))
        return last if _well(last) else None

    report = waited(examine, wait) or last
    show(report, _text(report), as_json=as_json)
    if not _well(report):
        raise typer.Exit(1)


def _well(report: dict[str, Any]) -> bool:
    return all(c["ok"] or c["severity"] != "error" for c in report["checks"])


def _text(report: dict[str, Any]) -> str:
    lines = []
    for check in report["checks"]:
        bad = "✗" if check["severity"] == "error" else "!"
        mark = "✓" if check["ok"] else bad
        lines.append(f"{mark} {in_language(check, 'title')}  ({check['id']})")
        if not check["ok"]:
            lines.append(f"    {in_language(check, 'cause')}")
            lines.append(f"    → {in_language(check, 'remedy')}")
    return "\n".join(lines)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)
