# SPDX-License-Identifier: Apache-2.0
"""`machikura federate`: change an agreement, renew it, end it.

amend, renew   one city writes the next version, the other accepts, both install
end            one city's word, with notice; with the other's word added, any time
stop           our own brokers stop serving it at once; nobody need agree to that
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from identity.root import open_root
from node import federating
from node.commands import agreement_text, files
from node.commands.ask import RootPassphraseFile, Yes, agree, passphrase
from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import AsJson, columns, moment, show
from node.commands.terms_file import read_deal
from node.commands.typed import end_of
from node.system import SystemClock, system_entropy
from protocol.agreement import Agreement
from protocol.ending import AGREEMENT_END, AgreementEnd, Ending
from protocol.errors import Misuse
from protocol.signature import Received

PATH = "/v1/agreements"
_MAX_BYTES = 64 * 1024
_DAY_S = 86_400
AgreementFile = Annotated[
    Path, typer.Argument(help="The agreement, with both signatures. 協定のファイル。")
]
Root = Annotated[
    Path, typer.Option("--root", help="Our city's root key file. ルート鍵のファイル。")
]


def amend(
    file: AgreementFile,
    root: Root,
    root_passphrase_file: RootPassphraseFile = None,
    terms: Annotated[
        Path | None,
        typer.Option(help="New terms (TOML); else those that there are. 新しい条件。"),
    ] = None,
    days: Annotated[
        int, typer.Option(min=1, max=3650, help="How long it holds. 有効日数。")
    ] = 365,
    out: Annotated[Path, typer.Option(help="Where it goes. 出力先。")] = Path(
        "proposal.json"
    ),
    as_json: AsJson = False,
) -> None:
    """Write the next version of an agreement and sign it as the first of two.

    協定の改定案(または更新案)を作り、署名します。

    The other city runs `federate accept`, then both install it. Until then, and if the
    other city does not sign, the present version stays in force.
    """
    old = Agreement.parse(files.read(file, _MAX_BYTES).strip())
    deal = None
    if terms is not None:
        deal = read_deal(files.read(terms, _MAX_BYTES).decode("utf-8", "replace"))
    files.check_writable(out)
    proposal = federating.amend(
        old,
        open_root(root, passphrase(root_passphrase_file)),
        deal,
        days=days,
        now_ms=SystemClock().now_ms(),
    )
    files.write(out, proposal.wire)
    document = {**agreement_text.document(proposal), "file": str(out)}
    todo = f"→ Send {out.name} to the other city: machikura federate accept {out.name}"
    show(document, f"{agreement_text.text(proposal)}\n{todo}", as_json=as_json)


def accept(
    file: Annotated[Path, typer.Argument(help="Their proposal. 相手の改定案。")],
    present: Annotated[
        Path,
        typer.Option(
            "--replaces", help="The agreement that it changes. 現行協定のファイル。"
        ),
    ],
    root: Root,
    root_passphrase_file: RootPassphraseFile = None,
    out: Annotated[Path, typer.Option(help="Where it goes. 出力先。")] = Path(
        "agreement.json"
    ),
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Sign the next version of an agreement as the second of two.

    相手都市の改定案に署名します。

    No telephone is needed: the roots are those of the agreement that it changes.
    """
    proposal = Agreement.parse(files.read(file, _MAX_BYTES).strip())
    old = Agreement.parse(files.read(present, _MAX_BYTES).strip())
    ours, before = proposal.body, old.body
    same = old.complete and ours.id == before.id and ours.version > before.version
    roots = (ours.a.city, ours.a.root, ours.b.city, ours.b.root)
    if not same or roots != (
        before.a.city,
        before.a.root,
        before.b.city,
        before.b.root,
    ):
        raise Misuse("this is not a later version of that agreement, by the same roots")
    agree(f"{agreement_text.text(proposal)}\nSign it? 署名しますか", yes=yes)
    key = open_root(root, passphrase(root_passphrase_file))
    files.check_writable(out)
    complete = proposal.countersign(key.city, key.signer)
    files.write(out, complete.wire)
    document = {**agreement_text.document(complete), "file": str(out)}
    other = complete.body.other(key.city).city
    todo = f"→ Send {out.name} back to {other}; both run: machikura federate install"
    show(
        document,
        f"{agreement_text.text(complete)}\n{todo} {out.name}",
        as_json=as_json,
    )


