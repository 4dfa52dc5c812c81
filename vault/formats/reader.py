# SPDX-License-Identifier: Apache-2.0
"""The one way into a file: bytes in, rows and problems out.

    for found in read_rows(stream, format="csv", profile=None):
        if isinstance(found, Row): ...

Promises: no content of a file makes it raise; memory is bounded by the limits; one
broken row never stops the rest; what is not imported is told; no problem repeats a
value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final, Literal, TypeAlias, get_args

from protocol.errors import Misuse
from vault.formats.fhir.reader import read_fhir
from vault.formats.ndjson import read_ndjson
from vault.formats.profile import Profile, builtin_profiles
from vault.formats.rows import Limits, Row, RowProblem
from vault.formats.table import read_table

Format: TypeAlias = Literal["fhir", "csv", "ndjson"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)


def read_rows(
    stream: BinaryIO,
    *,
    format: Format,  # noqa: A002 the word that operators and settings use
    profile: Profile | None = None,
    limits: Limits | None = None,
    candidates: Sequence[Profile] | None = None,
) -> Iterator[Row | RowProblem]:
    """Read a file piece by piece.

    A problem of level `file` is the last thing yielded. The rows are not yet checked
    against their dataset type's schema, see `vault.schema`.

    Args:
        stream: the file, read forward once.
        format: `fhir` (R4 bundle, resource, or NDJSON of resources), `csv`, `ndjson`.
        profile: how to read it; None chooses by the header or the members.
        limits: how much is held at a time.
        candidates: profiles to choose from; None means those that come along.

    Raises:
        Misuse: an unknown format, or a profile of another one.
    """
    if format not in FORMATS:
        raise Misuse("the format must be one of " + ", ".join(FORMATS))
    if profile is not None and (profile.format == "fhir") != (format == "fhir"):
        raise Misuse(f"the profile {profile.name} is for another format")
    limits = limits or Limits()
    if format == "fhir":
        return read_fhir(stream, profile, limits)
    if candidates is None:
        candidates = builtin_profiles() if profile is None else ()
    if format == "csv":
        return read_table(stream, profile, candidates, limits)
    return read_ndjson(stream, profile, candidates, limits)
