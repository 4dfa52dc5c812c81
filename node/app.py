# SPDX-License-Identifier: Apache-2.0
"""The running program: opens keys and database, starts the core, serves HTTP.

Listeners: the API for local applications (TCP, loopback by default), the operator's
Unix socket, and for brokers the TLS port on which nodes and other brokers dial in. A
vault node has no inbound port toward the network.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import Gauge

from federation.transport import dialing, serve_links
from identity.errors import Unauthenticated
from node.api.build import build_registry
from node.api.oauth import TokenEndpoint
from node.api.public import well_known
from node.assemble import assemble
from node.auth import (
    Caller,
    CallerKind,
    Gate,
    ResidentResolver,
    bind_admin_socket,
)
from node.capture import Capture
from node.city_root import read_root
from node.config import Settings
from node.core import Core
from node.database import GroupDatabase
from node.discover import Discoverer
from node.health import Checks
from node.keys import open_keys
from node.limits import RateLimit
from node.metrics import Metrics
from node.node_checks import node_checks
from node.outgoing import post
from node.portal.routes import Portal
from node.problems import problem_middleware
from node.schema import prepare
from node.sqlite import file_engine
from node.system import SystemClock, in_thread, system_entropy
from node.tls import certificate_hash, server_context
from node.world import World
from protocol.membership import Role

_logger = logging.getLogger(__name__)

CORE: web.AppKey[Core] = web.AppKey("core", Core)
_MAX_LINE_BYTES = 65_536


def run(settings: Settings) -> None:
    """Run a node until it is told to stop; on uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(settings))
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))


