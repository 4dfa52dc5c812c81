# SPDX-License-Identifier: Apache-2.0
"""NDJSON files: one JSON object a line, a whole record or raw data under a profile.

A whole record is `{"dataset_type", "subject", "content"}`, with `source_id` if it has
one. Any other object is read as a table's row whose columns are the object's members.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final

from protocol.canonical import Json, parse_json
from protocol.errors import MachikuraError
from protocol.ids import DatasetTypeName
from vault.formats import codes
from vault.formats.binding import Binding, bind, fitting
from vault.formats.problems import BadValue, problem
from vault.formats.profile import Profile
from vault.formats.record import read_record
from vault.formats.rows import Limits, Row, RowProblem
from vault.formats.screen import content_problem, is_my_number
from vault.formats.values import read_subject

_RECORD: Final = {"dataset_type", "content"}
_MEMBERS: Final = _RECORD | {"subject", "source_id"}
_BOM: Final = b"\xef\xbb\xbf"


def read_ndjson(
    stream: BinaryIO,
    profile: Profile | None,
    candidates: Sequence[Profile],
    limits: Limits,
) -> Iterator[Row | RowProblem]:
    """Yield the rows and problems of an NDJSON file."""
    table: _Objects | None = None
    number = 0
    while line := stream.readline(limits.max_line_bytes + 1):
        number += 1
        if len(line) > limits.max_line_bytes:
            yield problem(number, "line-too-large", limit=limits.max_line_bytes)
            return
        if number == 1:
            line = line.removeprefix(_BOM)
        if not line.strip():
            continue
        value = _object(number, line, limits)
        if isinstance(value, RowProblem):
            yield value
        elif profile is None and value.keys() >= _RECORD:
            yield _record(number, value)
        else:
            if table is None:
                found = _Objects.of(number, value, profile, candidates)
                if isinstance(found, RowProblem):
                    yield found
                    return
                table = found
            yield from table.read(number, value)
    if number == 0:
        yield problem(0, "empty-file")


def _object(number: int, line: bytes, limits: Limits) -> dict[str, Json] | RowProblem:
    try:
        value = parse_json(
            line, max_bytes=limits.max_line_bytes, max_depth=limits.max_depth
        )
    except MachikuraError:
        return problem(number, "line-not-json")
    if not isinstance(value, dict):
        return problem(number, "not-an-object")
    return value


def _record(number: int, value: dict[str, Json]) -> Row | RowProblem:
    """Check the members of a whole record; the field's name is the file's own."""
    dataset_type, content = value["dataset_type"], value["content"]
    source_id = value.get("source_id")
    if (
        not isinstance(dataset_type, str)
        or not DatasetTypeName.grammar.fullmatch(dataset_type)
        or not isinstance(content, dict)
        or not isinstance(source_id, str | None)
        or not value.keys() <= _MEMBERS
    ):
        return problem(number, "members-wrong")
    try:
        subject = value.get("subject")
        if subject is not None:
            subject = read_subject(subject)
        if source_id is not None:
            source_id = codes.identifier(source_id)
    except BadValue as error:
        return problem(number, error.code, None, **error.facts)
    if is_my_number(source_id):
        return problem(number, "my-number-refused")
    wrong = content_problem({**content, "source_id": source_id})
    if wrong:
        return problem(number, wrong[0])
    return Row(number, dataset_type, subject, content, source_id)


class _Objects:
    """Objects of one kind, read like the rows of a table."""

    def __init__(self, binding: Binding, names: tuple[str, ...]) -> None:
        self._binding = binding
        self._names = names
        self._told = False

    @classmethod
    def of(
        cls,
        number: int,
        value: dict[str, Json],
        profile: Profile | None,
        candidates: Sequence[Profile],
    ) -> _Objects | RowProblem:
        """Choose the profile by the members of the first object."""
        names = tuple(value)
        if profile is not None:
            return cls(bind(names, profile), names)
        best = fitting(names, candidates)
        if len(best) == 1:
            return cls(best[0], names)
        if best:
            profiles = ", ".join(binding.profile.name for binding in best)
            return problem(number, "profile-ambiguous", profiles=profiles)
        return problem(number, "profile-needed")

    def read(self, number: int, value: dict[str, Json]) -> Iterator[Row | RowProblem]:
        """Yield the object's row; members left out are told once."""
        names = tuple(value)
        if names != self._names:
            self._names = names
            self._binding = bind(names, self._binding.profile)
        if self._binding.extra and not self._told:
            self._told = True
            yield problem(number, "extra-members", count=len(self._binding.extra))
        missing = self._binding.missing_required
        for field in missing:
            yield problem(number, "value-missing", field)
        if not missing:
            yield from read_record(number, self._binding, list(value.values()))
