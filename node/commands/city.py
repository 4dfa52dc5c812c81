# SPDX-License-Identifier: Apache-2.0
"""`machikura city`: found a city, show its card, read out its fingerprint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from identity.errors import Conflict
from identity.root import fingerprint as fingerprint_of
from identity.root import open_root
from node.city_root import CityCard
from node.commands import city_keys
from node.commands.api_client import NodeUnreachable
from node.commands.ask import RootPassphraseFile, passphrase
from node.commands.node_option import connect
from node.commands.output import AsJson, columns, day, show
from node.commands.typed import city_id, municipal_code, node_id, setting
from node.config_file import FILE_NAME
from node.new_city import (
    BROKER_FOLDER,
    CARD_FILE,
    CityAnswers,
    NewCity,
    RelayAnswers,
    create_city,
    create_relay,
    renew_city,
)
from node.system import SystemClock, system_entropy
from protocol.suites import Suite

city = typer.Typer(no_args_is_help=True)
CardFile = Annotated[
    Path, typer.Argument(help="City card, or the city's folder. 都市カード。")
]


@city.command("create")
def create(
    folder: Annotated[Path, typer.Argument(help="Folder of the city. フォルダ。")],
    city: Annotated[str, typer.Option(help="Id, such as hoshino. 都市ID。")],
    key_file: Annotated[
        Path,
        typer.Option(help="Master key of the broker; made if absent. 鍵ファイル。"),
    ],
    host: Annotated[
        list[str],
        typer.Option(help="Name or address of its broker; repeat it. ホスト名。"),
    ],
    code: Annotated[
        str, typer.Option(help="Municipal code. 全国地方公共団体コード。")
    ] = "",
    title_ja: Annotated[str, typer.Option(help="Name in Japanese. 日本語名。")] = "",
    title_en: Annotated[str, typer.Option(help="Name in English. 英語名。")] = "",
    port: Annotated[
        int,
        typer.Option(
            min=1, max=65535, help="Port of the broker for links. リンクのポート。"
        ),
    ] = 8443,
    suite: Annotated[Suite, typer.Option(help="Algorithms. 暗号方式。")] = Suite.HYBRID,
    root_passphrase_file: RootPassphraseFile = None,
    contact: Annotated[str, typer.Option(help="Whom other cities call. 連絡先。")] = "",
    further: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Setting of the broker, such as api.port=9000. 設定。"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Found a city: root key, broker node, city card.

    都市を新しく設けます。
    """
    answers = CityAnswers(
        city=city_id(city),
        code=municipal_code(code) if code else None,
        title_ja=title_ja,
        title_en=title_en,
        suite=suite,
        hosts=tuple(host),
        port=port,
        key_file=key_file,
        contact=contact,
        settings=tuple(map(setting, further or [])),
    )
    made = create_city(
        answers,
        folder,
        passphrase(root_passphrase_file, new=True),
        now_ms=SystemClock().now_ms(),
        entropy=system_entropy,
    )
    config = made.broker.data_dir / FILE_NAME
    document = {
        "city": made.card.city,
        "fingerprint": made.fingerprint,
        "root_key": str(made.root_file),
        "city_card": str(made.card_file),
        "broker": made.broker.node.id,
        "config_file": str(config),
    }
    show(document, _next_steps(made, config), as_json=as_json)


