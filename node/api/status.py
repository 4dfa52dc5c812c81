# SPDX-License-Identifier: Apache-2.0
"""What the node does now: links, cities, routes, outbox, checks."""

from __future__ import annotations

from typing import Self

from federation.routing import Preference, Route, RouteTable
from node.api.registry import Registry
from node.city_brokers import city_brokers
from node.clients import Scope
from node.core import Core
from node.doctor import Doctor
from node.health import Checks, Finding
from protocol.errors import ProtocolViolation
from protocol.ids import CityId, NodeId
from protocol.model import Request


class LinkStatus(Request):
    """A live link."""

    peer: str
    dialed: bool
    version: int
    capabilities: list[str]
    rtt_ms: float | None


class CityStatus(Request):
    """A city that we can reach."""

    city: str
    path: list[str]
    broker: str | None


class BrokerStatus(Request):
    """A broker of this node's own city; `nodes` are those linked with it."""

    node: str
    url: str
    authority: bool
    linked: bool
    nodes: int | None


class EndingStatus(Request):
    """Something that ends; `soon` where somebody should see to it."""

    what: str
    name: str
    ends: int
    days_left: int
    soon: bool
    remedy: str


class Waiting(Request):
    """Messages that wait for one destination."""

    destination: str
    waiting: int


class CheckResult(Request):
    """The outcome of one check; cause and remedy where it failed."""

    id: str
    ok: bool
    severity: str
    title_en: str
    title_ja: str
    cause_en: str = ""
    cause_ja: str = ""
    remedy_en: str = ""
    remedy_ja: str = ""

    @classmethod
    def of(cls, finding: Finding) -> CheckResult:
        """Return a finding as it stands in answers."""
        check, trouble = finding.check, finding.trouble
        return cls(
            id=check.id,
            ok=finding.ok,
            severity=check.severity,
            title_en=check.title_en,
            title_ja=check.title_ja,
            cause_en=trouble.cause_en if trouble else "",
            cause_ja=trouble.cause_ja if trouble else "",
            remedy_en=trouble.remedy_en if trouble else "",
            remedy_ja=trouble.remedy_ja if trouble else "",
        )


class Status(Request):
    """The whole state."""

    node: str
    city: str
    roles: list[str]
    suite: str
    now_ms: int
    admitted: bool
    membership_ends: int | None
    ready: bool
    status_max_age_s: int
    links: list[LinkStatus]
    brokers: list[BrokerStatus]
    cities: list[CityStatus]
    outbox: list[Waiting]
    outcomes: dict[str, int]
    ends: list[EndingStatus]
    checks: list[CheckResult]


class Permits(Request):
    """What may be asked on a way; `*` is anything."""

    dataset_types: list[str]
    purposes: list[str]
    data_classes: list[str]


class RouteStatus(Request):
    """One way to a city.

    `why` says of the chosen one what decided: `only-way`, `policy`, `length`, `latency`
    or `name`. `policy` is `prefer`, `avoid` or empty. `up` tells whether there is a
    link to the neighbor; without one the next way is taken.
    """

    city: str
    neighbor: str
    path: list[str]
    chosen: bool
    why: str
    policy: str
    rtt_ms: float | None
    up: bool
    permits: Permits | None
    ends: int

    @classmethod
    def of(cls, route: Route, *, chosen: bool, table: RouteTable, up: bool) -> Self:
        """Return a route as it stands in answers."""
        preference = table.policy.of(route.neighbor)
        terms = route.permits
        return cls(
            city=route.announcement.body.origin,
            neighbor=route.neighbor,
            path=list(route.path),
            chosen=chosen,
            why=table.why(route.announcement.body.origin) if chosen else "",
            policy="" if preference is Preference.NONE else preference.name.lower(),
            rtt_ms=table.rtt_ms(route),
            up=up,
            permits=None
            if terms is None
            else Permits(
                dataset_types=list(terms.dataset_types),
                purposes=list(terms.purposes),
                data_classes=list(terms.data_classes),
            ),
            ends=route.announcement.body.exp,
        )


