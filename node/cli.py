# SPDX-License-Identifier: Apache-2.0
"""The command line, `machikura`: finds the command and loads only that one.

Loading everything would cost a second; `--help` shows the table below instead. Exit
status, for scripts:

    0  done
    1  refused or failed; the problem is printed
    2  wrong usage
    3  the node does not answer
    4  settings or keys cannot be used
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

import typer

DONE, REFUSED, USAGE, UNREACHABLE, UNUSABLE = range(5)

EPILOG = (
    "Exit status: 0 done, 1 refused, 2 wrong usage, 3 the node does not answer, "
    "4 settings or keys cannot be used."
)


def _init(app: typer.Typer) -> None:
    from node.commands import init

    init.add_to(app)


def _serve(app: typer.Typer) -> None:
    from node.commands import serve

    serve.add_to(app)


def _status(app: typer.Typer) -> None:
    from node.commands import status

    status.add_to(app)


def _client(app: typer.Typer) -> None:
    from node.commands import client

    client.add_to(app)


COMMANDS: dict[str, tuple[str, Callable[[typer.Typer], None]]] = {
    "init": ("Set up a new node. 新しいノードを設定します。", _init),
    "serve": ("Run the node. ノードを動かします。", _serve),
    "status": ("Show what the node does. ノードの状態を表示します。", _status),
    "client": ("Applications of this organization. アプリケーションの管理。", _client),
}
"""By name: the line in `--help`, and what adds the command to an app."""


def build(wanted: str | None) -> typer.Typer:
    """Return the app with the wanted command; the others are lines in the help."""
    app = typer.Typer(
        name="machikura",
        help="Machikura, the town's storehouse. 街蔵",
        epilog=EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_whole_program)
    for name, (words, add_to) in COMMANDS.items():
        if name == wanted:
            add_to(app)
        else:
            app.command(name, help=words)(_stand_in)
    return app


def _whole_program() -> None:
    pass


def _stand_in() -> None:
    pass


def wanted_command(arguments: Sequence[str]) -> str | None:
    """Return the first word of a command line, None if there is none."""
    return next((word for word in arguments if not word.startswith("-")), None)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # While the shell completes, the line so far stands in the environment.
    line = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS")
    wanted = wanted_command(line.split()[1:] if line else words)
    try:
        build(wanted)(words, prog_name="machikura")
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # the outermost loop of the program
        from node.commands import output

        sys.exit(output.report(error, as_json="--json" in words))


if __name__ == "__main__":
    main()
