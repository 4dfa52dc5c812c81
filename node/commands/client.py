# SPDX-License-Identifier: Apache-2.0
"""`machikura client`: the organization's own applications and what they may do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote

import typer

from node.clients import Scope
from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import AsJson, show

PATH = "/v1/clients"

client = typer.Typer(no_args_is_help=True)
ClientId = Annotated[str, typer.Argument(help="Id, such as emr. アプリのID。")]


@client.command("add")
def add(
    client_id: ClientId,
    scope: Annotated[
        list[Scope], typer.Option(help="What it may do; repeat it. 許可する操作。")
    ],
    title: Annotated[str, typer.Option(help="Its name. 名前。")] = "",
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Register an application; its secret is shown once.

    登録します。
    """
    body = {"id": client_id, "title": title, "scopes": [str(word) for word in scope]}
    added = connect(config, socket).post(PATH, body)
    text = (
        f"client_id:     {added['id']}\n"
        f"client_secret: {added['secret']}\n"
        f"scopes:        {' '.join(added['scopes'])}\n"
        "The secret is not shown again. 秘密の値は再表示できません。"
    )
    show(added, text, as_json=as_json)


@client.command("list")
def list_(
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """List the applications.

    一覧を表示します。
    """
    document = connect(config, socket).get(PATH)
    lines = [
        f"{entry['id']:<20} {_day(entry['created_ms'])}  {' '.join(entry['scopes'])}"
        f"  {entry['title']}".rstrip()
        for entry in document["clients"]
    ]
    show(document, "\n".join(lines) or "No applications. ありません。", as_json=as_json)


@client.command("remove")
def remove(
    client_id: ClientId,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Remove an application; its tokens end at once.

    削除します。
    """
    connect(config, socket).delete(f"{PATH}/{quote(client_id, safe='')}")
    removed = {"id": client_id, "removed": True}
    show(removed, f"{client_id}: removed. 削除しました。", as_json=as_json)


def _day(millis: int) -> str:
    return datetime.fromtimestamp(millis // 1000, UTC).date().isoformat()


def add_to(app: typer.Typer) -> None:
    """Add the group."""
    words = "Applications of this organization. アプリケーションの管理。"
    app.add_typer(client, name="client", help=words)
