# SPDX-License-Identifier: Apache-2.0
"""`machikura demo`: three cities on this machine exchange a resident's data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from node.demo.story import main
from protocol.suites import Suite


def demo(
    once: Annotated[
        bool, typer.Option(help="End after the story. 終わったら終了します。")
    ] = False,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write the result there (JSON). 結果の出力先。"),
    ] = None,
    suite: Annotated[Suite, typer.Option(help="Algorithms. 暗号方式。")] = Suite.HYBRID,
    folder: Annotated[
        Path | None,
        typer.Option("--dir", help="Folder for the cities' data. データフォルダ。"),
    ] = None,
) -> None:
    """Play the demo.

    デモを動かします。

    Three cities on this machine exchange data as a resident agreed.
    """
    raise typer.Exit(main(once=once, json_file=json_file, suite=suite, folder=folder))


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)
