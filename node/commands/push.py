# SPDX-License-Identifier: Apache-2.0
"""`machikura push`: send records to a recipient, under a consent."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import AsJson, show
from node.commands.typed import node_id

PATH = "/v1/exchanges/push"


def push(
    consent: Annotated[str, typer.Option(help="Consent received. 受領した同意。")],
    recipient: Annotated[str, typer.Option(help="Who gets it. 提供先。")],
    dataset_type: Annotated[
        str, typer.Option("--type", help="Dataset type. データセット種別。")
    ],
    purpose: Annotated[str, typer.Option(help="Purpose of use. 利用目的。")],
    record: Annotated[
        list[str] | None,
        typer.Option(help="Only this record; repeat it. この記録のみ。"),
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Send records to a recipient.

    記録を提供先へ送ります。

    Under a consent. They wait while the recipient cannot be reached.
    """
    body: dict[str, Any] = {
        "consent": consent,
        "recipient": node_id(recipient),
        "dataset_type": dataset_type,
        "purpose": purpose,
    }
    if record:
        body["records"] = record
    queued = connect(config, socket).post(PATH, body)
    text = f"✓ Queued for {recipient}. 送信待ちに入れました。"
    show(queued, text, as_json=as_json)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("push")(push)
