# SPDX-License-Identifier: Apache-2.0
"""The registry of dataset types, and what this holder allows for each.

Built-in types come with the product (`vault/catalog/*.json`), further ones are
registered in the database. A newer version is added beside the old one; content under
an existing version never changes, since records and consents refer to it. The highest
version is the one in force.

Everything is held in memory: `load` after start, and again after a write has been
committed (a write that is rolled back must leave no trace here).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from pydantic import ValidationError
from sqlalchemy import Connection, insert, select, update

from protocol.canonical import parse_json
from protocol.dataset import DatasetType
from protocol.decision import HolderPolicy
from protocol.errors import Malformed
from protocol.ids import DatasetTypeName, NodeId, PurposeName
from protocol.model import Request
from vault.errors import Conflict, UnknownDatasetType
from vault.schema import Validator, compile_schema
from vault.tables import dataset_types, holder_policies

MAX_DOCUMENT_BYTES = 256 * 1024
_OPEN_POLICY = HolderPolicy()


class PolicyDocument(Request):
    """A holder policy as it is stored; see `protocol.decision.HolderPolicy`."""

    shared: bool = True
    purposes: tuple[PurposeName, ...] | None = None
    withheld_fields: tuple[str, ...] = ()
    refused: tuple[NodeId, ...] = ()

    @classmethod
    def of(cls, policy: HolderPolicy) -> PolicyDocument:
        """Write a policy down, in one order."""
        purposes = policy.purposes
        return cls(
            shared=policy.shared,
            purposes=None if purposes is None else tuple(sorted(purposes)),
            withheld_fields=tuple(sorted(policy.withheld_fields)),
            refused=tuple(sorted(policy.refused)),
        )

    def policy(self) -> HolderPolicy:
        """Return what the decision takes."""
        return HolderPolicy(
            shared=self.shared,
            purposes=None if self.purposes is None else frozenset(self.purposes),
            withheld_fields=frozenset(self.withheld_fields),
            refused=frozenset(self.refused),
        )


@dataclass
class _Loaded:
    """What `load` read, replaced as a whole."""

    types: dict[str, dict[int, DatasetType]]
    newest: dict[str, DatasetType]
    policies: dict[str, HolderPolicy]
    retention_days: dict[str, int]
    validators: dict[tuple[str, int], Validator] = field(default_factory=dict)


def parse_dataset_type(document: bytes) -> DatasetType:
    """Read a dataset type's JSON file.

    Raises:
        Malformed: not JSON, or not a dataset type; says which member.
    """
    parse_json(document, max_bytes=MAX_DOCUMENT_BYTES)
    try:
        return DatasetType.model_validate_json(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise Malformed(f"dataset type: {place}: {first['msg']}") from error


@cache
def built_in_types() -> tuple[DatasetType, ...]:
    """Read the dataset types that come with the product, sorted by file name."""
    folder = files("vault").joinpath("catalog")
    documents = sorted(
        (f for f in folder.iterdir() if f.name.endswith(".json")), key=lambda f: f.name
    )
    return tuple(parse_dataset_type(f.read_bytes()) for f in documents)


class DatasetTypes:
    """The registry. One per process."""

    def __init__(self, *, built_in: Iterable[DatasetType]) -> None:
        self._built_in = tuple(built_in)
        self._loaded = self._assemble([], [])

    def load(self, connection: Connection) -> None:
        """Read registered types and policies: after start and after each change."""
        documents = connection.execute(select(dataset_types.c.document)).scalars()
        policies = connection.execute(
            select(
                holder_policies.c.dataset_type,
                holder_policies.c.document,
                holder_policies.c.retention_days,
            )
        )
        self._loaded = self._assemble(
            [parse_dataset_type(text.encode()) for text in documents],
            [(name, text, days) for name, text, days in policies],
        )

    def _assemble(
        self,
        registered: list[DatasetType],
        policies: list[tuple[str, str, int | None]],
    ) -> _Loaded:
        types: dict[str, dict[int, DatasetType]] = {}
        for dataset in (*self._built_in, *registered):
            types.setdefault(dataset.name, {})[dataset.version] = dataset
        return _Loaded(
            types=types,
            newest={name: found[max(found)] for name, found in types.items()},
            policies={
                name: PolicyDocument.model_validate_json(text).policy()
                for name, text, _ in policies
            },
            retention_days={name: days for name, _, days in policies if days},
        )

    def get(self, name: str, version: int | None = None) -> DatasetType:
        """Return a type, by default in its highest version.

        Raises:
            UnknownDatasetType: nobody registered it.
        """
        if version is None:
            found = self._loaded.newest.get(name)
        else:
            found = self._loaded.types.get(name, {}).get(version)
        if found is None:
            raise UnknownDatasetType(name)
        return found

    def all(self) -> tuple[DatasetType, ...]:
        """Return the types in force, sorted by name."""
        newest = self._loaded.newest
        return tuple(newest[name] for name in sorted(newest))

    def validator(self, dataset: DatasetType) -> Validator:
        """Return the compiled schema; compiled once per version."""
        validators = self._loaded.validators
        key = (dataset.name, dataset.version)
        found = validators.get(key)
        if found is None:
            found = validators[key] = compile_schema(dataset.json_schema)
        return found

    def policy(self, name: str) -> HolderPolicy:
        """Return what this holder allows; by default all that consent allows."""
        return self._loaded.policies.get(name, _OPEN_POLICY)

    def retention_days(self, name: str) -> int | None:
        """Return how long own records are kept after their time; None: no limit."""
        return self._loaded.retention_days.get(name)

    def register(
        self, connection: Connection, dataset: DatasetType, now_ms: int
    ) -> bool:
        """Add a type, or a further version of one. Call `load` once committed.

        Returns:
            True if it is new, False if exactly this is there already.

        Raises:
            Conflict: this version exists with other content.
        """
        compile_schema(dataset.json_schema)
        document = dataset.model_dump_json(by_alias=True)
        known = self._known(connection, dataset)
        if known is not None:
            if known != dataset:
                raise Conflict(f"{dataset.name} version {dataset.version} exists")
            return False
        connection.execute(
            insert(dataset_types).values(
                name=dataset.name,
                version=dataset.version,
                document=document,
                added_ms=now_ms,
            )
        )
        return True

    def _known(
        self, connection: Connection, dataset: DatasetType
    ) -> DatasetType | None:
        for built_in in self._built_in:
            if (built_in.name, built_in.version) == (dataset.name, dataset.version):
                return built_in
        columns = dataset_types.c
        text = connection.execute(
            select(columns.document).where(
                columns.name == dataset.name, columns.version == dataset.version
            )
        ).scalar_one_or_none()
        return None if text is None else parse_dataset_type(text.encode())

    def set_policy(
        self,
        connection: Connection,
        name: DatasetTypeName,
        policy: HolderPolicy,
        now_ms: int,
        *,
        retention_days: int | None = None,
    ) -> None:
        """Replace the holder's policy for a type. Call `load` once committed.

        Raises:
            UnknownDatasetType: nobody registered it.
        """
        self.get(name)
        table = holder_policies
        values = {
            "document": PolicyDocument.of(policy).model_dump_json(),
            "retention_days": retention_days,
            "changed_ms": now_ms,
        }
        changed = connection.execute(
            update(table).where(table.c.dataset_type == name).values(values)
        )
        if changed.rowcount == 0:
            connection.execute(insert(table).values(dataset_type=name, **values))
