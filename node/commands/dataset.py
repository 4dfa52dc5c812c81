# SPDX-License-Identifier: Apache-2.0
"""`machikura dataset`: dataset types, and what this holder itself allows for each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from node.commands import files
from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import AsJson, columns, in_language, show

PATH = "/v1/datasets"
_MAX_BYTES = 1 << 20
_DEFAULT_POLICY: dict[str, Any] = {
    "shared": True,
    "purposes": None,
    "withheld_fields": [],
    "refused": [],
    "retention_days": None,
}

dataset = typer.Typer(no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Such as health.checkup. 種別名。")]


@dataset.command("list")
def list_(
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """List the dataset types that this node knows.

    データセット種別の一覧を表示します。
    """
    document = connect(config, socket).get(PATH)
    rows: list[tuple[object, ...]] = [("TYPE", "VERSION", "CLASS", "TITLE", "PURPOSES")]
    rows += (
        (e["name"], e["version"], e["data_class"], _title(e), " ".join(e["purposes"]))
        for e in document["datasets"]
    )
    show(document, columns(rows), as_json=as_json)


@dataset.command("show")
def show_(
    name: Name,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Show one dataset type: its purposes and fields; with --json its definition.

    データセット種別の定義を表示します。
    """
    document = connect(config, socket).get(f"{PATH}/{quote(name, safe='')}")
    rows = [
        ("class 区分", document["data_class"]),
        ("legal basis 法的根拠", " ".join(document["legal_basis"])),
        ("evidence level", document["evidence_level"]),
        ("qualifications 資格", " / ".join(document["qualifications"])),
        ("time field", document.get("time_field")),
        *(
            (f"purpose {purpose}", f"{_title(entry)}: {' '.join(entry['fields'])}")
            for purpose, entry in document["purposes"].items()
        ),
    ]
    title = f"{document['name']} {document['version']}  {_title(document)}"
    show(document, f"{title}\n{columns(rows, indent='  ')}", as_json=as_json)


@dataset.command("add")
def add(
    file: Annotated[Path, typer.Argument(help="Definition (JSON). 定義ファイル。")],
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Register a dataset type, or a new version of one.

    データセット種別を登録します。
    """
    content = files.read(file, _MAX_BYTES)
    client = connect(config, socket)
    added = client.upload(PATH, content, media="application/json")
    what = "registered 登録しました" if added["new"] else "is here already 登録済みです"
    text = f"✓ {added['name']} {added['version']}: {what}"
    show(added, text, as_json=as_json)


@dataset.command("policy")
def policy(
    name: Name,
    shared: Annotated[
        bool | None,
        typer.Option("--shared/--not-shared", help="Release at all. 提供の可否。"),
    ] = None,
    purpose: Annotated[
        list[str] | None,
        typer.Option(help="Release for these only; repeat it. 認める利用目的。"),
    ] = None,
    withhold: Annotated[
        list[str] | None,
        typer.Option(help="Field never released; repeat it. 提供しない項目。"),
    ] = None,
    refuse: Annotated[
        list[str] | None,
        typer.Option(help="Node that gets nothing; repeat it. 提供しない相手。"),
    ] = None,
    retention_days: Annotated[
        int | None, typer.Option(help="Delete records after. 保存日数。")
    ] = None,
    reset: Annotated[
        bool, typer.Option(help="Begin from the default. 既定値に戻します。")
    ] = False,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Show what this holder allows over and above consent, or change it.

    保有組織の方針を表示・変更します。
    """
    client, path = connect(config, socket), f"{PATH}/{quote(name, safe='')}/policy"
    wishes = {
        "shared": shared,
        "purposes": purpose or None,
        "withheld_fields": withhold or None,
        "refused": refuse or None,
        "retention_days": retention_days,
    }
    changes = {key: value for key, value in wishes.items() if value is not None}
    found = client.get(path)
    if changes or reset:
        found = client.put(path, {**(_DEFAULT_POLICY if reset else found), **changes})
    purposes = found["purposes"]
    rows = [
        ("shared 提供", "yes" if found["shared"] else "no"),
        ("purposes 利用目的", "any" if purposes is None else " ".join(purposes)),
        ("withheld 非提供項目", " ".join(found["withheld_fields"])),
        ("refused 非提供先", " ".join(found["refused"])),
        ("retention days 保存日数", found["retention_days"]),
    ]
    show(found, f"{name}\n{columns(rows, indent='  ')}", as_json=as_json)


def _title(entry: dict[str, Any]) -> str:
    titles = entry["title"]
    named = {f"title_{language}": text for language, text in titles.items()}
    return in_language(named, "title") or next(iter(titles.values()), "")


def add_to(app: typer.Typer) -> None:
    """Add the group."""
    words = "Dataset types and this holder's policy. データセット種別と方針。"
    app.add_typer(dataset, name="dataset", help=words)
