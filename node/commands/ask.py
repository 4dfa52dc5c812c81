# SPDX-License-Identifier: Apache-2.0
"""What a command asks a person: passphrases, passwords, yes or no.

Each has an option for scripts; where there is no terminal nothing is asked. Files with
secrets must be private to their owner.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from identity.secretfile import read_secret

Yes: TypeAlias = Annotated[
    bool, typer.Option("--yes", "-y", help="Do not ask. 確認せずに実行します。")
]
RootPassphraseFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="File with the root key's passphrase. ルート鍵のパスフレーズのファイル。"
    ),
]
PasswordFile: TypeAlias = Annotated[
    Path | None, typer.Option(help="File with the password. パスワードのファイル。")
]


def secret(question: str, file: Path | None, option: str, *, new: bool = False) -> str:
    """Return a secret from its file, or as typed unseen.

    Args:
        question: what the terminal shows.
        file: the file; its last line end does not count.
        option: name of the option, told where there is no terminal.
        new: have it typed twice.

    Raises:
        NotFound, UnsafeFile: the file.
        typer.BadParameter: neither file nor terminal, or no text.
    """
    if file is not None:
        try:
            return read_secret(file).decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise typer.BadParameter(f"{option}: not UTF-8 text") from error
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{option} is missing")
    return str(typer.prompt(question, hide_input=True, confirmation_prompt=new))


def passphrase(file: Path | None, *, new: bool = False) -> bytes:
    """Return the passphrase of a city's root key; raises as `secret`."""
    option = "--root-passphrase-file"
    words = "Passphrase of the city's root key. ルート鍵のパスフレーズ"
    return secret(words, file, option, new=new).encode()


def agree(question: str, *, yes: bool) -> None:
    """Go on only if the person at the terminal says yes.

    Raises:
        typer.Abort: they do not.
    """
    if not yes and sys.stdin.isatty():
        typer.confirm(question, abort=True)
