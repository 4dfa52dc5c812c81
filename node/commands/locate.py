# SPDX-License-Identifier: Apache-2.0
"""`machikura locate`: where a resident's data is, in all cities, and who was asked."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath
from node.commands.output import AsJson, columns, day, show
from node.commands.session import SessionFile, as_resident
from vault.moments import seconds_of

PATH = "/v1/me/locations"


def locate(
    records: Annotated[
        bool, typer.Option(help="List single records too. 記録も一覧します。")
    ] = False,
    session_file: SessionFile = None,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Show where my data is.

    自分のデータの所在を表示します。

    For a resident who has signed in. Every directory and holder that was asked is
    listed, also those that were silent.
    """
    client = as_resident(config, socket, session_file)
    document = client.get(PATH, {"records": "true" if records else "false"})
    show(document, _text(document), as_json=as_json)


def _text(document: dict[str, Any]) -> str:
    rows: list[tuple[object, ...]] = [("HOLDER", "TYPE", "COUNT", "FIRST", "LAST")]
    for held in document["holdings"]:
        when = _day(held["first"]), _day(held["last"])
        rows.append((held["holder"], held["dataset_type"], held["count"], *when))
        rows += (
            (
                f"  → {use['recipient']}",
                use["purpose"],
                use["releases"],
                None,
                day(use["last"]),
            )
            for use in held["sharing"]
        )
        rows += ((f"  {record}", None, None, None, None) for record in held["records"])
    asked: list[tuple[object, ...]] = [
        (
            "✓" if party["status"] == "answer" else "✗",
            party["party"],
            party["kind"],
            party["code"] or party["status"],
            f"{party['took_ms']} ms",
            " → ".join(party["hops"]),
        )
        for party in document["asked"]
    ]
    heading = "Asked 照会先:"
    return "\n".join([columns(rows), heading, columns(asked, indent="  ")])


def _day(time: str | None) -> str:
    return day(None if time is None else seconds_of(time))


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("locate")(locate)
