# SPDX-License-Identifier: Apache-2.0
"""`machikura routes`: the ways from this broker to other cities."""

from __future__ import annotations

from typing import Any

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

    Run it at a broker; * marks the way in use, WHY says what decided for it.
    Prefer or avoid a neighbor with the settings of the table `routing`.
    """
    document = connect(config, socket).get(PATH)
    heads = ("", "CITY", "NEIGHBOR", "PATH", "RTT", "LINK", "WHY", "PERMITS", "ENDS")
    rows: list[tuple[object, ...]] = [heads, *map(_row, document["routes"])]
    text = columns(rows) if document["routes"] else "No routes. 経路はありません。"
    show(document, text, as_json=as_json)


def _row(way: dict[str, Any]) -> tuple[object, ...]:
    return (
        "*" if way["chosen"] else " ",
        way["city"],
        way["neighbor"],
        " → ".join(way["path"]),
        "-" if way["rtt_ms"] is None else f"{way['rtt_ms']:.0f} ms",
        "up" if way["up"] else "down",
        way["why"] or way["policy"],
        _permits(way["permits"]),
        moment(way["ends"]),
    )


def _permits(terms: dict[str, list[str]] | None) -> str:
    """Return what may be asked on a way, short enough for a column."""
    if terms is None:
        return "?"
    names = ("dataset_types", "purposes", "data_classes")
    return " / ".join(_few(terms[name]) for name in names)


def _few(names: list[str]) -> str:
    shown = ",".join(names[:3]) or "-"
    return shown if len(names) <= 3 else f"{shown},… ({len(names)})"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("routes")(routes)
