# SPDX-License-Identifier: Apache-2.0
"""`machikura federate`: agree with another city, by one signed file each way.

Signing takes the root key at the operator's desk; no node has to run for it. Installing
hands the file with both signatures to the broker.
"""

from __future__ import annotations

import hmac
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from identity.root import RootKey, fingerprint, open_root
from node import federating
from node.city_root import CityCard
from node.commands import agreement_text, federate_changes, files
from node.commands.ask import RootPassphraseFile, Yes, agree, passphrase
from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import AsJson, columns, day, show
from node.commands.terms_file import read_deal
from node.system import SystemClock, system_entropy
from protocol.agreement import Agreement
from protocol.errors import Misuse

PATH = "/v1/agreements"
_MAX_BYTES = 64 * 1024

federate = typer.Typer(no_args_is_help=True)
Root = Annotated[
    Path, typer.Option("--root", help="Our city's root key file. ルート鍵のファイル。")
]
AgreementFile = Annotated[
    Path, typer.Argument(help="Proposal or agreement. 協定案または協定のファイル。")
]
Confirm = Annotated[
    str,
    typer.Option(
        help="The other city's fingerprint, as they read it out. 相手都市の指紋。"
    ),
]


@federate.command("propose")
def propose(
    own: Annotated[Path, typer.Option("--card", help="Our city card. 自都市カード。")],
    other: Annotated[
        Path, typer.Option("--with", help="The other's city card. 相手都市カード。")
    ],
    root: Root,
    root_passphrase_file: RootPassphraseFile = None,
    terms: Annotated[
        Path | None,
        typer.Option(
            help="Terms (TOML); else everything but closed data. 協定条件のファイル。"
        ),
    ] = None,
    replaces: Annotated[
        Path | None,
        typer.Option(help="Agreement that this one renews. 更新する協定のファイル。"),
    ] = None,
    confirm: Confirm = "",
    out: Annotated[Path, typer.Option(help="Where it goes. 出力先。")] = Path(
        "proposal.json"
    ),
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Write an agreement and sign it as the first of two cities.

    協定案を作り、署名します。
    """
    ours, theirs = CityCard.read(own), CityCard.read(other)
    deal = read_deal("" if terms is None else _words(terms))
    if replaces is not None:
        deal = replace(deal, replaces=_replaced(replaces, ours, theirs))
    found = fingerprint(theirs.root_key())
    if confirm:
        _compare(found, confirm)
    else:
        agree(f"{theirs.city}  {found}  OK?", yes=yes)
    files.check_writable(out)
    proposal = federating.propose(
        ours,
        theirs,
        _open(root, root_passphrase_file),
        deal,
        now_ms=SystemClock().now_ms(),
        entropy=system_entropy,
    )
    files.write(out, proposal.wire)
    _show(proposal, out, f"Send {out.name} to {theirs.city}.", as_json)


@federate.command("countersign")
def countersign(
    file: AgreementFile,
    root: Root,
    root_passphrase_file: RootPassphraseFile = None,
    confirm: Confirm = "",
    out: Annotated[Path, typer.Option(help="Where it goes. 出力先。")] = Path(
        "agreement.json"
    ),
    as_json: AsJson = False,
) -> None:
    """Sign another city's proposal, after comparing fingerprints by telephone.

    相手都市の協定案に署名します(指紋を電話で照合してから)。
    """
    wire = files.read(file, _MAX_BYTES)
    proposal = Agreement.parse(wire.strip())
    if not confirm:
        confirm = _ask_fingerprint(proposal, as_json)
    files.check_writable(out)
    key = _open(root, root_passphrase_file)
    complete = federating.countersign(wire.strip(), key, confirm)
    files.write(out, complete.wire)
    other = complete.body.other(key.city).city
    todo = f"Send {out.name} back to {other}; both run: machikura federate install"
    _show(complete, out, f"{todo} {out.name}", as_json)


@federate.command("install")
def install(
    file: AgreementFile,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Put an agreement with both signatures in force (run it at the broker).

    両都市が署名した協定を登録します(ブローカーで実行)。
    """
    wire = files.read(file, _MAX_BYTES).strip()
    if federate_changes.install_ending(wire, config, socket, as_json=as_json):
        return
    entry = connect(config, socket).upload(PATH, wire, media="application/json")
    text = (
        f"✓ Agreement with {entry['city']}, until {day(entry['ends'])}. "
        f"協定を登録しました。\n  {entry['fingerprint']}"
    )
    show(entry, text, as_json=as_json)


@federate.command("show")
def show_(file: AgreementFile, as_json: AsJson = False) -> None:
    """Show what a proposal or an agreement says and who has signed it.

    協定の内容と署名を表示します。
    """
    agreement = Agreement.parse(files.read(file, _MAX_BYTES).strip())
    document, text = agreement_text.document(agreement), agreement_text.text(agreement)
    show(document, text, as_json=as_json)


@federate.command("list")
def list_(
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """List the agreements that are installed (run it at the broker).

    登録された協定の一覧を表示します。
    """
    document = connect(config, socket).get(PATH)
    now = SystemClock().now_ms() // 1000
    rows: list[tuple[object, ...]] = [
        ("CITY", "STATE", "FROM", "TO", "VERSION", "ID", "FINGERPRINT")
    ]
    for entry in document["agreements"]:
        over = "over 期限切れ" if entry["ends"] <= now else entry["state"]
        dates = day(entry["starts"]), day(entry["ends"])
        numbers = entry["version"], entry["id"], entry["fingerprint"]
        rows.append((entry["city"], over, *dates, *numbers))
    show(document, columns(rows), as_json=as_json)


def _words(file: Path) -> str:
    return files.read(file, _MAX_BYTES).decode("utf-8", "replace")


def _replaced(file: Path, ours: CityCard, theirs: CityCard) -> tuple[str, int]:
    body = Agreement.parse(files.read(file, _MAX_BYTES).strip()).body
    if {body.a.city, body.b.city} != {ours.city, theirs.city}:
        raise Misuse(f"{file.name} is between other cities")
    return body.id, body.version


def _compare(found: str, told: str) -> None:
    plain = ["".join(text.lower().split()).encode() for text in (found, told)]
    if not hmac.compare_digest(*plain):
        raise Misuse("the fingerprint is not that of the other city's root key")


def _ask_fingerprint(proposal: Agreement, as_json: bool) -> str:
    """Have it typed as heard: a shown one would only be nodded through."""
    if as_json or not sys.stdin.isatty():
        raise typer.BadParameter("--confirm is missing")
    cities = f"{proposal.body.a.city}, {proposal.body.b.city}"
    return str(typer.prompt(f"{cities}: fingerprint of the other city. 相手都市の指紋"))


def _open(root: Path, file: Path | None) -> RootKey:
    return open_root(root, passphrase(file))


def _show(agreement: Agreement, out: Path, todo: str, as_json: bool) -> None:
    document = {**agreement_text.document(agreement), "file": str(out)}
    show(document, f"{agreement_text.text(agreement)}\n→ {todo}", as_json=as_json)


def add_to(app: typer.Typer) -> None:
    """Add the group."""
    federate_changes.add_to(federate)
    words = "Agreements with other cities. 都市間の協定。"
    app.add_typer(federate, name="federate", help=words)
