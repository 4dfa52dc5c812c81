# SPDX-License-Identifier: Apache-2.0
"""`machikura transfers`: how far attachments are that come and go."""

from __future__ import annotations

import typer

from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import AsJson, columns, moment, show

PATH = "/v1/transfers"


def transfers(
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Show how far transfers of attachments are.

    添付ファイルの転送の進み具合を表示します。

    Those that leave and those that arrive, since the node started.
    """
    document = connect(config, socket).get(PATH)
    rows: list[tuple[object, ...]] = [
        ("ID", "AS", "WITH", "ATTACHMENT", "DONE", "BYTES", "MB/S", "STATE", "LAST")
    ]
    for entry in document["transfers"]:
        done = f"{100 * entry['position'] / max(1, entry['size']):.0f} %"
        state = entry["problem"] or entry["state"]
        speed = f"{entry['bytes_per_s'] / 1e6:.1f}"
        what = entry["counterparty"], entry["attachment"], done, entry["size"]
        last = moment(entry["changed_ms"] // 1000)
        rows.append((entry["id"], entry["side"], *what, speed, state, last))
    show(document, columns(rows), as_json=as_json)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("transfers")(transfers)
