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


def _demo(app: typer.Typer) -> None:
    from node.commands import demo

    demo.add_to(app)


def _init(app: typer.Typer) -> None:
    from node.commands import init

    init.add_to(app)


def _serve(app: typer.Typer) -> None:
    from node.commands import serve

    serve.add_to(app)


def _status(app: typer.Typer) -> None:
    from node.commands import status

    status.add_to(app)


def _doctor(app: typer.Typer) -> None:
    from node.commands import doctor

    doctor.add_to(app)


def _city(app: typer.Typer) -> None:
    from node.commands import city

    city.add_to(app)


def _member(app: typer.Typer) -> None:
    from node.commands import member

    member.add_to(app)


def _federate(app: typer.Typer) -> None:
    from node.commands import federate

    federate.add_to(app)


def _routes(app: typer.Typer) -> None:
    from node.commands import routes

    routes.add_to(app)


def _trace(app: typer.Typer) -> None:
    from node.commands import trace

    trace.add_to(app)


def _client(app: typer.Typer) -> None:
    from node.commands import client

    client.add_to(app)


def _dataset(app: typer.Typer) -> None:
    from node.commands import dataset

    dataset.add_to(app)


def _import_file(app: typer.Typer) -> None:
    from node.commands import import_file

    import_file.add_to(app)


def _attachment(app: typer.Typer) -> None:
    from node.commands import attachment

    attachment.add_to(app)


def _resident(app: typer.Typer) -> None:
    from node.commands import resident

    resident.add_to(app)


def _link(app: typer.Typer) -> None:
    from node.commands import link

    link.add_to(app)


def _consent(app: typer.Typer) -> None:
    from node.commands import consent

    consent.add_to(app)


def _locate(app: typer.Typer) -> None:
    from node.commands import locate

    locate.add_to(app)


def _read(app: typer.Typer) -> None:
    from node.commands import read

    read.add_to(app)


def _fetch(app: typer.Typer) -> None:
    from node.commands import fetch

    fetch.add_to(app)


def _transfers(app: typer.Typer) -> None:
    from node.commands import transfers

    transfers.add_to(app)


def _push(app: typer.Typer) -> None:
    from node.commands import push

    push.add_to(app)


def _provisions(app: typer.Typer) -> None:
    from node.commands import provisions

    provisions.add_to(app)


def _evidence(app: typer.Typer) -> None:
    from node.commands import evidence

    evidence.add_to(app)


def _reconcile(app: typer.Typer) -> None:
    from node.commands import reconcile

    reconcile.add_to(app)


def _route_proof(app: typer.Typer) -> None:
    from node.commands import route_proof

    route_proof.add_to(app)


def _outbox(app: typer.Typer) -> None:
    from node.commands import outbox

    outbox.add_to(app)


def _simulate(app: typer.Typer) -> None:
    from node.commands import simulate

    simulate.add_to(app)


COMMANDS: dict[str, tuple[str, Callable[[typer.Typer], None]]] = {
    "demo": ("Play the demo. デモを動かします。", _demo),
    "init": ("Set up a new node. 新しいノードを設定します。", _init),
    "serve": ("Run the node. ノードを動かします。", _serve),
    "status": ("Show what the node does. ノードの状態を表示します。", _status),
    "doctor": (
        "Examine this node, and the way to a peer. ノードと経路を診断します。",
        _doctor,
    ),
    "city": (
        "Found a city, change its keys, show its card. 都市の設置と鍵の更新。",
        _city,
    ),
    "member": ("Join a city, admit nodes, remove them. 加入と除名。", _member),
    "federate": ("Agreements with other cities. 都市間の協定。", _federate),
    "routes": (
        "Show the ways to other cities. 他都市への経路を表示します。",
        _routes,
    ),
    "trace": (
        "Show the way to a node, hop by hop. 経路と所要時間を表示します。",
        _trace,
    ),
    "client": ("Applications of this organization. アプリケーションの管理。", _client),
    "dataset": (
        "Dataset types and this holder's policy. データセット種別と方針。",
        _dataset,
    ),
    "import": (
        "Import a file: FHIR R4, CSV or NDJSON. ファイルを取り込みます。",
        _import_file,
    ),
    "attachment": (
        "Files attached to our records. 記録の添付ファイル。",
        _attachment,
    ),
    "resident": (
        "Residents' accounts and sessions. 住民のアカウントとサインイン。",
        _resident,
    ),
    "link": ("Link a resident with a holder. 本人と保有組織の連携。", _link),
    "consent": ("Give, see and end consents. 同意・撤回・一時停止。", _consent),
    "locate": (
        "Show where my data is. 自分のデータの所在を表示します。",
        _locate,
    ),
    "read": ("Read from other organizations. 他組織の記録を参照します。", _read),
    "fetch": (
        "Fetch an attachment from another organization. "
        "他組織の添付ファイルを取得します。",
        _fetch,
    ),
    "transfers": (
        "Show how far transfers of attachments are. "
        "添付ファイルの転送の進み具合を表示します。",
        _transfers,
    ),
    "push": (
        "Send records to a recipient. 記録を提供先へ送ります。",
        _push,
    ),
    "provisions": (
        "Show who got a person's data. 提供・受領・拒否の記録を表示します。",
        _provisions,
    ),
    "evidence": (
        "Signed batches with neighbors, and alarms. 証拠と警報。",
        _evidence,
    ),
    "reconcile": (
        "Compare our journal with a neighbor's. 交換履歴を突合します。",
        _reconcile,
    ),
    "route-proof": (
        "Prove the route of an exchange. 交換の経路を証明します。",
        _route_proof,
    ),
    "outbox": ("Messages that wait or were refused. 未配送メッセージ。", _outbox),
    "simulate": (
        "Play a federation under faults. 障害の下で連携全体を模擬します。",
        _simulate,
    ),
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
