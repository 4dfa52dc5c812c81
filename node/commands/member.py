# SPDX-License-Identifier: Apache-2.0
"""`machikura member`: join a city, admit nodes to it, remove them."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import orjson
import typer
from pydantic import ValidationError

from node.admission import accept_offline
from node.commands import files
from node.commands.api_client import NodeUnreachable
from node.commands.ask import Yes, agree
from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import AsJson, columns, day, moment, show
from node.commands.typed import qualification as read_qualification
from node.config_file import load
from node.new_node import fingerprint, write_join_request
from node.system import SystemClock, system_entropy
from protocol.errors import Misuse
from protocol.membership import Credentials, DataClass, JoinRequest, Role
from protocol.suites import VerifyingKey

MEMBERS, MEMBERSHIP = "/v1/members", "/v1/membership"
_MAX_BYTES = 512 * 1024
_YEAR_S = 366 * 86_400

member = typer.Typer(no_args_is_help=True)


@member.command("request")
def request(
    new_keys: Annotated[
        bool,
        typer.Option(
            "--new-keys",
            help="Make new keys for it: the old ones were lost or stolen. 新しい鍵で。",
        ),
    ] = False,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Write this node's join request anew; it is good for 30 days.

    加入申請ファイルを作り直します。
    """
    settings = load(config)
    path, name = write_join_request(
        settings,
        config.resolve().parent,
        now_ms=SystemClock().now_ms(),
        entropy=system_entropy,
        new_keys=new_keys,
    )
    node = settings.node.id
    document = {"node": node, "join_request": str(path), "fingerprint": name}
    text = columns([("join request", path), ("fingerprint", name)])
    show(document, text, as_json=as_json)


