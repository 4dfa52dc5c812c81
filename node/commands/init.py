# SPDX-License-Identifier: Apache-2.0
"""`machikura init`: set up a new node; every question has an option."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from node.city_root import CityCard, read_root, write_root
from node.commands.output import AsJson, show
from node.commands.typed import setting
from node.config import Settings
from node.config_file import BadSettings
from node.new_node import Answers, NewNode, create
from node.system import SystemClock, system_entropy
from protocol.errors import Malformed
from protocol.ids import NodeId
from protocol.membership import Role
from protocol.suites import Suite

_TITLES = ("ja", "en")


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
    suite: Annotated[
        Suite | None,
        typer.Option(help="Algorithms. 暗号方式。[default: the card's, else hybrid]"),
    ] = None,
    city_card: Annotated[
        Path | None,
        typer.Option(
            help="The city's card: its root key and brokers. 都市カードのファイル。"
        ),
    ] = None,
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
    name = _node_id(node or _ask("Node id (city/label). ノードID"))
    card = None if city_card is None else _card(city_card, name)
    answers = Answers(
        node=name,
        title_ja=title_ja,
        title_en=title_en,
        roles=tuple(role or [Role.VAULT]),
        suite=suite or (card.root_key().suite if card else Suite.HYBRID),
        brokers=(*(card.brokers if card else ()), *(broker or [])),
        passphrase_file=passphrase_file,
        key_file=_key_file(passphrase_file, key_file),
        hosts=tuple(host or ["localhost"]),
        settings=(*_of_the_city(card), *map(setting, further or [])),
    )
    now_ms = SystemClock().now_ms()
    made = create(answers, folder, now_ms=now_ms, entropy=system_entropy)
    if card is not None:
        _pin(made.settings, card)
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


def _card(path: Path, node: NodeId) -> CityCard:
    card = CityCard.read(path)
    if card.city != node.city:
        raise BadSettings(f"--city-card: this is the card of {card.city}")
    return card


def _of_the_city(card: CityCard | None) -> tuple[tuple[str, object], ...]:
    """Return what the settings say of the city, as far as its card does."""
    if card is None:
        return ()
    told = {f"city.title.{language}": card.title.get(language) for language in _TITLES}
    told["city.municipal_code"] = card.code
    return tuple((name, value) for name, value in told.items() if value)


def _pin(settings: Settings, card: CityCard) -> None:
    """Write down the city's root key; one that is there is never replaced."""
    path = settings.root_key_file
    if not path.exists():
        write_root(path, card.root_key())
    elif read_root(path) != card.root_key():
        raise BadSettings(f"--city-card: {path.name} holds another root key")


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
