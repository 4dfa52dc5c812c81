# SPDX-License-Identifier: Apache-2.0
"""The registry of dataset types and the holder's policies."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from protocol.dataset import DatasetType
from protocol.decision import HolderPolicy
from protocol.errors import Malformed
from protocol.ids import DatasetTypeName, NodeId, PurposeName
from tests.vault.world import CHECKUP, NOW_MS, World
from vault.checks import partial_schema
from vault.dataset_types import built_in_types, parse_dataset_type
from vault.errors import Conflict, UnknownDatasetType
from vault.schema import SchemaRefused, compile_schema

CHECKUP_NAME = DatasetTypeName("health.checkup")


def variant(**changes: Any) -> DatasetType:
    """Return the checkup type with other members."""
    document = CHECKUP.model_dump(mode="json", by_alias=True)
    return parse_dataset_type(orjson.dumps({**document, **changes}))


def register(world: World, dataset: DatasetType) -> bool:
    """Register a type and read the registry again, as a node does."""
    new = world.write(lambda c: world.vault.types.register(c, dataset, NOW_MS))
    world.read(world.vault.types.load)
    return new


def test_built_in_types_are_all_readable() -> None:
    """A type that ships broken would break every node."""
    names = [(t.name, t.version) for t in built_in_types()]
    assert len(names) == len(set(names))


def test_parts_of_every_built_in_type_can_be_received() -> None:
    """Pushed records are checked against a schema without whole-record rules."""
    for dataset in built_in_types():
        validator = compile_schema(partial_schema(dataset.json_schema))
        assert validator.problems({}) == []


def test_registered_type_is_there_after_a_restart(world: World) -> None:
    """It lives in the database."""
    register(world, variant(name="health.dental"))
    world.restart()
    assert world.vault.types.get("health.dental").title["ja"] == "健診"


def test_newer_version_stands_beside_the_old_one(world: World) -> None:
    """The newest is in force; the old one stays for what refers to it."""
    register(world, variant(version=2, searchable=[]))
    types = world.vault.types
    assert types.get("health.checkup").version == 2
    assert types.get("health.checkup", 1) == CHECKUP
    assert [t.name for t in types.all()] == ["city.places", "health.checkup"]


def test_older_version_added_later_is_not_in_force(world: World) -> None:
    """The number counts, not the date."""
    register(world, variant(name="health.dental", version=3))
    register(world, variant(name="health.dental", version=2))
    assert world.vault.types.get("health.dental").version == 3


def test_registering_the_same_again_changes_nothing(world: World) -> None:
    """A deployment script may run twice."""
    dental = variant(name="health.dental")
    assert [register(world, dental), register(world, dental)] == [True, False]
    assert register(world, CHECKUP) is False


@pytest.mark.parametrize("name", ["health.checkup", "health.dental"])
def test_changed_content_under_a_version_is_refused(world: World, name: str) -> None:
    """Consents were given for what the version said."""
    if name != CHECKUP.name:
        register(world, variant(name=name))
    with pytest.raises(Conflict):
        register(world, variant(name=name, evidence_level=1))


def test_type_with_a_schema_that_reaches_outside_is_refused(world: World) -> None:
    """It is compiled before it is kept."""
    schema = orjson.loads(CHECKUP.model_dump_json(by_alias=True))["schema"]
    schema["properties"]["note"] = {"$ref": "https://example.org/schema"}
    with pytest.raises(SchemaRefused):
        register(world, variant(name="health.dental", schema=schema))


def test_type_nobody_registered_is_unknown(world: World) -> None:
    """Also in a version that is not there."""
    for version in (None, 9):
        with pytest.raises(UnknownDatasetType):
            world.vault.types.get("health.other", version)
    with pytest.raises(UnknownDatasetType):
        world.vault.types.get("health.checkup", 9)


def test_write_that_is_rolled_back_leaves_no_trace(world: World) -> None:
    """What is not committed is not in force."""
    with pytest.raises(RuntimeError), world.engine.begin() as connection:
        world.vault.types.register(connection, variant(name="health.dental"), NOW_MS)
        raise RuntimeError
    world.read(world.vault.types.load)
    with pytest.raises(UnknownDatasetType):
        world.vault.types.get("health.dental")


@pytest.mark.parametrize("document", [b"{", b'{"name": "x.y", "name": "x.z"}', b"{}"])
def test_file_that_is_no_dataset_type_is_malformed(document: bytes) -> None:
    """The operator is told, and nothing is guessed."""
    with pytest.raises(Malformed):
        parse_dataset_type(document)


def test_policy_is_kept(world: World) -> None:
    """What the operator decides holds after a restart."""
    policy = HolderPolicy(
        shared=True,
        purposes=frozenset({PurposeName("treatment")}),
        withheld_fields=frozenset({"note"}),
        refused=frozenset({NodeId("minato/energy")}),
    )
    types = world.vault.types
    assert types.policy("health.checkup") == HolderPolicy()
    world.write(
        lambda c: types.set_policy(c, CHECKUP_NAME, HolderPolicy(shared=False), NOW_MS)
    )
    world.write(
        lambda c: types.set_policy(c, CHECKUP_NAME, policy, NOW_MS, retention_days=30)
    )
    world.restart()
    assert world.vault.types.policy("health.checkup") == policy
    assert world.vault.types.retention_days("health.checkup") == 30


def test_policy_for_an_unknown_type_is_refused(world: World) -> None:
    """A misspelt name must not look like a policy in force."""
    name = DatasetTypeName("health.other")
    with pytest.raises(UnknownDatasetType):
        world.write(
            lambda c: world.vault.types.set_policy(c, name, HolderPolicy(), NOW_MS)
        )


def test_schema_is_compiled_once(world: World) -> None:
    """Compiling costs a thousand times checking."""
    types = world.vault.types
    assert types.validator(CHECKUP) is types.validator(CHECKUP)
