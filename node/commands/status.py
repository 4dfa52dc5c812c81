# SPDX-License-Identifier: Apache-2.0
"""`machikura status`: what the running node says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import AsJson, show

PATH = "/v1/status"


def status(
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Show what the node does.

    ノードの状態を表示します。
    """
    document = connect(config, socket).get(PATH)
    show(document, "\n".join(_lines(document)), as_json=as_json)


def _lines(value: Any, depth: int = 0) -> Iterator[str]:
    """Yield a document as indented lines, members in their order."""
    indent = "  " * depth
    members = value.items() if isinstance(value, dict) else enumerate(value, start=1)
    for name, member in members:
        if isinstance(member, dict | list) and member:
            yield f"{indent}{name}:"
            yield from _lines(member, depth + 1)
        else:
            shown = "-" if member in (None, [], {}) else member
            yield f"{indent}{name}: {shown}"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status")(status)
