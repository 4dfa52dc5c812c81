# SPDX-License-Identifier: Apache-2.0
"""`machikura city`: replace the operating key, or the root, while the city goes on.

key-request  at the running authority     a file for the root's desk
certify      at the desk without network  the root signs; a file comes back
succeed      at the desk                  a new root follows the old one
install      at the running authority     it is told to everybody, then used
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from identity.operating_keys import CityChange, OperatingRequest
from identity.root import (
    create_root,
    fingerprint,
    issue_operating,
    open_root,
    succeed,
)
from node.city_root import CityCard
from node.commands import files
from node.commands.ask import RootPassphraseFile, Yes, agree, passphrase
from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import AsJson, columns, day, moment, show
from node.founding import OPERATING_DAYS
from node.new_city import CARD_FILE
from node.system import SystemClock, system_entropy
from protocol.errors import Misuse
from protocol.suites import VerifyingKey

_MAX_BYTES = 512 * 1024
_DAY_S = 86_400
Card = Annotated[
    Path,
    typer.Option("--card", help="City card; it is brought up to date. 都市カード。"),
]
Root = Annotated[
    Path, typer.Option("--root", help="The city's root key file. 現ルート鍵。")
]
Overlap = Annotated[
    int,
    typer.Option(
        min=1, max=60, help="Days for which the old key is still accepted. 重複日数。"
    ),
]
Stolen = Annotated[
    bool,
    typer.Option(
        "--stolen", help="The old key was stolen: no overlap at all. 旧鍵を即時失効。"
    ),
]
Out = Annotated[Path, typer.Option(help="Where it goes. 出力先。")]


def key_request(
    same: Annotated[
        bool,
        typer.Option(
            "--same",
            help="Only a longer certificate for the present key. 期限延長のみ。",
        ),
    ] = False,
    out: Out = Path("operating-request.jws"),
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Ask for a new operating key: a file for the root's desk.

    新しい運用鍵の認証申請ファイルを作ります(稼働中のブローカーで実行)。
    """
    files.check_writable(out)
    document = connect(config, socket).post(
        "/v1/city/key-requests", {"fresh": not same}
    )
    files.write(out, document["request"].encode("ascii") + b"\n")
    shown = {
        "city": document["city"],
        "file": str(out),
        "fingerprint": document["fingerprint"],
    }
    rows = [("request", out), ("fingerprint", document["fingerprint"])]
    todo = "Take it to the root key: machikura city certify"
    show(shown, f"{columns(rows)}\n→ {todo} {out.name}", as_json=as_json)