@member.command("admit")
def admit(
    file: Annotated[
        Path, typer.Argument(help="Join request of the node. 加入申請ファイル。")
    ],
    out: Annotated[
        Path, typer.Option(help="Where its membership goes. 会員証の出力先。")
    ] = Path("membership.json"),
    role: Annotated[
        list[Role] | None,
        typer.Option(help="What it may do; repeat it. 役割。[default: vault]"),
    ] = None,
    qualification: Annotated[
        list[str] | None,
        typer.Option(
            help="SCHEME[:NUMBER[:YYYY-MM-DD]] that the city attests; for a year if "
            "there is no date. 都市が証明する資格。"
        ),
    ] = None,
    data_class: Annotated[
        list[DataClass] | None,
        typer.Option(
            help="What it may handle; repeat it. 扱えるデータ区分。[default: none]"
        ),
    ] = None,
    confirm: Annotated[
        str,
        typer.Option(help="Fingerprint that the node's operator read out. 指紋。"),
    ] = "",
    yes: Yes = False,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Admit a node to the city (run it at the broker).

    ノードの加入を認めます(都市のブローカーで実行)。
    """
    token = files.read(file, _MAX_BYTES).decode("utf-8", "replace").strip()
    asked = JoinRequest.verify(token).body
    name = fingerprint(VerifyingKey.from_jwk(asked.key).kid)
    if confirm:
        _compare(name, confirm)
    else:
        agree(f"{asked.sub}  {name}  OK?", yes=yes)
    year = SystemClock().now_ms() // 1000 + _YEAR_S
    roles = [str(one) for one in role or [Role.VAULT]]
    classes = [str(one) for one in data_class or []]
    qualifications = [read_qualification(q, year) for q in qualification or []]
    files.check_writable(out)
    body = {
        "request": token,
        "roles": roles,
        "qualifications": qualifications,
        "data_classes": classes,
    }
    admitted = connect(config, socket).post(MEMBERS, body)
    files.write(out, orjson.dumps(admitted, option=orjson.OPT_INDENT_2) + b"\n")
    rows = [
        ("fingerprint", name),
        ("roles", " ".join(roles)),
        ("qualifications", " ".join(str(q["scheme"]) for q in qualifications)),
        ("data classes", " ".join(classes)),
        ("membership", out),
    ]
    document = {"node": asked.sub, "fingerprint": name, "membership": str(out)}
    text = (
        f"✓ {asked.sub} is admitted. 加入を認めました。\n{columns(rows, indent='  ')}\n"
        f"Give {out.name} to its operator, who runs: machikura member accept {out.name}"
    )
    show(document, text, as_json=as_json)


@member.command("accept")
def accept(
    file: Annotated[
        Path, typer.Argument(help="Membership that the city gave. 会員証ファイル。")
    ],
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Take the membership that the city gave, whether the node runs or not.

    会員証を受け取ります(ノードの停止中でも可)。
    """
    try:
        credentials = Credentials.model_validate_json(files.read(file, _MAX_BYTES))
    except ValidationError as error:
        raise Misuse(f"{file.name} is no membership file") from error
    document, running = _accept(credentials, config, socket)
    text = (
        f"✓ {document['node']} is a member until {day(document['ends'])}; "
        "renewal is automatic.\n  会員になりました。更新は自動です。"
    )
    if not running:
        text += f"\nNext 次の手順: machikura serve --config {config}"
    show(document, text, as_json=as_json)


def _accept(
    credentials: Credentials, config: Path, socket: Path | None
) -> tuple[dict[str, Any], bool]:
    """Hand it to the running node, or else to its database."""
    try:
        taken = connect(config, socket).post(MEMBERSHIP, credentials.model_dump())
    except NodeUnreachable as error:
        # Only where surely nobody runs: two writers would not know of each other.
        if socket is not None or not error.stopped:
            raise
    else:
        return taken, True
    now = SystemClock().now_ms() // 1000
    settings = load(config)
    membership = accept_offline(settings, credentials, now=now, entropy=system_entropy)
    return {"node": membership.sub, "ends": membership.exp}, False


@member.command("list")
def list_(
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """List the city's members (run it at the broker).

    会員の一覧を表示します(都市のブローカーで実行)。
    """
    document = connect(config, socket).get(MEMBERS)
    rows: list[tuple[object, ...]] = [("NODE", "ADMITTED", "MEMBERSHIP ENDS", "STATE")]
    for entry in document["members"]:
        gone = entry["removed"]
        state = f"removed 除名 {day(gone)}" if gone is not None else "member 会員"
        rows.append((entry["node"], day(entry["admitted"]), day(entry["ends"]), state))
    show(document, columns(rows), as_json=as_json)


@member.command("remove")
def remove(
    label: Annotated[
        str, typer.Argument(help="Its label, such as clinic in hoshino/clinic. 名前。")
    ],
    yes: Yes = False,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Remove a node from the city; its keys are never admitted again.

    ノードを除名します。その鍵は二度と使えません。
    """
    agree(f"Remove {label} for good? 除名しますか", yes=yes)
    document = connect(config, socket).delete(f"{MEMBERS}/{quote(label, safe='')}")
    show(document, _removal(document, "is removed. 除名しました。"), as_json=as_json)


@member.command("revoke-keys")
def revoke_keys(
    label: Annotated[
        str, typer.Argument(help="Its label, such as clinic in hoshino/clinic. 名前。")
    ],
    yes: Yes = False,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Revoke the keys of a member that were stolen; it joins again with new ones.

    盗まれた会員の鍵を直ちに失効させます。会員は新しい鍵で加入し直します。
    """
    agree(f"Revoke the keys of {label} at once? 失効させますか", yes=yes)
    path = f"{MEMBERS}/{quote(label, safe='')}/revoke-keys"
    document = connect(config, socket).post(path, {})
    text = _removal(document, "lost its keys. 鍵を失効させました。")
    todo = "Its operator runs: machikura member request --new-keys; then admit it."
    show(document, f"{text}\n→ {todo}", as_json=as_json)


@member.command("rotate-keys")
def rotate_keys(
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Change this node's keys while it runs; the old ones serve out an overlap.

    自ノードの鍵を更新します(稼働したまま。旧鍵は重複期間のあと破棄)。
    """
    document = connect(config, socket).post(f"{MEMBERSHIP}/keys", {})
    show(
        document, f"✓ new keys. 鍵を更新しました。\n{_keys(document)}", as_json=as_json
    )


@member.command("keys")
def keys(
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Show this node's keys and until when replaced ones still serve.

    自ノードの鍵と重複期間を表示します。
    """
    document = connect(config, socket).get(f"{MEMBERSHIP}/keys")
    show(document, _keys(document), as_json=as_json)


def _keys(document: dict[str, Any]) -> str:
    rows: list[tuple[object, ...]] = [("KEY", "SINCE", "ACCEPTED UNTIL")]
    for key in document["keys"]:
        until = "present 現用" if key["until"] is None else moment(key["until"])
        since = "-" if key["since"] is None else moment(key["since"])
        rows.append((key["kid"], since, until))
    return columns(rows)


def _removal(document: dict[str, Any], what: str) -> str:
    """Say since when it is refused, and until when somebody may not know it yet."""
    rows = [
        ("refused since", moment(document["refused_since"])),
        ("told at once", " ".join(document["told_members"] + document["told_cities"])),
        ("told when linked", " ".join(document["untold_members"])),
        ("accepted elsewhere", f"until {moment(document['accepted_until'])} at most"),
    ]
    return (
        f"✓ {document['node']} {what}\n{columns(rows, indent='  ')}\n"
        "  Whoever has not heard of it may accept it until then.\n"
        "  通知がまだ届いていない相手は、その日時まで受け入れることがあります。"
    )


def _compare(found: str, told: str) -> None:
    """Hold the key to what was read out.

    Raises:
        Misuse: it is another key.
    """
    plain = ["".join(text.split()).encode() for text in (found, told)]
    if not hmac.compare_digest(*plain):
        raise Misuse("the fingerprint is not that of the key in the join request")


def add_to(app: typer.Typer) -> None:
    """Add the group."""
    words = "Join a city, admit nodes, remove them. 加入と除名。"
    app.add_typer(member, name="member", help=words)
