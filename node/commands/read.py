# SPDX-License-Identifier: Apache-2.0
"""`machikura read`: a federated read; shows records, what was cut and why, the way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated, Any

import orjson
import typer

from node.commands.api_client import NodeProblem
from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import AsJson, complain, in_language, language, show

PATH = "/v1/exchanges/read"
_SLACK_S, _LEAST_S = 15.0, 30.0


def read(
    dataset_type: Annotated[
        str, typer.Option("--type", help="Dataset type. データセット種別。")
    ],
    purpose: Annotated[str, typer.Option(help="Purpose of use. 利用目的。")],
    consent: Annotated[str, typer.Option(help="Consent received. 受領した同意。")] = "",
    holder: Annotated[
        str, typer.Option(help="Only this holder. この保有組織のみ。")
    ] = "",
    field: Annotated[
        list[str] | None, typer.Option(help="Only this field; repeat it. 項目。")
    ] = None,
    record: Annotated[
        list[str] | None, typer.Option(help="Only this record; repeat it. 記録。")
    ] = None,
    since: Annotated[str, typer.Option(help="From, ISO 8601. 開始日時。")] = "",
    until: Annotated[str, typer.Option(help="Before, ISO 8601. 終了日時。")] = "",
    limit: Annotated[int, typer.Option(help="Records at most. 最大件数。")] = 100,
    hops: Annotated[
        int | None, typer.Option(help="Brokers that may carry it. 中継上限。")
    ] = None,
    timeout_ms: Annotated[
        int | None, typer.Option(help="Time it has. 制限時間(ミリ秒)。")
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Read from other organizations.

    他組織の記録を参照します。

    Under a consent that this organization received. Shows what was released, what was
    cut and by which clause, and the brokers on the way.
    """
    wishes = {
        "consent": consent or None,
        "holder": holder or None,
        "fields": field or None,
        "records": record or None,
        "since": since or None,
        "until": until or None,
        "hops": hops,
        "timeout_ms": timeout_ms,
    }
    body = {"dataset_type": dataset_type, "purpose": purpose, "limit": limit}
    body |= {name: value for name, value in wishes.items() if value is not None}
    timeout_s = max(_LEAST_S, (timeout_ms or 0) / 1000 + _SLACK_S)
    client = connect(config, socket, timeout_s=timeout_s)
    try:
        document = client.post(PATH, body)
    except NodeProblem as error:
        results = error.document.get("results")
        if as_json or not results:
            raise
        complain("\n".join(_lines(results)))
        raise typer.Exit(1) from error
    show(document, "\n".join(_lines(document["results"])), as_json=as_json)


def _lines(results: list[dict[str, Any]]) -> Iterator[str]:
    for result in results:
        problem = result["problem"]
        holder = result["holder"] or "(hidden holder 匿名の保有組織)"
        if problem is not None:
            yield f"✗ {holder}: {in_language(problem, 'title')} ({problem['code']})"
            yield from _why(problem)
        else:
            count = len(result["records"])
            more = ", more by --since and --until" if result["more"] else ""
            yield f"✓ {holder}: {count} records{more}  {result['took_ms']} ms"
            for record in result["records"]:
                yield f"  {record['id']}  {record['time'] or ''}".rstrip()
                for name, value in record["content"].items():
                    yield f"    {name}: {_shown(value)}"
            if result["fields"]:
                yield f"  released 提供項目: {' '.join(result['fields'])}"
            for clause, fields in result["cut"].items():
                yield f"  cut by {clause} 除外: {' '.join(fields)}"
        yield from _way(result)


def _why(problem: dict[str, Any]) -> Iterator[str]:
    ja = language(os.environ) == "ja"
    said = "署名付き" if ja else "signed"
    unsaid = "署名なし" if ja else "not signed"
    if problem["detail"]:
        yield f"  {'原因' if ja else 'cause'}: {problem['detail']}"
    if problem["by"]:
        words = "拒否した相手" if ja else "refused by"
        yield f"  {words}: {problem['by']} ({said if problem['signed'] else unsaid})"
    yield f"  {'対処' if ja else 'remedy'}: {in_language(problem, 'remedy')}"


def _way(result: dict[str, Any]) -> Iterator[str]:
    """Yield the brokers, each with the time since the first."""
    hops = result["hops"]
    for hop in hops:
        after = hop["at_ms"] - hops[0]["at_ms"]
        yield f"  hop 中継 +{after} ms  {hop['by']} → {hop['next']}  {hop['decision']}"
    yield f"  exchange 交換ID: {result['exchange'] or '-'}"


def _shown(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("read")(read)
