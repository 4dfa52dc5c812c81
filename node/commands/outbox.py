# SPDX-License-Identifier: Apache-2.0
"""`machikura outbox`: messages that wait, and those that were refused for good."""

from __future__ import annotations

from typing import Annotated

import typer

from node.commands.ask import Yes, agree
from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import AsJson, columns, moment, show

PATH = "/v1/outbox"

outbox = typer.Typer(no_args_is_help=True)
Number = Annotated[int, typer.Argument(min=1, help="Its number. 番号。")]


@outbox.command("list")
def list_(
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """List what waits for each destination, and what was refused for good.

    未配送と、配送を拒否されたメッセージの一覧を表示します。
    """
    document = connect(config, socket).get(PATH)
    waiting: list[tuple[object, ...]] = [("WAITING FOR 配送待ち", "MESSAGES")]
    waiting += ((e["destination"], e["waiting"]) for e in document["waiting"])
    dead: list[tuple[object, ...]] = [
        ("REFUSED 拒否", "DESTINATION", "KIND", "SINCE", "REASON")
    ]
    for entry in document["dead"]:
        since = moment(entry["created_ms"] // 1000)
        what = entry["destination"], entry["kind"], since, entry["reason"]
        dead.append((entry["id"], *what))
    text = "\n".join(columns(rows) for rows in (waiting, dead) if len(rows) > 1)
    show(document, text or "Empty. 空です。", as_json=as_json)


@outbox.command("retry")
def retry(
    number: Number,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Try a refused message again.

    拒否されたメッセージを再送します。
    """
    connect(config, socket).post(f"{PATH}/{number}/retry", None)
    text = f"✓ {number}: tried again. 再送します。"
    show({"id": number, "retried": True}, text, as_json=as_json)


@outbox.command("drop")
def drop(
    number: Number,
    yes: Yes = False,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Throw a refused message away; nobody will be told what it says.

    拒否されたメッセージを破棄します。
    """
    agree(f"Drop {number} for good? 破棄しますか", yes=yes or as_json)
    connect(config, socket).post(f"{PATH}/{number}/drop", None)
    text = f"✓ {number}: dropped. 破棄しました。"
    show({"id": number, "dropped": True}, text, as_json=as_json)


def add_to(app: typer.Typer) -> None:
    """Add the group."""
    words = "Messages that wait or were refused. 未配送メッセージ。"
    app.add_typer(outbox, name="outbox", help=words)
