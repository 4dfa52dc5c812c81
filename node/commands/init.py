# SPDX-License-Identifier: Apache-2.0
"""`machikura init`: set up a new node; every question has an option."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Annotated

import typer

from node.commands.output import AsJson, show
from node.config_file import BadSettings
from node.new_node import Answers, NewNode, create
from node.system import SystemClock, system_entropy
from protocol.errors import Malformed
from protocol.ids import NodeId
from protocol.membership import Role
from protocol.suites import Suite


def init(
    folder: Annotated[
        Path, typer.Argument(help="Data folder of the node. データフォルダ。")
    ],
    node: Annotated[
        str, typer.Option(help="Id: city/label, such as hoshino/clinic. ノードID。")
    ] = "",
    title_ja: Annotated[
        str, typer.Option(help="Name in Japanese. 組織名(日本語)。")
    ] = "",
    title_en: Annotated[str, typer.Option(help="Name in English. 組織名(英語)。")] = "",
    role: Annotated[
        list[Role] | None, typer.Option(help="What it does; repeat it. 役割。")
    ] = None,
    suite: Annotated[Suite, typer.Option(help="Algorithms. 暗号方式。")] = Suite.HYBRID,
    broker: Annotated[
        list[str] | None,
        typer.Option(help="URL of a broker of the city; repeat it. ブローカーのURL。"),
    ] = None,
    passphrase_file: Annotated[
        Path | None,
        typer.Option(help="File with the passphrase. パスフレーズのファイル。"),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(help="File with the master key; made if absent. 鍵ファイル。"),
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option(help="Broker: name or address it has; repeat it. ホスト名。"),
    ] = None,
    further: Annotated[
        list[str] | None,
        typer.Option("--set", help="Setting, such as api.port=9000. その他の設定。"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set up a new node.

    新しいノードを設定します。

    Makes the folder, the settings, the keys and a request to join the city, which you
    hand to the city's operator. What is there already stays as it is.
    """
    answers = Answers(
        node=_node_id(node or _ask("Node id (city/label). ノードID")),
        title_ja=title_ja,
        title_en=title_en,
        roles=tuple(role or [Role.VAULT]),
        suite=suite,
        brokers=tuple(broker or []),
        passphrase_file=passphrase_file,
        key_file=_key_file(passphrase_file, key_file),
        hosts=tuple(host or ["localhost"]),
        settings=tuple(map(_setting, further or [])),
    )
    now_ms = SystemClock().now_ms()
    made = create(answers, folder, now_ms=now_ms, entropy=system_entropy)
    show(_document(made), _text(made), as_json=as_json)


def _ask(question: str) -> str:
    if not sys.stdin.isatty():
        raise BadSettings("--node is missing")
    return str(typer.prompt(question))


def _node_id(text: str) -> NodeId:
    try:
        return NodeId(text)
    except Malformed as error:
        raise BadSettings("--node: use city/label, such as hoshino/clinic") from error


def _key_file(passphrase_file: Path | None, key_file: Path | None) -> Path | None:
    if passphrase_file is None and key_file is None:
        raise BadSettings(
            "say where the master key comes from: --passphrase-file FILE with a "
            "passphrase, or --key-file FILE, best on another medium than the data"
        )
    return key_file


def _setting(text: str) -> tuple[str, object]:
    """Read `name=value`; the value is TOML, or else text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise BadSettings("--set: use NAME=VALUE, such as api.port=9000")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except ValueError:
        return name, value


def _document(made: NewNode) -> dict[str, object]:
    return {
        "node": made.settings.node.id,
        "config_file": str(made.config_file),
        "join_request": str(made.join_request),
        "fingerprint": made.fingerprint,
        "suite": made.settings.suite.value,
    }


def _text(made: NewNode) -> str:
    return (
        f"✓ {made.settings.node.id} is set up. 設定しました。\n"
        f"  settings:     {made.config_file}\n"
        f"  join request: {made.join_request}\n"
        f"  fingerprint:  {made.fingerprint}\n"
        "Give the join request to the city's operator and compare the fingerprint by "
        "telephone.\n"
        "加入申請ファイルを都市の運用者に渡し、指紋を電話で照合してください。"
    )


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init")(init)
