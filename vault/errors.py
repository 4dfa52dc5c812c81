# SPDX-License-Identifier: Apache-2.0
"""What a caller of the vault can get wrong.

Each class has a slug of `protocol.problem_catalog`. "Not there", "erased" and "not
yours" share one slug, so that an answer never tells which of them it was.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.errors import Misuse


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one record; never repeats a value.

    Attributes:
        code: stable slug.
        field: top-level field, None where the record as a whole is meant.
        detail_en, detail_ja: the sentence for people.
    """

    code: str
    field: str | None
    detail_en: str = ""
    detail_ja: str = ""


class NotFound(Misuse):
    """No such record, person or document."""

    slug = "not-found"


class Erased(NotFound):
    """The person's key was destroyed: nothing of this person can be opened again."""


class Conflict(Misuse):
    """Somebody else changed it in the meantime, or it exists with other content."""

    slug = "conflict"


class UnknownDatasetType(Misuse):
    """A dataset type that nobody registered."""

    slug = "unknown-dataset-type"


class MyNumberRefused(Misuse):
    """A 個人番号 where an identifier is expected (番号法: never an identifier here)."""

    slug = "my-number-refused"


class RecordTooLarge(Misuse):
    """More bytes than one record may have."""

    slug = "too-large"


class Rejected(Misuse):
    """A record that does not fit its dataset type.

    Attributes:
        faults: every fault that was found.
    """

    slug = "schema-violation"

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        names = sorted({f"{f.field or '-'}: {f.code}" for f in faults})
        super().__init__(", ".join(names)[:500])
        self.faults = faults
