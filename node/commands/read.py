# SPDX-License-Identifier: Apache-2.0
"""`machikura read`: a federated read; shows records, what was cut and why, the way."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Annotated, Any, Final
from urllib.parse import quote

import orjson
import typer

from node.commands.api_client import ApiClient, NodeProblem
from node.commands.attachment import table
from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import (
    AsJson,
    columns,
    complain,
    in_language,
    language,
    moment,
    show,
)
from node.commands.read_all import write_all
from node.system import SystemClock
from vault.moments import text_of

PATH = "/v1/exchanges/read"
KEPT: Final = "/v1/exchanges/reads"
_LONG: Final = re.compile(r"([0-9]{1,5})([mhd])")
_UNITS: Final = {"m": 60, "h": 3_600, "d": 86_400}
_SLACK_S, _LEAST_S = 15.0, 30.0
_PAGE: Final = 1000


def read(
    dataset_type: Annotated[
        str, typer.Option("--type", help="Dataset type. データセット種別。")
    ] = "",
    purpose: Annotated[str, typer.Option(help="Purpose of use. 利用目的。")] = "",
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
    everything: Annotated[
        bool,
        typer.Option("--all", help="Every record, in lines of JSON. 全件(NDJSON)。"),
    ] = False,
    after: Annotated[
        str, typer.Option(help="Go on behind a page: its `next`. 続きから。")
    ] = "",
    hops: Annotated[
        int | None, typer.Option(help="Brokers that may carry it. 中継上限。")
    ] = None,
    timeout_ms: Annotated[
        int | None, typer.Option(help="Time it has. 制限時間(ミリ秒)。")
    ] = None,
    wait_until: Annotated[
        str,
        typer.Option(
            help="Wait for a holder that is away: ISO 8601, or 90m, 24h, 3d. 待機期限。"
        ),
    ] = "",
    status: Annotated[
        str, typer.Option(metavar="ID", help="Show one that waited. 待機の結果。")
    ] = "",
    waiting: Annotated[
        bool, typer.Option("--waiting", help="List those that wait. 待機の一覧。")
    ] = False,
    cancel: Annotated[
        str, typer.Option(metavar="ID", help="Give one up. 待機の取消。")
    ] = "",
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Read from other organizations.

    他組織の記録を参照します。

    Under a consent that this organization received. Shows what was released, what was
    cut and by which clause, and the brokers on the way. With --wait-until, a read whose
    holder is away waits for it, through restarts; --status shows what came of it. With
    --all, every record comes, page by page, in lines of JSON.
    """
    if status or waiting or cancel:
        client = connect(config, socket)
        kept(client, status=status, cancel=cancel, as_json=as_json)
        return
    if not dataset_type or not purpose:
        raise typer.BadParameter(
            "--type and --purpose are needed. 種別と目的が必要です。"
        )
    wishes = {
        "consent": consent or None,
        "holder": holder or None,
        "fields": field or None,
        "records": record or None,
        "since": since or None,
        "until": until or None,
        "hops": hops,
        "timeout_ms": timeout_ms,
        "after": after or None,
        "wait_until": _wait(wait_until),
    }
    body: dict[str, Any] = {
        "dataset_type": dataset_type,
        "purpose": purpose,
        "limit": limit,
        "attachments": True,
    }
    body |= {name: value for name, value in wishes.items() if value is not None}
    timeout_s = max(_LEAST_S, (timeout_ms or 0) / 1000 + _SLACK_S)
    client = connect(config, socket, timeout_s=timeout_s)
    if everything:
        write_all(client, {**body, "limit": _PAGE}, as_json=as_json)
        return
    try:
        document = client.post(PATH, body)
    except NodeProblem as error:
        results = error.document.get("results")
        if as_json or not results:
            raise
        complain("\n".join(_lines(results)))
        raise typer.Exit(1) from error
    text = lines_of(document) if "state" in document else _lines(document["results"])
    show(document, "\n".join(text), as_json=as_json)


def _wait(text: str) -> str | None:
    return moment_of(text, SystemClock().now_ms() // 1000) if text else None


def moment_of(text: str, now: int) -> str:
    """Return a time, given as such or as how long from now, as ISO 8601."""
    match = _LONG.fullmatch(text)
    return text if match is None else text_of(now + int(match[1]) * _UNITS[match[2]])


def kept(client: ApiClient, *, status: str, cancel: str, as_json: bool) -> None:
    """Show, or give up, reads that wait or have waited."""
    if status and cancel:
        raise typer.BadParameter("--status or --cancel. どちらか一つ。")
    if cancel:
        client.delete(f"{KEPT}/{quote(cancel, safe='')}")
        text = f"✓ {cancel}: given up. 取り消しました。"
        show({"id": cancel, "cancelled": True}, text, as_json=as_json)
        return
    if status:
        document = client.get(f"{KEPT}/{quote(status, safe='')}")
        show(document, "\n".join(lines_of(document)), as_json=as_json)
        return
    document = client.get(KEPT)
    rows: list[tuple[object, ...]] = [("READ 参照", "STATE", "TYPE", "UNTIL 期限")]
    for one in document["reads"]:
        until = moment(one["until_ms"] // 1000)
        rows.append((one["id"], one["state"], one["dataset_type"], until))
    nothing = "Nothing waits. 待機中の参照はありません。"
    show(document, columns(rows) if len(rows) > 1 else nothing, as_json=as_json)


def lines_of(document: dict[str, Any]) -> Iterator[str]:
    """Yield the lines that show a read that waits, or has waited."""
    until = moment(document["until_ms"] // 1000)
    waits = document["state"] == "waiting"
    state = f"waits until {until} 待機中" if waits else "has ended 完了"
    yield f"{document['id']}: {state}"
    yield from _lines(document["results"])


def _lines(results: list[dict[str, Any]]) -> Iterator[str]:
    for result in results:
        problem = result["problem"]
        holder = result["holder"] or "(hidden holder 匿名の保有組織)"
        if problem is not None:
            yield f"✗ {holder}: {in_language(problem, 'title')} ({problem['code']})"
            yield from _why(problem)
        else:
            count = len(result["records"])
            more = ", more with --all" if result["more"] else ""
            yield f"✓ {holder}: {count} records{more}  {result['took_ms']} ms"
            for record in result["records"]:
                yield f"  {record['id']}  {record['time'] or ''}".rstrip()
                for name, value in record["content"].items():
                    yield f"    {name}: {_shown(value)}"
                if record.get("attachments"):
                    yield "  attachments 添付ファイル:"
                    yield table(record["attachments"], indent="    ")
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
