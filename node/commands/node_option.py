# SPDX-License-Identifier: Apache-2.0
"""The options by which a command finds its node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from node.commands.api_client import ApiClient
from node.config_file import CONFIG_VARIABLE, FILE_NAME, load

ConfigFile: TypeAlias = Annotated[
    Path,
    typer.Option(
        "--config",
        "-c",
        envvar=CONFIG_VARIABLE,
        help="Settings file of the node. ノードの設定ファイル。",
    ),
]
SocketPath: TypeAlias = Annotated[
    Path | None,
    typer.Option("--socket", help="The node's admin socket. 管理用ソケット。"),
]
DEFAULT_CONFIG = Path(FILE_NAME)


def connect(
    config: Path,
    socket: Path | None,
    *,
    timeout_s: float = 30.0,
    session: str | None = None,
) -> ApiClient:
    """Return a client of the node: at the socket if given, else as the settings say.

    Args:
        config: the settings file.
        socket: the admin socket, if given.
        timeout_s: longest silence of the node.
        session: a resident's session, to call as that resident.

    Raises:
        BadSettings: the settings cannot be read.
    """
    place = socket if socket is not None else load(config).admin_socket
    return ApiClient(place, timeout_s=timeout_s, session=session)
