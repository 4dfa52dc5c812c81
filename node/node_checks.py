# SPDX-License-Identifier: Apache-2.0
"""What must be well for a node to work: one register for /readyz and doctor."""

from __future__ import annotations

from node.city_brokers import city_brokers
from node.core import Core
from node.database import GroupDatabase, InlineDatabase
from node.health import (
    Check,
    Probe,
    Severity,
    Trouble,
    database_writable,
    disk_space,
    private_folder,
)
from protocol.errors import ProtocolViolation
from protocol.ids import CityId, NodeId


def node_checks(core: Core, database: GroupDatabase | InlineDatabase) -> list[Check]:
    """Return the checks of a running node."""
    parts, settings = core.parts, core.parts.settings

    async def membership() -> Trouble | None:
        if not parts.standing.admitted:
            return Trouble(
                "The city has not admitted this node.",
                "都市への加入がまだ認められていません。",
                "machikura member accept membership.json",
                "machikura member accept membership.json",
            )
        left = parts.standing.membership().exp - parts.now()
        if left > 0:
            return None
        return Trouble(
            f"The membership ended {-left} s ago.",
            f"会員証が {-left} 秒前に失効しました。",
            "Restore the link to the city's broker; renewal follows by itself.",
            "都市ブローカーへの接続を回復してください。更新は自動です。",
        )

    async def broker_link() -> Trouble | None:
        if parts.broker is not None or parts.peers.broker_of(parts.node.city):
            return None
        why = _last_errors(core, parts.node.city)
        return Trouble(
            f"There is no link to a broker of the city{why}.",
            f"都市ブローカーへの接続がありません{why}。",
            "Check `brokers` in the settings, the network, and that the broker runs.",
            "設定の brokers、ネットワーク、ブローカーの稼働を確認してください。",
        )

    async def trust() -> Trouble | None:
        if parts.node.city in parts.trust.names(parts.now()) and _own_city(core):
            return None
        return Trouble(
            "The city's trust bundle is missing or has ended.",
            "都市の信頼情報がないか、期限切れです。",
            "It comes over the link to the broker by itself.",
            "ブローカーへの接続を通じて自動で届きます。",
        )

    async def brokers() -> Trouble | None:
        missing = [b.node for b in city_brokers(core) if not b.linked]
        if not missing:
            return None
        names = ", ".join(missing)
        why = _last_errors(core, parts.node.city)
        return Trouble(
            f"No link with every broker of the city: {names}{why}.",
            f"接続のない都市ブローカーがあります: {names}{why}。",
            "It is dialed again by itself; check that it runs and can be reached.",
            "自動で再接続します。稼働と到達性を確認してください。",
        )

    async def brief() -> Trouble | None:
        if parts.relay is None or parts.relay.briefed_until > parts.now():
            return None
        return Trouble(
            "This broker has no brief of its city's authority that holds.",
            "都市の主ブローカーからの指示書がないか、期限切れです。",
            "Restore the link to the city's authority; it sends one by itself.",
            "主ブローカーへの接続を回復してください。指示書は自動で届きます。",
        )

    async def neighbors() -> Trouble | None:
        cities = [
            agreement.body.other(parts.node.city).city
            for agreement in parts.agreements_in_force()
        ]
        missing = [city for city in cities if not parts.peers.broker_of(city)]
        if not missing:
            return None
        names = ", ".join(f"{city}{_last_errors(core, city)}" for city in missing)
        return Trouble(
            f"No link to: {names}.",
            f"接続のない都市: {names}。",
            "It is dialed again by itself; check address and reachability.",
            "自動で再接続します。アドレスと到達性を確認してください。",
        )

    async def dead_letters() -> Trouble | None:
        dead = parts.database.read(lambda c: parts.outbox.dead_letters(c, 1))
        if not dead:
            return None
        return Trouble(
            "Messages were refused for good.",
            "配送を拒否されたメッセージがあります。",
            "machikura outbox list; then retry or drop them.",
            "machikura outbox list で確認し、再送または破棄してください。",
        )

    async def evidence() -> Trouble | None:
        open_alarms = parts.database.read(parts.evidence.store.count_open)
        if not open_alarms:
            return None
        return Trouble(
            f"The evidence contradicts a neighbor: {open_alarms} alarms.",
            f"隣接ノードとの交換履歴に不一致があります(警報 {open_alarms} 件)。",
            "machikura evidence alarms; then machikura reconcile PEER FROM TO.",
            "machikura evidence alarms と machikura reconcile で確認してください。",
        )

    async def expiry() -> Trouble | None:
        now = parts.now()
        found = core.expiry.soon()
        if not found:
            return None
        listed = "; ".join(f"{e.what} {e.name}: {e.days_left(now)} d" for e in found)
        remedies = "; ".join(dict.fromkeys(e.remedy for e in found if e.remedy))
        return Trouble(
            f"Soon to end: {listed}.",
            f"まもなく期限切れ: {listed}。",
            f"{remedies}.",
            f"対応: {remedies}。",
        )

    async def capture() -> Trouble | None:
        if settings.capture.path is None:
            return None
        return Trouble(
            "Every received byte is recorded (setting `capture`).",
            "受信した全バイトを記録しています(設定 `capture`)。",
            "Remove the setting unless an audit needs it.",
            "監査などで必要な場合を除き、設定を外してください。",
        )

    checks = [
        disk_space(settings.data_dir),
        private_folder(settings.data_dir),
        database_writable(database, database.counters),
        _check("membership", Severity.ERROR, membership, "Membership", "会員証"),
        _check("broker-link", Severity.ERROR, broker_link, "Link to the city", "接続"),
        _check("trust-bundle", Severity.ERROR, trust, "Trust bundle", "信頼情報"),
        _check(
            "brokers", Severity.WARNING, brokers, "Brokers of the city", "ブローカー"
        ),
        _check("outbox", Severity.WARNING, dead_letters, "Outbox", "送信箱"),
        _check("evidence", Severity.WARNING, evidence, "Evidence", "証拠"),
        _check("expiry", Severity.WARNING, expiry, "Nothing ends soon", "期限"),
        _check("capture", Severity.WARNING, capture, "Capture is off", "記録機能"),
    ]
    if parts.relay is not None:
        checks.append(_check("brief", Severity.ERROR, brief, "Brief", "指示書"))
    if parts.broker is not None:
        checks.append(
            _check(
                "neighbors",
                Severity.WARNING,
                neighbors,
                "Links to cities",
                "都市間接続",
            )
        )
    return checks


def _last_errors(core: Core, city: CityId) -> str:
    """Return in brackets why dialing a city's brokers failed last, if it did."""
    found = {
        status.last_error
        for status in core.dialer.status()
        if status.last_error and NodeId(status.target.node).city == city
    }
    return f" ({'; '.join(sorted(found))})" if found else ""


def _own_city(core: Core) -> bool:
    try:
        core.parts.trust.city_of(core.parts.node.city, core.parts.now())
    except ProtocolViolation:
        return False
    return True


def _check(
    name: str, severity: Severity, probe: Probe, english: str, japanese: str
) -> Check:
    return Check(name, severity, probe, english, japanese)
