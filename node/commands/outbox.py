# SPDX-License-Identifier: Apache-2.0
"""`machikura outbox`: messages that wait, and those that could not be delivered."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

import typer

from node.commands.ask import Yes, agree
from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import AsJson, columns, moment, show

PATH = "/v1/outbox"

outbox = typer.Typer(no_args_is_help=True)
Number = Annotated[
    int | None, typer.Argument(min=1, help="Its number. 番号。", show_default=False)
]
To = Annotated[str, typer.Option("--to", help="Only to this node. この宛先のみ。")]


@outbox.command("list")
def list_(
    to: To = "",
    after: Annotated[
        int,
        typer.Option(min=0, help="Refused ones above this number. この番号より後。"),
    ] = 0,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """List what waits for each destination, and what was refused for good.

    未配送と、配送を拒否されたメッセージの一覧を表示します。
    """
    wishes = {"after": after} | ({"destination": to} if to else {})
    document = connect(config, socket).get(f"{PATH}?{urlencode(wishes)}")
    waiting: list[tuple[object, ...]] = [
        ("WAITING FOR 配送待ち", "MESSAGES", "SINCE", "FAILURES", "NEXT TRY", "REASON")
    ]
    for entry in document["waiting"]:
        since = moment(entry["oldest_ms"] // 1000)
        due = moment(entry["next_ms"] // 1000) if entry["failures"] else "now"
        how = entry["failures"], due, entry["reason"]
        waiting.append((entry["destination"], entry["waiting"], since, *how))
    dead: list[tuple[object, ...]] = [
        ("REFUSED 拒否", "DESTINATION", "KIND", "SINCE", "TRIES", "REASON")
    ]
    for entry in document["dead"]:
        since = moment(entry["created_ms"] // 1000)
        what = entry["destination"], entry["kind"], since
        dead.append((entry["id"], *what, entry["attempts"], entry["reason"]))
    text = "\n".join(columns(rows) for rows in (waiting, dead) if len(rows) > 1)
    show(document, text or "Empty. 空です。", as_json=as_json)


@outbox.command("retry")
def retry(
    number: Number = None,
    to: To = "",
    everything: Annotated[
        bool, typer.Option("--all", help="All of them. すべて。")
    ] = False,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Try refused messages again: one, all to a node, or all.

    拒否されたメッセージを再送します。

    With --to or --all, what waits is tried at once too.
    """
    _choose_one(number is not None, bool(to), everything)
    client = connect(config, socket)
    if number is not None:
        client.post(f"{PATH}/{number}/retry", None)
        text = f"✓ {number}: tried again. 再送します。"
        show({"id": number, "retried": True}, text, as_json=as_json)
        return
    changed = client.post(f"{PATH}/retry", {"destination": to} if to else {})
    text = f"✓ {changed['changed']} messages are tried again. 再送します。"
    show(changed, text, as_json=as_json)


@outbox.command("drop")
def drop(
    number: Number = None,
    to: To = "",
    waiting: Annotated[
        bool,
        typer.Option("--waiting", help="What still waits for it. 未配送のものを破棄。"),
    ] = False,
    yes: Yes = False,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Throw refused messages away: one, or all to a node; nobody will be told them.

    拒否されたメッセージを破棄します。

    With --waiting, throws away what still waits for the node, withdrawals included.
    """
    _choose_one(number is not None, bool(to))
    if waiting and not to:
        raise typer.BadParameter("--waiting needs --to. --to が必要です。")
    what = to or number
    agree(f"Drop {what} for good? 破棄しますか", yes=yes or as_json)
    client = connect(config, socket)
    if number is not None:
        client.post(f"{PATH}/{number}/drop", None)
        text = f"✓ {number}: dropped. 破棄しました。"
        show({"id": number, "dropped": True}, text, as_json=as_json)
        return
    order = {"destination": to, "waiting": waiting}
    changed = client.post(f"{PATH}/drop", order)
    text = f"✓ {changed['changed']} messages dropped. 破棄しました。"
    show(changed, text, as_json=as_json)


def _choose_one(*chosen: bool) -> None:
    if sum(chosen) != 1:
        raise typer.BadParameter("Name one number, or a node. 番号か宛先を一つ指定。")


def add_to(app: typer.Typer) -> None:
    """Add the group."""
    words = "Messages that wait or were refused. 未配送メッセージ。"
    app.add_typer(outbox, name="outbox", help=words)
