# SPDX-License-Identifier: Apache-2.0
"""`machikura evidence`: signed batches with each neighbor, and alarms about them."""

from __future__ import annotations

from typing import Annotated

import typer

from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import AsJson, columns, moment, show

PATH = "/v1/evidence"

evidence = typer.Typer(no_args_is_help=True)
Number = Annotated[int, typer.Argument(min=1, help="Its number. 番号。")]
Everything = Annotated[
    bool, typer.Option("--all", help="Acknowledged ones too. 確認済みも表示します。")
]


@evidence.command("status")
def status(
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Show how things stand with each neighbor.

    隣接ノードごとの証拠の状態を表示します。
    """
    document = connect(config, socket).get(PATH)
    rows: list[tuple[object, ...]] = [
        ("NEIGHBOR 相手", "LINKS", "SIGNS 署名", "UNCONFIRMED 未確認", "LAST BATCH")
    ]
    for one in document["neighbors"]:
        taken = one["taken_ms"]
        last = moment(None if taken is None else taken // 1000)
        signs = "yes" if one["speaks"] else "no"
        rows.append((one["peer"], one["links"], signs, one["unconfirmed"], last))
    text = columns(rows) if len(rows) > 1 else "No neighbors. 相手はありません。"
    show(document, f"{text}\nalarms 警報: {document['open_alarms']}", as_json=as_json)


@evidence.command("alarms")
def alarms(
    everything: Everything = False,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """List what the evidence contradicts, exchange by exchange.

    証拠の不一致(警報)を表示します。
    """
    query = {"all": "true"} if everything else None
    document = connect(config, socket).get(f"{PATH}/alarms", query=query)
    rows: list[tuple[object, ...]] = [
        ("ID", "KIND 種類", "PEER 相手", "SUBJECT 対象", "LAST 最終", "TIMES", "DETAIL")
    ]
    for one in document["alarms"]:
        last = moment(one["last_ms"] // 1000)
        seen = " ✓" if one["acknowledged_ms"] is not None else ""
        what = one["kind"], one["peer"], one["subject"], last, one["count"]
        rows.append((f"{one['id']}{seen}", *what, one["detail"]))
    text = columns(rows) if len(rows) > 1 else "No alarms. 警報はありません。"
    show(document, text, as_json=as_json)


@evidence.command("acknowledge")
def acknowledge(
    number: Number,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Note that an alarm was seen; it opens again if it happens again.

    警報を確認済みにします。
    """
    connect(config, socket).post(f"{PATH}/alarms/{number}/acknowledge", None)
    text = f"✓ {number}: acknowledged. 確認しました。"
    show({"id": number, "acknowledged": True}, text, as_json=as_json)


@evidence.command("proof")
def proof(
    number: Number,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Print the signed statements that were kept with an alarm.

    警報の根拠となる署名文書を出力します。
    """
    document = connect(config, socket).get(f"{PATH}/alarms/{number}/proof")
    show(document, "\n".join(document["statements"]), as_json=as_json)


def add_to(app: typer.Typer) -> None:
    """Add the group."""
    words = "Signed batches with neighbors, and alarms. 証拠と警報。"
    app.add_typer(evidence, name="evidence", help=words)
