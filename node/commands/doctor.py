# SPDX-License-Identifier: Apache-2.0
"""`machikura doctor`: what is wrong with this node, or on the way to a peer."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from node.commands.api_client import ApiClient, NodeUnreachable
from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import AsJson, in_language, show
from node.commands.typed import node_id
from node.system import SystemClock

PATH = "/v1/doctor"
_TIMEOUT_S = 60.0
_PAUSE_S = 0.2


def doctor(
    peer: Annotated[
        str, typer.Argument(help="Node to reach, such as minato/energy. 相手ノード。")
    ] = "",
    wait: Annotated[
        float,
        typer.Option(min=0, help="Wait until all is well, s. 正常になるまで待つ秒数。"),
    ] = 0,
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
    report = _examined(client, body, wait)
    show(report, _text(report), as_json=as_json)
    if not _well(report):
        raise typer.Exit(1)


def _examined(client: ApiClient, body: dict[str, str], wait_s: float) -> Any:
    """Return the report, at the latest after `wait_s`.

    Raises:
        NodeUnreachable: the node does not run.
    """
    clock = SystemClock()
    end = clock.monotonic() + wait_s
    while True:
        try:
            report = client.post(PATH, body)
            if _well(report) or clock.monotonic() >= end:
                return report
        except NodeUnreachable:
            if clock.monotonic() >= end:
                raise
        asyncio.run(clock.sleep(_PAUSE_S))


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
