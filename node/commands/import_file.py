# SPDX-License-Identifier: Apache-2.0
"""`machikura import`: bring in a file, and see what became of every row."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import orjson
import typer

from node.commands import files
from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import AsJson, columns, in_language, show
from protocol.errors import TooLarge
from vault.formats.profile import load_profile
from vault.formats.reader import FORMATS

PATH = "/v1/import"
_TIMEOUT_S = 3600.0
_MAX_MAPPING_BYTES = 1 << 20
_MAX_IN_QUERY = 60_000
"""Of the node's 64 KiB for the first line of a request."""


def import_(
    file: Annotated[
        str, typer.Argument(help="The file; - reads standard input. ファイル。")
    ],
    format_: Annotated[
        str,
        typer.Option(
            "--format", help=f"{', '.join(FORMATS)}; else by the name. 形式。"
        ),
    ] = "",
    profile: Annotated[
        str,
        typer.Option(help="Built-in profile; else by the header. プロファイル名。"),
    ] = "",
    mapping: Annotated[
        Path | None,
        typer.Option(help="Profile of your own (JSON or TOML). 対応表のファイル。"),
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Import a file: FHIR R4, CSV or NDJSON.

    ファイルを取り込みます。

    Broken rows are listed with the reason, all others are kept. Importing the same file
    again changes nothing.
    """
    if profile and mapping is not None:
        raise typer.BadParameter("--profile and --mapping exclude each other")
    query = {"format": format_ or _format_of(file)}
    if profile:
        query["profile"] = profile
    if mapping is not None:
        query["mapping"] = _mapping(mapping)
    client = connect(config, socket, timeout_s=_TIMEOUT_S)
    if file == "-":
        report = client.upload(PATH, sys.stdin.buffer, query)
    else:
        with files.opened(Path(file)) as content:
            report = client.upload(PATH, content, query)
    show(report, _text(report), as_json=as_json)
    kept = report["stored"] + report["updated"] + report["known"]
    if report["problems"] and not kept:
        raise typer.Exit(1)


def _format_of(file: str) -> str:
    by_suffix = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}
    found = by_suffix.get(Path(file).suffix.lower())
    if found is None:
        raise typer.BadParameter("say --format: " + ", ".join(FORMATS))
    return found


def _mapping(path: Path) -> str:
    """Return a profile as short JSON, checked here, where its file name is known.

    Raises:
        Misuse: it is no profile.
        TooLarge: it does not fit into a request.
    """
    content = files.read(path, _MAX_MAPPING_BYTES)
    is_toml = path.suffix.lower() == ".toml"
    found = load_profile(content, syntax="toml" if is_toml else "json")
    short = found.model_dump(mode="json", exclude_defaults=True)
    text = orjson.dumps(short).decode()
    if len(quote(text)) > _MAX_IN_QUERY:
        raise TooLarge(f"{path.name}: leave out columns that the file does not have")
    return text


def _text(report: dict[str, Any]) -> str:
    rows = [
        ("rows 行", report["rows"]),
        ("stored 新規", report["stored"]),
        ("updated 更新", report["updated"]),
        ("known 既存", report["known"]),
        ("refused 拒否", report["refused"]),
        *((f"  {name}", count) for name, count in sorted(report["by_type"].items())),
    ]
    lines = [columns(rows)]
    if report["problems"]:
        cells = [
            (
                f"row {problem['row']} 行目" if problem["row"] else "file",
                problem["level"],
                problem["field"],
                problem["code"],
                in_language(problem, "detail"),
            )
            for problem in report["problems"]
        ]
        lines.append(columns([("ROW", "LEVEL", "FIELD", "CODE", "REASON"), *cells]))
    if report["left_out"]:
        lines.append(f"… and {report['left_out']} more. ほかにもあります。")
    return "\n".join(lines)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import")(import_)
