# SPDX-License-Identifier: Apache-2.0
"""All endpoints of a node; what its roles do not offer is not there."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from node.api import (
    attachments,
    city,
    city_keys,
    clients,
    consents,
    datasets,
    evidence,
    exchanges,
    imports,
    links,
    me,
    outbox,
    public,
    records,
    residents,
    sets,
    status,
    trace,
    transfers,
)
from node.api.registry import Registry
from node.core import Core
from node.health import Checks
from node.metrics import Metrics


def program_version() -> str:
    """Return the version of this program."""
    try:
        return version("machikura")
    except PackageNotFoundError:
        return "0"


def build_registry(core: Core, metrics: Metrics, checks: Checks) -> Registry:
    """Describe every endpoint that this node serves."""
    parts = core.parts
    database, clock = parts.database, parts.world.clock
    registry = Registry(title="Machikura", version=program_version())
    public.register(registry, core=core, metrics=metrics, checks=checks)
    status.register(registry, core=core, checks=checks)
    trace.register(registry, core=core)
    clients.register(
        registry, database=database, now_ms=clock.now_ms, entropy=parts.world.entropy
    )
    outbox.register(registry, core=core)
    evidence.register(registry, core=core)
    city.register_member(registry, core=core)
    if parts.desk is not None:
        city.register_broker(registry, core=core)
    if parts.city is not None:
        city.register_city(registry, core=core)
        city_keys.register_city_keys(registry, core=core)
    if parts.holder is not None:
        for resource in (
            datasets,
            imports,
            records,
            attachments,
            links,
            consents,
            exchanges,
            sets,
            transfers,
        ):
            resource.register(registry, core=core)
    if parts.residents is not None:
        residents.register(registry, core=core)
        me.register(registry, core=core)
    return registry
