# SPDX-License-Identifier: Apache-2.0
"""`machikura consent`: give, see and end consents; see those that were received."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from node.commands import consent_text
from node.commands.api_client import ApiClient
from node.commands.ask import Yes, agree
from node.commands.node_option import DEFAULT_CONFIG, ConfigFile, SocketPath, connect
from node.commands.output import AsJson, show
from node.commands.session import SessionFile, as_resident
from node.commands.typed import end_of
from node.commands.waiting import Wait, waited
from protocol.consent import Operation

MINE, RECEIVED, ACCOUNTS = "/v1/me/consents", "/v1/consents", "/v1/residents"

consent = typer.Typer(no_args_is_help=True)
ConsentId = Annotated[str, typer.Argument(help="Id of the consent. 同意ID。")]


@consent.command("give")
def give(
    recipient: Annotated[
        list[str], typer.Option(help="Who may receive; repeat it. 提供先。")
    ],
    holder: Annotated[
        list[str], typer.Option(help="Who may release; repeat it. 保有組織。")
    ],
    dataset_type: Annotated[
        list[str],
        typer.Option("--type", help="Dataset type; repeat it. データセット種別。"),
    ],
    purpose: Annotated[
        list[str], typer.Option(help="Purpose of use; repeat it. 利用目的。")
    ],
    field: Annotated[
        list[str] | None, typer.Option(help="Only this field; repeat it. 項目。")
    ] = None,
    record: Annotated[
        list[str] | None, typer.Option(help="Only this record; repeat it. 記録。")
    ] = None,
    ends: Annotated[
        str, typer.Option(help="Last day, such as 2027-03-31. 期限。")
    ] = "",
    retention_days: Annotated[
        int | None, typer.Option(help="The recipient keeps it so long. 保存日数。")
    ] = None,
    hidden: Annotated[
        bool, typer.Option(help="Do not tell who releases. 保有組織名を伏せます。")
    ] = False,
    operation: Annotated[
        list[Operation] | None,
        typer.Option(help="What is allowed; repeat it. 操作。[default: share]"),
    ] = None,
    account: Annotated[
        str,
        typer.Option(help="At a counter: for this account. 窓口: アカウントID。"),
    ] = "",
    officer: Annotated[
        str, typer.Option(help="At a counter: who assists. 窓口: 担当者。")
    ] = "",
    session_file: SessionFile = None,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Give a consent (as resident, or at a counter with --account and --officer).

    同意します(住民。窓口では --account と --officer を指定)。
    """
    if len(dataset_type) > 1 and (field or record):
        raise typer.BadParameter("--field and --record go with one --type")
    if bool(account) != bool(officer):
        raise typer.BadParameter("--account and --officer go together")
    part: dict[str, Any] = {"fields": field or None, "records": record or None}
    body = {
        "recipients": recipient,
        "holders": holder,
        "operations": [str(one) for one in operation or [Operation.SHARE]],
        "scope": [{"dataset_type": name, **part} for name in dataset_type],
        "purposes": purpose,
        "ends": end_of(ends) if ends else None,
        "retention_days": retention_days,
        "hidden_holder": hidden,
    }
    if account:
        path = f"{ACCOUNTS}/{quote(account, safe='')}/consents"
        assisted = {"officer": officer, "consent": body}
        given = connect(config, socket).post(path, assisted)
    else:
        given = as_resident(config, socket, session_file).post(MINE, body)
    text = f"✓ Consent given. 同意しました。\n{consent_text.one(given)}"
    show(given, text, as_json=as_json)


@consent.command("list")
def list_(
    session_file: SessionFile = None,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """List my consents (as resident).

    自分の同意の一覧を表示します(住民)。
    """
    document = as_resident(config, socket, session_file).get(MINE)
    show(document, consent_text.mine(document["consents"]), as_json=as_json)


@consent.command("show")
def show_(
    consent_id: ConsentId,
    wait: Wait = 0,
    session_file: SessionFile = None,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Show one of my consents, and who has acknowledged its end (as resident).

    同意と、撤回の確認状況を表示します(住民)。

    With --wait until everybody has.
    """
    client = as_resident(config, socket, session_file)
    changed = _acknowledged(client, consent_id, wait)
    show(changed, consent_text.changed(changed), as_json=as_json)


@consent.command("withdraw")
def withdraw(
    consent_id: ConsentId,
    delete: Annotated[
        bool,
        typer.Option(help="Recipients must delete too. 提供先に消去も求めます。"),
    ] = False,
    wait: Wait = 0,
    yes: Yes = False,
    session_file: SessionFile = None,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Withdraw a consent for good; everybody it named is told (as resident).

    同意を撤回します(住民)。関係する全組織に通知されます。

    With --wait until everybody has acknowledged it.
    """
    agree("Withdraw it for good? 撤回しますか", yes=yes or as_json)
    client = as_resident(config, socket, session_file)
    wish = {"obligation": "delete" if delete else "stop"}
    changed = client.post(_path(consent_id, "/withdraw"), wish)
    if wait:
        changed = _acknowledged(client, consent_id, wait)
    show(changed, consent_text.changed(changed), as_json=as_json)


@consent.command("pause")
def pause(
    consent_id: ConsentId,
    session_file: SessionFile = None,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Stop releases until I resume (as resident).

    同意を一時停止します(住民)。
    """
    client = as_resident(config, socket, session_file)
    changed = client.post(_path(consent_id, "/pause"), None)
    show(changed, consent_text.changed(changed), as_json=as_json)


@consent.command("resume")
def resume(
    consent_id: ConsentId,
    session_file: SessionFile = None,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Allow releases again (as resident).

    一時停止した同意を再開します(住民)。
    """
    client = as_resident(config, socket, session_file)
    changed = client.post(_path(consent_id, "/resume"), None)
    show(changed, consent_text.changed(changed), as_json=as_json)


@consent.command("received")
def received(
    subject: Annotated[
        str, typer.Option(help="Your own number of the person. 自組織での番号。")
    ] = "",
    consent_id: Annotated[
        str, typer.Option("--id", help="Only this consent. 同意ID。")
    ] = "",
    wait: Wait = 0,
    config: ConfigFile = DEFAULT_CONFIG,
    socket: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Show consents that this organization received (as recipient or holder).

    受領した同意を表示します(提供先・保有組織)。
    """
    if bool(subject) == bool(consent_id):
        raise typer.BadParameter("say --subject, or --id")
    client = connect(config, socket)

    def find() -> dict[str, Any] | None:
        if subject:
            found: dict[str, Any] = client.get(RECEIVED, {"subject": subject})
            return found if found["consents"] else None
        one = client.get(f"{RECEIVED}/{quote(consent_id, safe='')}")
        return {"consents": [one]}

    document = waited(find, wait) or {"consents": []}
    show(document, consent_text.received(document["consents"]), as_json=as_json)


def _acknowledged(client: ApiClient, consent_id: str, wait_s: float) -> dict[str, Any]:
    """Return a consent, once everybody who was told has answered."""
    last: dict[str, Any] = {}

    def look() -> dict[str, Any] | None:
        last.update(client.get(_path(consent_id)))
        waiting = any(told["acknowledged"] is None for told in last["told"])
        return None if waiting else last

    return waited(look, wait_s) or last


def _path(consent_id: str, act: str = "") -> str:
    return f"{MINE}/{quote(consent_id, safe='')}{act}"


def add_to(app: typer.Typer) -> None:
    """Add the group."""
    words = "Give, see and end consents. 同意・撤回・一時停止。"
    app.add_typer(consent, name="consent", help=words)