async def serve(settings: Settings) -> None:
    """Run a node until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    async with AsyncExitStack() as stack:
        await start(settings, stack)
        # Everything alive now lives as long as the process: keep the collector off it.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        await stop.wait()
        _logger.info("stopping")


async def start(settings: Settings, stack: AsyncExitStack) -> Core:
    """Start everything; `stack` ends it in reverse order.

    Raises:
        Misuse: keys or settings cannot be used.
        OSError: a port is taken.
    """
    clock = SystemClock()
    keys = open_keys(settings, system_entropy)
    root = read_root(settings.root_key_file)
    engine = file_engine(settings.database_file)
    prepare(engine)
    engine.dispose()
    limits = settings.limits
    database = GroupDatabase(
        settings.database_file,
        group_jobs=limits.write_group,
        max_waiting=limits.write_queue,
        scan_threads=limits.scan_threads,
    )
    stack.push_async_callback(database.close)
    capture = _capture(settings, stack)
    world = World(clock, system_entropy, dialing(), in_thread, post)
    core = Core(assemble(settings, keys, root, database, world, capture))
    metrics = Metrics()
    metrics.watch_database(database.counters)
    _show_figures(core, metrics)
    checks = Checks()
    for check in node_checks(core, database):
        checks.add(check)
    checks.show_in(metrics)
    if Role.BROKER in settings.node.roles:
        await _listen_links(settings, core, stack)
    await _listen_api(settings, core, metrics, checks, capture, stack)
    await core.start()
    stack.push_async_callback(core.close)
    if settings.discovery.zeroconf:
        discoverer = Discoverer(core)
        await discoverer.start()
        stack.push_async_callback(discoverer.close)
    _logger.info("%s is ready", settings.node.id)
    return core


def _show_figures(core: Core, metrics: Metrics) -> None:
    """Let the metrics show exchanges, links and the outbox."""
    outcomes = metrics.counter(
        "exchanges", "Exchanges by kind and outcome.", ("kind", "code")
    )
    parts = core.parts
    parts.on_outcome = lambda what, code: outcomes.labels(what, code).inc()
    ends = metrics.labeled_gauge(
        "ends_in_days", "Days until something ends.", ("what", "name")
    )
    metrics.before_scrape(lambda: _show_ends(core, ends))
    metrics.gauge("links", "Links that are up.", lambda: len(core.links.links))
    metrics.gauge(
        "outbox_waiting",
        "Messages that wait for delivery.",
        lambda: sum(parts.database.read(parts.outbox.waiting).values()),
    )
    metrics.gauge(
        "reads_kept",
        "Reads that wait for their holders, or whose results are still kept.",
        lambda: parts.database.read(parts.vault.waiting.count),
    )


def _show_ends(core: Core, ends: Gauge) -> None:
    """Show how many days are left of each thing that ends."""
    ends.clear()
    now = core.parts.now()
    for one in core.expiry.now():
        # The number of consents is no name: as a label it would grow without bound.
        name = "" if one.what == "consents" else one.name
        ends.labels(one.what, name).set((one.ends - now) / 86_400)


def _capture(settings: Settings, stack: AsyncExitStack) -> Capture | None:
    folder = settings.capture.path
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    capture = Capture(folder / "received.bin")
    stack.callback(capture.close)
    return capture


async def _listen_links(settings: Settings, core: Core, stack: AsyncExitStack) -> None:
    """Listen for members and neighbors, with TLS bound into the handshake."""
    certificate, key = settings.link_certificate
    shown = certificate_hash(certificate)
    app = web.Application()
    handler = serve_links(core.links, own_certificate=lambda: shown)
    app.router.add_get("/link", handler)

    async def whereabouts(request: web.Request) -> web.Response:
        body = well_known(core).model_dump_json().encode()
        return web.Response(body=body, content_type="application/json")

    app.router.add_get("/.well-known/machikura", whereabouts)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(
        runner,
        settings.link.host or None,
        settings.link.port,
        ssl_context=server_context(certificate, key),
    )
    await site.start()


async def _listen_api(
    settings: Settings,
    core: Core,
    metrics: Metrics,
    checks: Checks,
    capture: Capture | None,
    stack: AsyncExitStack,
) -> None:
    """Serve the API on TCP and on the operator's Unix socket."""
    parts = core.parts
    gate = Gate(
        database=parts.database,
        now_ms=parts.world.clock.now_ms,
        admin_socket=settings.admin_socket,
        rate=RateLimit(
            per_s=settings.limits.client_rate_per_s,
            burst=settings.limits.client_burst,
        ),
        residents=_resident_resolver(core),
        sleep=parts.world.clock.sleep,
        longest_delay_ms=settings.limits.delay_max_ms,
        in_flight=settings.limits.api_in_flight,
    )
    registry = build_registry(core, metrics, checks)
    middlewares = [
        metrics.middleware(SystemClock().monotonic),
        problem_middleware(system_entropy),
    ]
    if capture is not None:
        middlewares.append(_capturing(capture))
    app = web.Application(
        middlewares=middlewares, client_max_size=settings.limits.max_body_bytes
    )
    app[CORE] = core
    app.add_routes(registry.build(gate, max_body_bytes=settings.limits.max_body_bytes))
    tokens = TokenEndpoint(
        database=parts.database,
        now_ms=parts.world.clock.now_ms,
        entropy=parts.world.entropy,
        life_s=settings.limits.token_life_s,
        failures=RateLimit(
            per_s=settings.limits.failed_attempts_per_min / 60,
            burst=settings.limits.failed_attempts,
        ),
    )
    app.add_routes(tokens.routes())
    if Role.PORTAL in settings.node.roles:
        app.add_routes(Portal(parts).routes())
    # An import profile of one's own stands in the query.
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        max_line_size=_MAX_LINE_BYTES,
        handler_cancellation=True,
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    tls = None
    if settings.api.tls_certificate_file and settings.api.tls_key_file:
        tls = server_context(
            settings.api.tls_certificate_file, settings.api.tls_key_file
        )
    await web.TCPSite(
        runner, settings.api.host, settings.api.port, ssl_context=tls
    ).start()
    admin = bind_admin_socket(settings.admin_socket)
    await web.SockSite(runner, admin).start()
    stack.callback(Path.unlink, settings.admin_socket, True)


def _resident_resolver(core: Core) -> ResidentResolver:
    """Return what finds the resident of a session token."""

    async def resolve(token: str) -> Caller | None:
        desk = core.parts.residents
        if desk is None:
            return None
        try:
            session = desk.session(token)
        except Unauthenticated:
            return None
        return Caller(CallerKind.RESIDENT, session.account, session=session)

    return resolve


def _capturing(capture: Capture) -> Middleware:
    """Return a middleware that keeps the bodies of requests to our API."""

    @web.middleware
    async def keep(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/v1/import" or request.path.endswith("/attachments"):
            return await handler(request)
        capture(request.path_qs.encode() + b"\n" + await request.read())
        return await handler(request)

    return keep
