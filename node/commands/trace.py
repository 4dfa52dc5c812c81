# SPDX-License-Identifier: Apache-2.0
"""`machikura trace`: the way to a node, with the time that each hop takes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import AsJson, columns, show
from node.commands.typed import node_id

PATH = "/v1/trace"
_TIMEOUT_S = 120.0


def trace(
    node: Annotated[
        str,
        typer.Argument(help="Node to trace, such as minato/energy. 相手ノード。"),
    ],
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Show the way to a node, hop by hop.

    経路と所要時間を表示します。

    It sends real exchanges: one to the node, one to each broker on the way. ROUND is
    there and back by this node's clock; THERE and BACK are off where clocks differ.
    Ends with 1 if the node was not reached.
    """
    client = connect(config, socket, timeout_s=_TIMEOUT_S)
    report = client.post(PATH, {"node": node_id(node)})
    show(report, _text(report), as_json=as_json)
    if not report["reached"]:
        raise typer.Exit(1)


def _text(report: dict[str, Any]) -> str:
    rows: list[tuple[object, ...]] = [("", "NODE", "ROUND", "HOP", "THERE", "BACK", "")]
    before = 0
    for number, hop in enumerate(report["hops"], start=1):
        round_ms = hop["round_ms"]
        more = None if round_ms is None else round_ms - before
        before = before if round_ms is None else round_ms
        said = hop["code"] or hop["decision"]
        times = (round_ms, more, hop["there_ms"], hop["back_ms"])
        rows.append((number, hop["node"], *map(_ms, times), said))
    if report["reached"]:
        return columns(rows)
    by = f" ({report['by']})" if report["by"] else ""
    return f"{columns(rows)}\n✗ {report['code']}: {report['detail']}{by}"


def _ms(value: int | None) -> str:
    return "-" if value is None else f"{value} ms"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("trace")(trace)
