# SPDX-License-Identifier: Apache-2.0
"""`machikura resident`: accounts at a home node, and signing in to one."""

from __future__ import annotations

import sys
from typing import Annotated
from urllib.parse import quote

import typer

from node.commands import session
from node.commands.ask import PasswordFile, secret
from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import AsJson, columns, moment, show
from node.commands.session import SessionFile, as_resident
from node.commands.typed import pair

RESIDENTS, SESSIONS = "/v1/residents", "/v1/sessions"

resident = typer.Typer(no_args_is_help=True)
Login = Annotated[str, typer.Argument(help="Login name. ログイン名。")]
Code = Annotated[str, typer.Argument(help="Six digits of the app. 6桁のコード。")]


@resident.command("add")
def add(
    login: Login,
    name: Annotated[str, typer.Option(help="Name of the person. 氏名。")] = "",
    contact: Annotated[
        list[str] | None,
        typer.Option(help="Such as mail=hanako@example.jp; repeat it. 連絡先。"),
    ] = None,
    password_file: PasswordFile = None,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Open an account; the second factor awaits its first code.

    アカウントを開設します。
    """
    contacts = dict(map(pair, contact or []))
    words = "Password. パスワード"
    password = secret(words, password_file, "--password-file", new=True)
    body = {"login": login, "password": password, "name": name, "contacts": contacts}
    added = connect(config, socket).post(RESIDENTS, body)
    rows = [("account", added["account"]), ("second factor", added["totp_uri"])]
    text = (
        f"✓ {login}: the account is open. アカウントを開設しました。\n"
        f"{columns(rows, indent='  ')}\n"
        "Scan the second factor with an authenticator app; it is not shown again.\n"
        "第二要素を認証アプリに登録してください(再表示できません)。\n"
        f"  machikura resident confirm-factor {added['account']} CODE"
    )
    show(added, text, as_json=as_json)


@resident.command("confirm-factor")
def confirm_factor(
    account: Annotated[str, typer.Argument(help="Account id. アカウントID。")],
    code: Code,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Put the second factor in force with its first code.

    第二要素を有効にします。
    """
    path = f"{RESIDENTS}/{quote(account, safe='')}/second-factor"
    connect(config, socket).post(path, {"code": code})
    text = f"✓ {account}: second factor in force. 第二要素が有効になりました。"
    show({"account": account, "confirmed": True}, text, as_json=as_json)


@resident.command("sign-in")
def sign_in(
    login: Login,
    code: Annotated[
        str, typer.Option(help="One-time code of the app. ワンタイムコード。")
    ] = "",
    password_file: PasswordFile = None,
    session_file: SessionFile = None,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Sign in as a resident; a consent needs both factors (level 2).

    住民としてサインインします(同意には第二要素が必要です)。
    """
    password = secret("Password. パスワード", password_file, "--password-file")
    if not code and sys.stdin.isatty() and not as_json:
        words = "One-time code, if there is one. ワンタイムコード(あれば)"
        code = str(typer.prompt(words, default="", show_default=False)).strip()
    body = {"login": login, "password": password, **({"code": code} if code else {})}
    signed = connect(config, socket).post(SESSIONS, body)
    path = session.keep(signed["token"], session_file)
    document = {"session_file": str(path)}
    document |= {key: signed[key] for key in ("level", "method", "ends")}
    rows = [
        ("level レベル", signed["level"]),
        ("method 方法", signed["method"]),
        ("ends 期限", moment(signed["ends"])),
        ("session", path),
    ]
    text = f"✓ {login} is signed in. サインインしました。\n{columns(rows, indent='  ')}"
    if signed["level"] < 1:
        text += "\nWith one factor you can look and withdraw, not consent. 同意は不可。"
    show(document, text, as_json=as_json)


@resident.command("sign-out")
def sign_out(
    session_file: SessionFile = None,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Sign out.

    サインアウトします。
    """
    as_resident(config, socket, session_file).delete(SESSIONS)
    session.forget(session_file)
    show({"signed_out": True}, "✓ Signed out. サインアウトしました。", as_json=as_json)


def add_to(app: typer.Typer) -> None:
    """Add the group."""
    words = "Residents' accounts and sessions. 住民のアカウントとサインイン。"
    app.add_typer(resident, name="resident", help=words)
