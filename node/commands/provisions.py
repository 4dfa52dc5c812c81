# SPDX-License-Identifier: Apache-2.0
"""`machikura provisions`: who got a person's data, who gave it, who was refused."""

from __future__ import annotations

from typing import Annotated

import typer

from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import AsJson, columns, moment, show

PATH = "/v1/provisions"


def provisions(
    subject: Annotated[
        str, typer.Option(help="Your own number of the person. 自組織での番号。")
    ],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most. 件数。")] = 100,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Show who got a person's data.

    提供・受領・拒否の記録を表示します。

    Releases, arrivals and refusals, newest first.
    """
    query: dict[str, str | int] = {"subject": subject, "limit": limit}
    document = connect(config, socket).get(PATH, query)
    rows: list[tuple[object, ...]] = [
        ("WHEN", "ROLE", "WITH", "TYPE", "PURPOSE", "FIELDS", "ROUTE", "REASON")
    ]
    for entry in document["provisions"]:
        what = entry["dataset_type"], entry["purpose"], " ".join(entry["fields"])
        way = " → ".join(entry["route"]), entry["reason"]
        when = moment(entry["at_ms"] // 1000)
        rows.append((when, entry["role"], entry["counterparty"], *what, *way))
    show(document, columns(rows), as_json=as_json)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("provisions")(provisions)
