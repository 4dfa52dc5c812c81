# SPDX-License-Identifier: Apache-2.0
"""`machikura attachment`: files of any size that belong to this organization's records.

A file goes up and comes down piece by piece; neither the command nor the node holds it.
"""

from __future__ import annotations

import hashlib
import io
import mimetypes
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, BinaryIO, cast
from urllib.parse import quote

import typer

from node.commands import files
from node.commands.ask import Yes, agree
from node.commands.downloading import Saved, save
from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import AsJson, columns, show
from node.commands.progress import shown
from protocol.canonical import unb64url

_TIMEOUT_S = 120.0
_PATIENCE_S = 30.0

attachment = typer.Typer(no_args_is_help=True)
Record = Annotated[str, typer.Argument(help="Record id. 記録のID。")]
Name = Annotated[str, typer.Argument(help="Attachment id. 添付ファイルのID。")]


@attachment.command("add")
def add(
    record: Record,
    file: Annotated[Path, typer.Argument(help="The file. ファイル。")],
    field: Annotated[
        str, typer.Option(help="Field that it is filed under. 対応する項目。")
    ],
    media_type: Annotated[
        str, typer.Option(help="Media type; else by the name. 種類。")
    ] = "",
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Attach a file to a record.

    記録に添付ファイルを付けます。

    It leaves this organization where the field leaves, under the same consents.
    """
    media = media_type or mimetypes.guess_type(file.name)[0]
    query = {"field": field, "name": file.name}
    client = connect(config, socket, timeout_s=_TIMEOUT_S)
    with files.opened(file) as content:
        size = content.seek(0, io.SEEK_END)
        content.seek(0)
        with shown(file.name, size, 0, as_json=as_json) as tell:
            counted = _Counted(content, tell)
            stored = client.upload(
                f"/v1/records/{quote(record, safe='')}/attachments",
                cast(BinaryIO, counted),
                query,
                media=media or "application/octet-stream",
            )
    # What the node has sealed is what was in the file, or nobody may rely on it.
    intact = unb64url(stored["sha256"]) == counted.digest()
    text = f"✓ {stored['id']}  {stored['size']} bytes  {stored['media_type']}"
    show({**stored, "intact": intact}, text, as_json=as_json)
    if not intact:
        raise typer.Exit(1)


@attachment.command("list")
def list_(
    record: Record,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """List what a record has attached.

    記録の添付ファイルの一覧を表示します。
    """
    path = f"/v1/records/{quote(record, safe='')}/attachments"
    document = connect(config, socket).get(path)
    show(document, table(document["attachments"]), as_json=as_json)


def table(entries: list[dict[str, Any]], indent: str = "") -> str:
    """Return attachments as lines for people."""
    rows: list[tuple[object, ...]] = [("ID", "FIELD", "TYPE", "BYTES", "NAME")]
    for entry in entries:
        what = entry["field"], entry["media_type"], entry["size"], entry["name"]
        rows.append((entry["id"], *what))
    return columns(rows, indent=indent)


@attachment.command("save")
def save_(
    name: Name,
    to: Annotated[Path, typer.Option("--to", help="File to write. 保存先。")],
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Save one of our attachments in a file.

    添付ファイルを保存します。
    """
    path = f"/v1/attachments/{quote(name, safe='')}"
    saved = save(
        connect(config, socket, timeout_s=_TIMEOUT_S),
        lambda offset: ("GET", f"{path}?offset={offset}", None),
        name,
        to,
        patience_s=_PATIENCE_S,
        as_json=as_json,
    )
    show_saved(saved, to, as_json=as_json)


def show_saved(saved: Saved, to: Path, *, as_json: bool) -> None:
    """Print what was saved, and how fast it came."""
    came = saved.size - saved.resumed_at
    speed = came / 1e6 / max(saved.took_s, 1e-6)
    text = f"✓ {to}  {saved.size} bytes  {saved.took_s:.1f} s  {speed:.1f} MB/s"
    if saved.resumed_at:
        text += f"  resumed 再開: {saved.resumed_at}"
    document = {
        "file": str(to),
        "size": saved.size,
        "sha256": saved.sha256,
        "resumed_at": saved.resumed_at,
        "attempts": saved.attempts,
        "took_ms": round(saved.took_s * 1000),
        "mb_per_s": round(speed, 1),
    }
    show(document, text, as_json=as_json)


@attachment.command("delete")
def delete(
    name: Name,
    yes: Yes = False,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Delete an attachment.

    添付ファイルを消去します。
    """
    agree(f"Delete {name}? 消去しますか", yes=yes or as_json)
    connect(config, socket).delete(f"/v1/attachments/{quote(name, safe='')}")
    text = f"✓ {name}: deleted. 消去しました。"
    show({"id": name, "deleted": True}, text, as_json=as_json)


class _Counted(io.RawIOBase):
    """A file that tells how far it was read, and its digest."""

    def __init__(self, file: BinaryIO, tell: Callable[[int], None]) -> None:
        self._file, self._tell = file, tell
        self._position, self._hash = 0, hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes."""
        content = self._file.read(size)
        self._hash.update(content)
        self._position += len(content)
        self._tell(self._position)
        return content

    def digest(self) -> bytes:
        """Return the SHA-256 of what was read."""
        return self._hash.digest()


def add_to(app: typer.Typer) -> None:
    """Add the group."""
    words = "Files attached to our records. 記録の添付ファイル。"
    app.add_typer(attachment, name="attachment", help=words)
