# SPDX-License-Identifier: Apache-2.0
"""`machikura route-proof`: who carried an exchange, when, and what each has signed."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import AsJson, columns, moment, show

PATH = "/v1/evidence/routes"
_PROVEN = "proven"

Exchange = Annotated[str, typer.Argument(help="Id of the exchange. 交換の識別子。")]
Ask = Annotated[
    bool,
    typer.Option(
        "--ask/--no-ask",
        help="Ask the brokers, or show what is kept. ブローカーに問い合わせます。",
    ),
]


def route_proof(
    exchange: Exchange,
    ask: Ask = True,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Prove the route of an exchange.

    交換の経路を証明します。

    Exit status 1 unless every hop is proven. 未証明があれば終了コード 1 です。
    """
    client = connect(config, socket, timeout_s=120.0)
    path = f"{PATH}/{exchange}"
    document = client.post(f"{path}/prove", None) if ask else client.get(path)
    text = "\n\n".join(_text(route) for route in document["routes"])
    show(document, text, as_json=as_json)
    if any(route["verdict"] != _PROVEN for route in document["routes"]):
        raise typer.Exit(1)


def _text(route: dict[str, Any]) -> str:
    rows: list[tuple[object, ...]] = [
        (
            "",
            "BROKER ブローカー",
            "TIME 時刻",
            "DECISION 判断",
            "NEXT 次",
            "VERDICT",
        )
    ]
    for hop in route["hops"]:
        mark = "✓" if hop["verdict"] == _PROVEN else "✗"
        verdict = f"{hop['verdict']} ({hop['code']})" if hop["code"] else hop["verdict"]
        at = moment(hop["at_ms"] // 1000).replace("+", f".{hop['at_ms'] % 1000:03}+", 1)
        rows.append((mark, hop["by"], at, hop["decision"], hop["next"], verdict))
    role = "asked 要求" if route["asked"] else "answered 応答"
    return f"{route['exchange']} ({role}): {route['verdict']}\n{columns(rows)}"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("route-proof")(route_proof)
