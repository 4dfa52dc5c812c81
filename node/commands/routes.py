# SPDX-License-Identifier: Apache-2.0
"""`machikura routes`: the ways from this broker to other cities."""

from __future__ import annotations

import typer

from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import AsJson, columns, moment, show

PATH = "/v1/routes"


def routes(
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Show the ways to other cities.

    他都市への経路を表示します。

    Run it at a broker; * marks the way in use.
    """
    document = connect(config, socket).get(PATH)
    rows: list[tuple[object, ...]] = [("", "CITY", "NEIGHBOR", "PATH", "ENDS")]
    for way in document["routes"]:
        mark = "*" if way["chosen"] else " "
        path = " → ".join(way["path"])
        rows.append((mark, way["city"], way["neighbor"], path, moment(way["ends"])))
    text = columns(rows) if document["routes"] else "No routes. 経路はありません。"
    show(document, text, as_json=as_json)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("routes")(routes)
