# SPDX-License-Identifier: Apache-2.0
"""`machikura fetch`: an attachment of another organization, into a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from node.commands.attachment import show_saved
from node.commands.downloading import save
from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import AsJson
from node.commands.typed import node_id

PATH = "/v1/exchanges/fetch"
_TIMEOUT_S = 180.0
"""Longest silence: the node tries for a minute where there is no progress."""


def fetch(
    attachment: Annotated[
        str, typer.Argument(help="Attachment id, from a read. 添付ファイルのID。")
    ],
    record: Annotated[str, typer.Option(help="Its record. 記録のID。")],
    consent: Annotated[str, typer.Option(help="Consent received. 受領した同意。")],
    dataset_type: Annotated[
        str, typer.Option("--type", help="Dataset type. データセット種別。")
    ],
    purpose: Annotated[str, typer.Option(help="Purpose of use. 利用目的。")],
    to: Annotated[Path, typer.Option("--to", help="File to write. 保存先。")],
    holder: Annotated[
        str, typer.Option(help="The holder, where there are several. 保有組織。")
    ] = "",
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds without progress. 待つ秒数。")
    ] = 300.0,
    timeout_ms: Annotated[
        int | None, typer.Option(help="Time for one part. 制限時間(ミリ秒)。")
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Fetch an attachment from another organization.

    他組織の添付ファイルを取得します。

    Goes on where an earlier attempt ended: after a broken link, a restart of the node
    or of this command. The whole is held against the digest that the holder signed.
    """
    wishes: dict[str, Any] = {
        "attachment": attachment,
        "record": record,
        "consent": consent,
        "dataset_type": dataset_type,
        "purpose": purpose,
    }
    if holder:
        wishes["holder"] = node_id(holder)
    if timeout_ms is not None:
        wishes["timeout_ms"] = timeout_ms
    saved = save(
        connect(config, socket, timeout_s=_TIMEOUT_S),
        lambda offset: ("POST", PATH, {**wishes, "offset": offset}),
        attachment,
        to,
        patience_s=patience,
        as_json=as_json,
    )
    show_saved(saved, to, as_json=as_json)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fetch")(fetch)
