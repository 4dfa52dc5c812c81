# SPDX-License-Identifier: Apache-2.0
"""Dataset types of this node, and what the holder itself allows for each."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import Field

from node.api.registry import Registry
from node.clients import Scope
from node.core import Core
from protocol.dataset import DatasetType
from protocol.decision import HolderPolicy
from protocol.ids import DatasetTypeName, NodeId, PurposeName
from protocol.model import Request
from vault.dataset_types import parse_dataset_type

_MAX_BYTES = 1 << 20


class PurposeEntry(Request):
    """A purpose and the fields it needs."""

    title: dict[str, str]
    fields: list[str]


class DatasetEntry(Request):
    """A dataset type in short."""

    name: str
    version: int
    title: dict[str, str]
    field: str
    data_class: str
    evidence_level: int
    qualifications: list[str]
    purposes: dict[str, PurposeEntry]


class DatasetList(Request):
    """All dataset types in force."""

    datasets: list[DatasetEntry]


class DatasetName(Request):
    """Which dataset type."""

    name: DatasetTypeName


class Policy(Request):
    """What the holder allows, over and above consent."""

    shared: bool = True
    purposes: list[PurposeName] | None = None
    withheld_fields: list[str] = []
    refused: list[NodeId] = []
    retention_days: Annotated[int, Field(ge=1, le=36500)] | None = None


class Registered(Request):
    """The outcome of registering a dataset type."""

    name: str
    version: int
    new: bool


def _entry(dataset: DatasetType) -> DatasetEntry:
    return DatasetEntry(
        name=dataset.name,
        version=dataset.version,
        title=dict(dataset.title),
        field=dataset.field,
        data_class=dataset.data_class,
        evidence_level=dataset.evidence_level,
        qualifications=list(dataset.qualifications),
        purposes={
            name: PurposeEntry(title=dict(p.title), fields=list(p.fields))
            for name, p in dataset.purposes.items()
        },
    )


def register(registry: Registry, *, core: Core) -> None:
    """Describe the endpoints."""
    parts = core.parts
    types = parts.vault.types

    @registry.route(
        "GET",
        "/v1/datasets",
        scope=Scope.STATUS_READ,
        summary=("Dataset types", "データセット種別の一覧"),
        tag="datasets",
    )
    async def list_types() -> DatasetList:
        return DatasetList(datasets=[_entry(dataset) for dataset in types.all()])

    @registry.route(
        "GET",
        "/v1/datasets/{name}",
        scope=Scope.STATUS_READ,
        summary=("One dataset type, whole", "データセット種別の定義"),
        tag="datasets",
        returns=DatasetType,
        problems=("unknown-dataset-type",),
    )
    async def get_type(params: DatasetName) -> web.Response:
        dataset = types.get(params.name)
        return web.Response(
            body=dataset.model_dump_json(by_alias=True).encode(),
            content_type="application/json",
        )

    @registry.route(
        "POST",
        "/v1/datasets",
        scope=Scope.DATASETS_WRITE,
        status=201,
        summary=("Register a dataset type", "データセット種別の登録"),
        tag="datasets",
        returns=Registered,
        problems=("conflict", "schema-violation"),
    )
    async def add_type(request: web.Request) -> Registered:
        document = await request.read()
        if len(document) > _MAX_BYTES:
            raise web.HTTPRequestEntityTooLarge(_MAX_BYTES, len(document))
        dataset = parse_dataset_type(document)
        now_ms = parts.world.clock.now_ms()
        new = await parts.database.write(lambda c: types.register(c, dataset, now_ms))
        parts.database.read(types.load)
        return Registered(name=dataset.name, version=dataset.version, new=new)

    @registry.route(
        "GET",
        "/v1/datasets/{name}/policy",
        scope=Scope.STATUS_READ,
        summary=("What this holder allows", "保有組織の方針"),
        tag="datasets",
        problems=("unknown-dataset-type",),
    )
    async def get_policy(params: DatasetName) -> Policy:
        types.get(params.name)
        policy = types.policy(params.name)
        purposes = policy.purposes
        return Policy(
            shared=policy.shared,
            purposes=None if purposes is None else sorted(purposes),
            withheld_fields=sorted(policy.withheld_fields),
            refused=sorted(policy.refused),
            retention_days=types.retention_days(params.name),
        )

    @registry.route(
        "PUT",
        "/v1/datasets/{name}/policy",
        scope=Scope.DATASETS_WRITE,
        summary=("Replace what this holder allows", "保有組織の方針の変更"),
        tag="datasets",
        problems=("unknown-dataset-type",),
    )
    async def put_policy(params: DatasetName, body: Policy) -> Policy:
        purposes = body.purposes
        policy = HolderPolicy(
            shared=body.shared,
            purposes=None if purposes is None else frozenset(purposes),
            withheld_fields=frozenset(body.withheld_fields),
            refused=frozenset(body.refused),
        )
        now_ms = parts.world.clock.now_ms()
        await parts.database.write(
            lambda c: types.set_policy(
                c, params.name, policy, now_ms, retention_days=body.retention_days
            )
        )
        parts.database.read(types.load)
        return body