def end(
    file: AgreementFile,
    root: Root,
    root_passphrase_file: RootPassphraseFile = None,
    at: Annotated[
        str, typer.Option("--at", help="Its last day, YYYY-MM-DD. 終了日。")
    ] = "",
    now: Annotated[
        bool,
        typer.Option(
            "--now", help="At once; the other city signs too. 即時(要双方署名)。"
        ),
    ] = False,
    other: Annotated[
        Path | None,
        typer.Option(
            "--with", help="The other city's word, to be added to. 相手の通告。"
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where it goes. 出力先。")] = Path(
        "ending.json"
    ),
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Sign our word that an agreement ends before its day.

    協定を期限前に終了する通告に署名します。

    Alone it counts after the notice that was agreed; with the other city's word, from
    the moment that both name. Both install the file.
    """
    agreement = Agreement.parse(files.read(file, _MAX_BYTES).strip())
    clock_ms = SystemClock().now_ms()
    theirs = None
    if other is not None:
        theirs = Ending.model_validate_json(files.read(other, _MAX_BYTES))
        moment_s = _moment_of(theirs)
    elif now:
        moment_s = clock_ms // 1000
    elif at:
        moment_s = end_of(at)
    else:
        notice = agreement.body.notice_s
        moment_s = clock_ms // 1000 + notice + 7 * _DAY_S
    agree(f"{agreement.body.id}: ends {moment(moment_s)}. 終了させますか", yes=yes)
    files.check_writable(out)
    ending = federating.end(
        agreement,
        open_root(root, passphrase(root_passphrase_file)),
        at=moment_s,
        now_ms=clock_ms,
        entropy=system_entropy,
        other=theirs,
    )
    files.write(out, ending.encode() + b"\n")
    both = len(ending.words) == 2
    document = {
        "agreement": agreement.body.id,
        "version": agreement.body.version,
        "ends": moment_s,
        "signed_by_both": both,
        "file": str(out),
    }
    todo = f"→ Send {out.name} to the other city; both run: federate install {out.name}"
    text = (
        f"✓ {agreement.body.id} ends {moment(moment_s)}. 通告に署名しました。\n{todo}"
    )
    show(document, text, as_json=as_json)


def stop(
    agreement: Annotated[
        str, typer.Argument(help="Its id, see `federate list`. 協定ID。")
    ],
    yes: Yes = False,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Stop serving an agreement at our own brokers, at once and for good.

    自都市側で協定の利用を直ちに止めます(元に戻せません)。
    """
    agree(f"Stop {agreement} for good? 停止しますか", yes=yes)
    document = connect(config, socket).delete(f"{PATH}/{quote(agreement, safe='')}")
    rows = [
        ("refused since", moment(document["refused_since"])),
        ("told at once", " ".join(document["told_members"])),
        ("told when linked", " ".join(document["untold_members"])),
        ("known elsewhere", f"until {moment(document['accepted_until'])} at most"),
        ("still reached through", " ".join(document["still_reached_through"])),
    ]
    text = (
        f"✓ {document['city']}: stopped. 停止しました。\n{columns(rows, indent='  ')}"
    )
    show(document, text, as_json=as_json)


def install_ending(
    wire: bytes, config: Path, socket: Path | None, *, as_json: bool
) -> bool:
    """Install the file if it is an ending; tell whether it was one."""
    try:
        Ending.model_validate_json(wire)
    except ValueError:
        return False
    entry = connect(config, socket).upload(
        f"{PATH}/endings", wire, media="application/json"
    )
    text = f"✓ {entry['city']}: ends {moment(entry['ends'])}. 終了を登録しました。"
    show(entry, text, as_json=as_json)
    return True


def _moment_of(ending: Ending) -> int:
    return Received.parse(ending.words[0], AGREEMENT_END).peek(AgreementEnd).at


def add_to(federate: typer.Typer) -> None:
    """Add the commands to the group."""
    federate.command("amend")(amend)
    federate.command("accept")(accept)
    federate.command("end")(end)
    federate.command("stop")(stop)
