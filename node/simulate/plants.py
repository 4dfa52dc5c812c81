# SPDX-License-Identifier: Apache-2.0
"""Faults put into production parts on purpose, to see that the simulator finds them.

    machikura simulate --plant deaf --seeds 1..20

Each is a subclass or another argument of one part, put in where nodes are composed; the
product has no switch for any of them. A simulator that lets one pass proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from sqlalchemy import Connection

from federation.outbox import Delivered, Message, Undelivered
from node.builder import Builder
from node.deliveries import Deliveries
from node.parts import Parts
from node.reader import Reader
from protocol.decision import Case, Deny, HolderPolicy
from protocol.request import Read
from protocol.status import pack
from vault.keyring import SubjectId
from vault.release import Asked, Prepared, Release


class _WrongCase(Release):
    """Decides on another case than the one at hand."""

    def prepare(
        self,
        connection: Connection,
        case: Case,
        subject: SubjectId | None,
        query: Read,
        asked: Asked,
    ) -> Prepared | Deny:
        """Decide on the changed case."""
        return super().prepare(connection, self.change(case), subject, query, asked)

    def change(self, case: Case) -> Case:
        """Return what is decided on instead."""
        raise NotImplementedError


class _Deaf(_WrongCase):
    def change(self, case: Case) -> Case:
        """Overlook every withdrawal and pause."""
        fresh, proof = case.freshness, case.freshness.proof
        valid = None if proof is None else proof.model_copy(update={"lst": pack({})})
        heard = replace(fresh, proof=valid, revoked=None, newest_version=0)
        return replace(case, freshness=heard)


class _Generous(_WrongCase):
    def change(self, case: Case) -> Case:
        """Take every field for needed by every purpose."""
        dataset = case.dataset
        purposes = {
            name: purpose.model_copy(update={"fields": tuple(sorted(dataset.fields))})
            for name, purpose in dataset.purposes.items()
        }
        return replace(case, dataset=dataset.model_copy(update={"purposes": purposes}))


class _Lawless(_WrongCase):
    def change(self, case: Case) -> Case:
        """Forget what the holder itself keeps back."""
        return replace(case, policy=HolderPolicy())


class _Unqualified(_WrongCase):
    def change(self, case: Case) -> Case:
        """Ask nobody for a qualification."""
        dataset = case.dataset.model_copy(update={"qualifications": ()})
        return replace(case, dataset=dataset)


class _Telltale(_WrongCase):
    def change(self, case: Case) -> Case:
        """Leave in what names a hidden holder."""
        dataset = case.dataset.model_copy(update={"holder_fields": ()})
        return replace(case, dataset=dataset)


class _Gullible(_WrongCase):
    def change(self, case: Case) -> Case:
        """Take whoever asks for a recipient of the consent."""
        if case.consent is None:
            return case
        recipients = (*case.consent.recipients, case.recipient.sub)
        consent = case.consent.model_copy(update={"recipients": recipients})
        return replace(case, consent=consent)


class _Releasing(Builder):
    """Builds vaults with another way out."""

    way_out: type[Release]

    def build(self) -> Parts:
        """Put it in: it keeps what it has, and decides otherwise."""
        parts = super().build()
        parts.vault.release.__class__ = self.way_out
        return parts


class Deaf(_Releasing):
    """Releases under consents that have ended."""

    way_out = _Deaf


class Generous(_Releasing):
    """Releases fields that the purpose does not need."""

    way_out = _Generous


class Lawless(_Releasing):
    """Releases what the holder's policy keeps back."""

    way_out = _Lawless


class Unqualified(_Releasing):
    """Releases to recipients without the qualification."""

    way_out = _Unqualified


class Telltale(_Releasing):
    """Releases what names a hidden holder."""

    way_out = _Telltale


class Gullible(_Releasing):
    """Releases to whoever has got hold of a consent."""

    way_out = _Gullible


class Patient(Builder):
    """Takes freshness proofs of ten minutes ago: T is not what was promised."""

    def build(self) -> Parts:
        """Change the setting."""
        trust = self.settings.trust.model_copy(update={"status_max_age_s": 600})
        self.settings = self.settings.model_copy(update={"trust": trust})
        return super().build()


class _Careless(Deliveries):
    async def deliver(self, message: Message) -> Delivered | Undelivered:
        """Try once and call it done."""
        await super().deliver(message)
        return Delivered()


class Careless(Builder):
    """Takes a message off the outbox whether or not it arrived."""

    def build(self) -> Parts:
        """Put careless deliveries before the outbox."""
        parts = super().build()
        self.deliveries.__class__ = _Careless
        self.outbox._deliver = self.deliveries.deliver
        return parts


class _Unwritten(Reader):
    async def _record(self, *_: object, **__: object) -> None:
        """Write nothing."""


class Unwritten(Builder):
    """Reads without a reception record."""

    def build(self) -> Parts:
        """Put the other reader in."""
        parts = super().build()
        parts.reader.__class__ = _Unwritten
        return parts


class Waiting(Builder):
    """Waits a minute longer for answers than it was given."""

    async def _send(self, payload: bytes, deadline_ms: int) -> bytes:
        return await super()._send(payload, deadline_ms + 60_000)


PLANTS: Final[Mapping[str, type[Builder]]] = {
    kind.__name__.lower(): kind
    for kind in (
        Deaf,
        Generous,
        Lawless,
        Unqualified,
        Telltale,
        Gullible,
        Patient,
        Careless,
        Unwritten,
        Waiting,
    )
}
"""By the name that `--plant` takes."""
