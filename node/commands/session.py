# SPDX-License-Identifier: Apache-2.0
"""A resident's session on the command line: one private file, kept until signed out.

    machikura resident sign-in hanako && machikura consent list

At a counter several people take turns: `--session-file` gives each their own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from identity.errors import NotFound, Unauthenticated
from identity.secretfile import read_secret, write_new
from node.commands.api_client import ApiClient
from node.commands.node_option import connect
from protocol.errors import Malformed

SessionFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Where the session is kept. セッションのファイル。"),
]
_TIMEOUT_S = 60.0


def session_path(file: Path | None) -> Path:
    """Return the file given, or else the one in the user's own configuration."""
    return file or Path(typer.get_app_dir("machikura")) / "session"


def as_resident(config: Path, socket: Path | None, file: Path | None) -> ApiClient:
    """Return a client that calls as the resident who has signed in.

    Raises:
        Unauthenticated: nobody has.
        UnsafeFile: others can read the session.
        BadSettings: the settings cannot be read.
    """
    path = session_path(file)
    try:
        token = read_secret(path).decode("ascii").strip()
    except NotFound as error:
        raise Unauthenticated("sign in first: machikura resident sign-in") from error
    except UnicodeDecodeError as error:
        raise Malformed(f"{path.name} holds no session") from error
    return connect(config, socket, timeout_s=_TIMEOUT_S, session=token)


def keep(token: str, file: Path | None) -> Path:
    """Keep a fresh session instead of an older one; return where."""
    path = session_path(file)
    path.unlink(missing_ok=True)
    write_new(path, token.encode("ascii"))
    return path


def forget(file: Path | None) -> None:
    """Delete the kept session."""
    session_path(file).unlink(missing_ok=True)
