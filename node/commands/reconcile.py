# SPDX-License-Identifier: Apache-2.0
"""`machikura reconcile`: our journal of exchanges and a neighbor's, compared."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import AsJson, columns, moment, show
from vault.moments import seconds_of

PATH = "/v1/evidence/reconcile"


def _milliseconds(text: str) -> int:
    try:
        return seconds_of(text) * 1000
    except ValueError:
        raise typer.BadParameter(
            "not a time (ISO 8601). 日時ではありません。"
        ) from None


Peer = Annotated[str, typer.Argument(help="The neighbor, CITY/NODE. 相手ノード。")]
From = Annotated[
    int,
    typer.Argument(
        metavar="FROM",
        parser=_milliseconds,
        help="Start, ISO 8601, Japan time without a zone. 開始日時。",
    ),
]
To = Annotated[
    int,
    typer.Argument(metavar="TO", parser=_milliseconds, help="End. 終了日時。"),
]
OnlyDifferences = Annotated[
    bool,
    typer.Option("--differences", help="Show differences only. 不一致のみ表示します。"),
]


def reconcile(
    peer: Peer,
    since: From,
    until: To,
    differences: OnlyDifferences = False,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Compare our journal with a neighbor's.

    交換履歴を突合します。

    Exit status 1 where they differ. 不一致があれば終了コード 1 です。
    """
    question = {
        "peer": peer,
        "since_ms": since,
        "until_ms": until,
        "differences_only": differences,
    }
    client = connect(config, socket, timeout_s=300.0)
    document = client.post(PATH, question)
    show(document, _text(document), as_json=as_json)
    if document["differences"] or document["faults"]:
        raise typer.Exit(1)


def _text(document: dict[str, Any]) -> str:
    rows: list[tuple[object, ...]] = [
        (
            "VERDICT 判定",
            "EXCHANGE 交換",
            "TIME 時刻",
            "WE ASKED",
            "HERE 自",
            "THERE 相手",
        )
    ]
    for line in document["lines"]:
        there = line["theirs"]
        if line["adopted"]:
            there = f"{there} (taken over 引継)"
        rows.append(
            (
                line["verdict"],
                line["exchange"],
                moment(line["at_ms"] // 1000),
                "✓" if line["asked"] else "",
                line["ours"],
                there,
            )
        )
    counts = ", ".join(f"{n} {name}" for name, n in document["counts"].items() if n)
    end = f"{counts or 'no exchanges 交換なし'}; {document['batches']} batches"
    if document["kept"]:
        end += f", {document['kept']} no longer given by the peer 相手が未提示"
    if document["truncated"]:
        end += "; not all are shown 一部のみ表示"
    faults = [f"! {fault}" for fault in document["faults"]]
    table = [columns(rows)] if len(rows) > 1 else []
    return "\n".join([*table, *faults, end])


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("reconcile")(reconcile)
