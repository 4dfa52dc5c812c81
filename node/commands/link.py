# SPDX-License-Identifier: Apache-2.0
"""`machikura link`: a resident and a holder get to know each other by one-time code."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import AsJson, columns, day, show
from node.commands.session import SessionFile, as_resident
from node.commands.typed import node_id

CLAIM, CODES, LINKS = "/v1/links", "/v1/me/link-codes", "/v1/me/links"
_TIMEOUT_S = 60.0

link = typer.Typer(no_args_is_help=True)


@link.command("code")
def code(
    holder: Annotated[
        str, typer.Option(help="Holder, such as hoshino/clinic. 保有組織。")
    ],
    session_file: SessionFile = None,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Get a one-time code to show at a holder (as resident).

    保有組織で提示する連携コードを発行します(住民)。
    """
    client = as_resident(config, socket, session_file)
    issued = client.post(CODES, {"holder": node_id(holder)})
    rows = [
        ("code", issued["code"]),
        ("holder", issued["holder"]),
        ("home", issued["home"]),
        ("good for", f"{issued['life_s']} s"),
    ]
    show(issued, columns(rows), as_json=as_json)


@link.command("claim")
def claim(
    home: Annotated[
        str, typer.Option(help="The resident's home node. 住民のホームノード。")
    ],
    code: Annotated[str, typer.Option(help="The code shown. 連携コード。")],
    subject: Annotated[
        str, typer.Option(help="Your own number of the person. 自組織での番号。")
    ],
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Enter the code that a resident shows (as holder).

    住民が提示した連携コードを入力します(保有組織)。
    """
    body = {"home": node_id(home), "code": code, "subject": subject}
    linked = connect(config, socket, timeout_s=_TIMEOUT_S).post(CLAIM, body)
    types = " ".join(linked["dataset_types"]) or "nothing yet まだありません"
    text = (
        f"✓ {subject} is linked with {linked['home']}. 連携しました。\n"
        f"  in the directory 所在登録: {types}"
    )
    show(linked, text, as_json=as_json)


@link.command("list")
def list_(
    session_file: SessionFile = None,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """List the holders that know me (as resident).

    連携先の一覧を表示します(住民)。
    """
    document = as_resident(config, socket, session_file).get(LINKS)
    rows: list[tuple[object, ...]] = [("HOLDER", "SINCE", "STATE")]
    rows += ((e["holder"], day(e["since"]), e["state"]) for e in document["links"])
    show(document, columns(rows), as_json=as_json)


@link.command("remove")
def remove(
    holder: Annotated[str, typer.Argument(help="Which holder. 保有組織。")],
    session_file: SessionFile = None,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """End a link (as resident).

    連携を解除します(住民)。
    """
    node = node_id(holder)
    path = f"{LINKS}/{quote(node.city)}/{quote(node.label)}"
    as_resident(config, socket, session_file).delete(path)
    removed = {"holder": node, "removed": True}
    show(removed, f"✓ {node}: unlinked. 連携を解除しました。", as_json=as_json)


def add_to(app: typer.Typer) -> None:
    """Add the group."""
    words = "Link a resident with a holder. 本人と保有組織の連携。"
    app.add_typer(link, name="link", help=words)