class Routes(Request):
    """All routes of a broker."""

    routes: list[RouteStatus]


class DoctorQuestion(Request):
    """What to examine; without a peer only this node."""

    peer: NodeId | None = None


class DoctorReport(Request):
    """Everything that was examined, in order."""

    checks: list[CheckResult]


def register(registry: Registry, *, core: Core, checks: Checks) -> None:
    """Describe the endpoints."""
    parts = core.parts

    @registry.route(
        "GET",
        "/v1/status",
        scope=Scope.STATUS_READ,
        summary=("State of this node", "ノードの状態"),
        tag="status",
    )
    async def status() -> Status:
        report = await checks.run()
        own = parts.standing.own() if parts.standing.admitted else None
        waiting = parts.database.read(parts.outbox.waiting)
        return Status(
            node=parts.node,
            city=parts.node.city,
            roles=[str(role) for role in parts.settings.node.roles],
            suite=parts.settings.suite,
            now_ms=parts.world.clock.now_ms(),
            admitted=own is not None,
            membership_ends=None if own is None else own.body.exp,
            ready=report.ready,
            status_max_age_s=parts.settings.trust.status_max_age_s,
            links=[
                LinkStatus(
                    peer=link.peer.node,
                    dialed=link.dialed,
                    version=link.terms.version,
                    capabilities=sorted(link.terms.capabilities),
                    rtt_ms=link.counters.rtt_ms,
                )
                for link in core.links.links
            ],
            brokers=[
                BrokerStatus(
                    node=broker.node,
                    url=broker.url,
                    authority=broker.authority,
                    linked=broker.linked,
                    nodes=broker.nodes,
                )
                for broker in city_brokers(core)
            ],
            cities=_cities(core),
            outbox=[Waiting(destination=d, waiting=n) for d, n in waiting.items()],
            outcomes={f"{w} {c}": n for (w, c), n in sorted(parts.outcomes.items())},
            ends=_ends(core),
            checks=[CheckResult.of(finding) for finding in report.findings],
        )

    @registry.route(
        "POST",
        "/v1/doctor",
        scope=Scope.STATUS_READ,
        summary=("Examine this node, or the way to a peer", "ノードと経路の診断"),
        tag="status",
    )
    async def examine(body: DoctorQuestion) -> DoctorReport:
        found = await Doctor(core, checks).examine(body.peer)
        return DoctorReport(checks=[CheckResult.of(finding) for finding in found])

    if parts.routes is None:
        return
    routes = parts.routes

    @registry.route(
        "GET",
        "/v1/routes",
        scope=Scope.STATUS_READ,
        summary=("Routes to other cities", "他都市への経路"),
        tag="status",
    )
    async def list_routes() -> Routes:
        return Routes(
            routes=[
                RouteStatus.of(
                    way,
                    chosen=index == 0,
                    table=routes,
                    up=parts.peers.broker_of(way.neighbor) is not None,
                )
                for city in routes.destinations()
                for index, way in enumerate(routes.ways(city))
            ]
        )


def _ends(core: Core) -> list[EndingStatus]:
    now = core.parts.now()
    return [
        EndingStatus(
            what=one.what,
            name=one.name,
            ends=one.ends,
            days_left=one.days_left(now),
            soon=one.soon,
            remedy=one.remedy,
        )
        for one in core.expiry.now()
    ]


def _cities(core: Core) -> list[CityStatus]:
    parts, now = core.parts, core.parts.now()
    bundle = parts.trust.bundle
    paths = {} if bundle is None else bundle.body.paths
    if parts.routes is not None:
        best = {o: parts.routes.best(o) for o in parts.routes.destinations()}
        paths = {str(o): route.path for o, route in best.items() if route}
    return [
        CityStatus(
            city=city, path=list(paths.get(city, ())), broker=_broker(core, city)
        )
        for city in parts.trust.names(now)
    ]


def _broker(core: Core, city: str) -> str | None:
    try:
        found = core.parts.trust.city_of(CityId(city), core.parts.now())
    except ProtocolViolation:
        return None
    return found.broker.sub
