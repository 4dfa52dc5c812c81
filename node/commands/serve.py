# SPDX-License-Identifier: Apache-2.0
"""`machikura serve`: run the node until it is told to stop."""

from __future__ import annotations

import typer

from node.app import run
from node.commands.node_option import DEFAULT_CONFIG, ConfigFile
from node.commands.output import AsJson
from node.config_file import load
from node.logs import set_up


def serve(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Run the node.

    ノードを動かします。

    It stops on SIGTERM or Ctrl-C, after what it had begun. `--json` makes the log JSON
    lines whatever the settings say.
    """
    settings = load(config)
    log = settings.log
    set_up(log.model_copy(update={"format": "json"}) if as_json else log)
    run(settings)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve)