@city.command("add-broker")
def add_broker(
    folder: Annotated[Path, typer.Argument(help="Its new folder. フォルダ。")],
    city_card: Annotated[
        Path, typer.Option(help="The city's card, or folder. 都市カード。")
    ],
    key_file: Annotated[
        Path, typer.Option(help="Its master key; made if absent. 鍵ファイル。")
    ],
    host: Annotated[
        list[str], typer.Option(help="Name or address; repeat it. ホスト名。")
    ],
    label: Annotated[
        str, typer.Option(help="Its name within the city. 都市内の名前。")
    ] = "broker-2",
    port: Annotated[
        int,
        typer.Option(min=1, max=65535, help="Its port for links. リンクのポート。"),
    ] = 8443,
    further: Annotated[
        list[str] | None,
        typer.Option("--set", help="Setting, such as api.port=9000. 設定。"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set up a further broker, which carries on when another one is lost.

    ブローカーを増設します(障害時に他のブローカーを引き継ぎます)。
    """
    found = _read(city_card)
    answers = RelayAnswers(
        node=node_id(f"{found.city}/{label}"),
        card=found,
        hosts=tuple(host),
        port=port,
        key_file=key_file,
        settings=tuple(map(setting, further or [])),
    )
    now_ms = SystemClock().now_ms()
    made = create_relay(answers, folder, now_ms=now_ms, entropy=system_entropy)
    document = {
        "node": made.settings.node.id,
        "config_file": str(made.config_file),
        "join_request": str(made.join_request),
        "fingerprint": made.fingerprint,
    }
    text = (
        f"✓ {made.settings.node.id} is set up. ブローカーを設定しました。\n"
        f"  fingerprint: {made.fingerprint}\n"
        "Next 次の手順:\n"
        f"  1. at the city's first broker 既存のブローカーで:\n"
        f"     machikura member admit {made.join_request} --role broker\n"
        f"  2. machikura member accept membership.json --config {made.config_file}\n"
        f"  3. machikura serve --config {made.config_file}\n"
        "Members and other cities find it by themselves. 各ノードは自動で接続します。"
    )
    show(document, text, as_json=as_json)


@city.command("renew")
def renew(
    folder: Annotated[Path, typer.Argument(help="Folder of the city. フォルダ。")],
    root: Annotated[
        Path, typer.Option(help="The city's root key file. ルート鍵のファイル。")
    ],
    root_passphrase_file: RootPassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Renew the operating key's certificate, once a year; the broker must be stopped.

    運用鍵の証明書を更新します(年に一度、ブローカーを停止して実行)。
    """
    _check_stopped(folder / BROKER_FOLDER / FILE_NAME)
    key = open_root(root, passphrase(root_passphrase_file))
    made = renew_city(
        folder, key, now_ms=SystemClock().now_ms(), entropy=system_entropy
    )
    ends = made.operating_ends()
    text = (
        f"✓ {made.city}: certified until {day(ends)}. 証明書を更新しました。\n"
        "Start the broker, and hand out the new city card.\n"
        "ブローカーを起動し、新しい都市カードを配布してください。"
    )
    document = {"city": made.city, "ends": ends, "city_card": str(folder / CARD_FILE)}
    show(document, text, as_json=as_json)


def _check_stopped(config: Path) -> None:
    """Refuse while the broker runs: it would not notice, and overwrite.

    Raises:
        Conflict: it runs.
        BadSettings: there is no broker in this folder.
    """
    try:
        connect(config, None).get("/healthz")
    except NodeUnreachable as error:
        if error.stopped:
            return
    raise Conflict("the broker runs; stop it first")


@city.command("card")
def card(file: CardFile, as_json: AsJson = False) -> None:
    """Show a city card.

    都市カードを表示します。
    """
    found = _read(file)
    document: dict[str, Any] = found.model_dump(mode="json", exclude_none=True)
    name = fingerprint_of(found.root_key())
    rows = [
        ("city", found.city),
        ("name", " / ".join(found.title.values())),
        ("code", found.code),
        ("brokers", " ".join(found.brokers)),
        ("contact", found.contact),
        ("suite", found.root_key().suite.value),
        ("certified until", day(found.operating_ends())),
        ("fingerprint", name),
    ]
    show({**document, "fingerprint": name}, columns(rows), as_json=as_json)


@city.command("fingerprint")
def fingerprint(file: CardFile, as_json: AsJson = False) -> None:
    """Print the fingerprint of a city's root key, to be compared by telephone.

    ルート鍵の指紋を表示します(電話での照合用)。
    """
    found = _read(file)
    name = fingerprint_of(found.root_key())
    show({"city": found.city, "fingerprint": name}, name, as_json=as_json)


def _read(file: Path) -> CityCard:
    return CityCard.read(file / CARD_FILE if file.is_dir() else file)


def _next_steps(made: NewCity, config: Path) -> str:
    files = columns(
        [
            ("root key", made.root_file),
            ("city card", made.card_file),
            ("broker", config),
            ("fingerprint", made.fingerprint),
        ],
        indent="  ",
    )
    return (
        f"✓ The city {made.card.city} is founded. 都市を設けました。\n{files}\n"
        "Next 次の手順:\n"
        f"  1. Move {made.root_file.name} to a medium that you keep offline, with a\n"
        "     copy elsewhere. Whoever has it and its passphrase is the city.\n"
        "     ルート鍵はオフラインの媒体に移し、写しを別の場所に保管してください。\n"
        f"  2. machikura serve --config {config}\n"
        "  3. Hand the city card to organizations and to other cities; read them the\n"
        "     fingerprint by telephone.\n"
        "     都市カードを各組織と他都市に渡し、指紋は電話で読み上げてください。"
    )


def add_to(app: typer.Typer) -> None:
    """Add the group."""
    words = "Found a city, change its keys, show its card. 都市の設置と鍵の更新。"
    city_keys.add_to(city)
    app.add_typer(city, name="city", help=words)