def certify(
    file: Annotated[Path, typer.Argument(help="From key-request. 認証申請ファイル。")],
    card: Card,
    root: Root,
    root_passphrase_file: RootPassphraseFile = None,
    confirm: Annotated[
        str, typer.Option(help="Fingerprint that the broker showed. 指紋。")
    ] = "",
    overlap_days: Overlap = 8,
    stolen: Stolen = False,
    out: Out = Path("city-change.json"),
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Certify an operating key with the root key (at a desk without network).

    ルート鍵で運用鍵を認証します(オフラインで実行)。
    """
    now = SystemClock().now_ms() // 1000
    token = files.read(file, _MAX_BYTES).decode("ascii", "replace").strip()
    asked = OperatingRequest.verify(token, now)
    key = VerifyingKey.from_jwk(asked.key)
    found = fingerprint(key)
    if confirm and "".join(confirm.split()) != "".join(found.split()):
        raise Misuse("the fingerprint is not that of the key in the request")
    if not confirm:
        agree(f"{asked.sub}  {found}  OK?", yes=yes)
    card_file = _card_file(card)
    old = CityCard.read(card_file)
    opened = open_root(root, passphrase(root_passphrase_file))
    if opened.city != asked.sub or opened.city != old.city:
        raise Misuse("the request, the card and the root key are of different cities")
    if opened.signer.public != old.root_key():
        raise Misuse("this root key is not the one on the card")
    files.check_writable(out)
    certificate = issue_operating(
        opened.signer,
        opened.city,
        key,
        now=now,
        days=OPERATING_DAYS,
        entropy=system_entropy,
        before=old.operating_certificate(),
        overlap_s=0 if stolen else overlap_days * _DAY_S,
    )
    change = CityChange(operating=certificate.token)
    files.write(out, change.model_dump_json(exclude_none=True).encode() + b"\n")
    old.model_copy(update={"operating": certificate.token}).write(card_file)
    _done(opened.city, certificate.body.exp, out, stolen=stolen, as_json=as_json)


def succeed_(
    card: Card,
    root: Root,
    new_root: Annotated[
        Path,
        typer.Option(
            help="File of the new root key; made if it is absent. 新ルート鍵。"
        ),
    ],
    root_passphrase_file: RootPassphraseFile = None,
    new_passphrase_file: Annotated[
        Path | None,
        typer.Option(help="Passphrase of the new root key. 新ルート鍵のパスフレーズ。"),
    ] = None,
    overlap_days: Overlap = 30,
    stolen: Stolen = False,
    out: Out = Path("city-change.json"),
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Let a new root key follow the old one; both sign (at a desk without network).

    新しいルート鍵へ引き継ぎます。新旧両方の鍵で署名します(オフラインで実行)。
    """
    now = SystemClock().now_ms() // 1000
    card_file = _card_file(card)
    before = CityCard.read(card_file)
    certificate = before.operating_certificate()
    if certificate is None:
        raise Misuse("the card has no operating certificate")
    old = open_root(root, passphrase(root_passphrase_file))
    if old.signer.public != before.root_key():
        raise Misuse("this root key is not the one on the card")
    agree(f"A new root for {old.city}? ルート鍵を引き継ぎますか", yes=yes)
    files.check_writable(out)
    if new_root.exists():
        new = open_root(new_root, passphrase(new_passphrase_file))
    else:
        secret = passphrase(new_passphrase_file, new=True)
        suite = old.signer.suite
        new = create_root(new_root, old.city, suite, secret, entropy=system_entropy)
    succession = succeed(
        old,
        new,
        sequence=before.successions + 1,
        now=now,
        overlap_s=0 if stolen else overlap_days * _DAY_S,
        entropy=system_entropy,
    )
    fresh = issue_operating(
        new.signer,
        new.city,
        certificate.verifying_key(),
        now=now,
        days=OPERATING_DAYS,
        entropy=system_entropy,
        before=certificate,
    )
    change = CityChange(operating=fresh.token, succession=succession)
    files.write(out, change.model_dump_json(exclude_none=True).encode() + b"\n")
    before.model_copy(
        update={
            "root": new.signer.public.jwk,
            "operating": fresh.token,
            "successions": before.successions + 1,
        }
    ).write(card_file)
    _done(new.city, fresh.body.exp, out, stolen=stolen, as_json=as_json)


def install(
    file: Annotated[Path, typer.Argument(help="From certify or succeed. ファイル。")],
    at_once: Annotated[
        bool,
        typer.Option(
            "--at-once", help="Use it now: the old key was stolen. 即時切替。"
        ),
    ] = False,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Install what the root has signed (at the running authority).

    ルート鍵が署名したファイルを反映します(稼働中のブローカーで実行)。
    """
    wire = files.read(file, _MAX_BYTES).strip()
    document = connect(config, socket).upload(
        "/v1/city/keys",
        wire,
        media="application/json",
        query={"settle_s": "0" if at_once else "60"},
    )
    rows = [
        ("root", document["root"]),
        ("operating key", document["operating"]),
        ("certified until", day(document["ends"])),
        ("used from", moment(document["used_from"])),
        *(
            (f"accepted until: {kid[:8]}…", moment(until))
            for kid, until in document["accepted_until"].items()
        ),
    ]
    text = (
        f"✓ {document['city']}: installed. 反映しました。\n{columns(rows, indent='  ')}"
    )
    show(document, text, as_json=as_json)


def _card_file(card: Path) -> Path:
    return card / CARD_FILE if card.is_dir() else card


def _done(city: str, ends: int, out: Path, *, stolen: bool, as_json: bool) -> None:
    haste = " --at-once" if stolen else ""
    text = (
        f"✓ {city}: certified until {day(ends)}. 認証しました。\n"
        f"→ At the broker: machikura city install {out.name}{haste}\n"
        "  The city card is up to date: hand it to new members. カードも更新済みです。"
    )
    show({"city": city, "ends": ends, "file": str(out)}, text, as_json=as_json)


def add_to(city: typer.Typer) -> None:
    """Add the commands to the group."""
    city.command("key-request")(key_request)
    city.command("certify")(certify)
    city.command("succeed")(succeed_)
    city.command("install")(install)
