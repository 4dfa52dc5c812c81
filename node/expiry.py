# SPDX-License-Identifier: Apache-2.0
"""What ends some day, and how soon: for `status`, `doctor`, the figures and the log.

    expiry = Expiry(parts)
    await expiry.look()              # once a day; writes what ends soon to the log
    expiry.now()                     # every date, the soonest first

Some of it renews itself: then only a renewal that is overdue is worth a warning. The
rest needs people: other cities, an auditor, a resident. Nothing personal is in it;
consents are counted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from identity.agreements import INSTALLED
from node.parts import Parts
from node.tls import certificate_ends
from protocol.membership import OPERATING, OperatingCertificate
from protocol.signature import Received

_logger = logging.getLogger(__name__)

_DAY_S = 86_400
_MAX_CONSENTS = 10_000


@dataclass(frozen=True)
class Ending:
    """Something that ends.

    Attributes:
        what: `membership`, `operating-certificate`, `agreement`, `qualification`,
            `tls-certificate`, `earlier-key` or `consents`.
        name: which one; for consents how many end soon.
        ends: seconds since 1970.
        soon: whether somebody should do something about it now.
        remedy: what, in a command where there is one; empty where it renews itself.
    """

    what: str
    name: str
    ends: int
    soon: bool
    remedy: str = ""

    def days_left(self, now: int) -> int:
        """Return whole days, rounded down; below zero it is over."""
        return (self.ends - now) // _DAY_S


class Expiry:
    """Looks at everything of one node that ends."""

    def __init__(self, parts: Parts) -> None:
        """Take the node's parts."""
        self._parts = parts
        self._consents: tuple[int, int] | None = None

    def now(self) -> list[Ending]:
        """Return everything that ends, the soonest first."""
        return sorted(self._all(), key=lambda one: (one.ends, one.what, one.name))

    def soon(self) -> list[Ending]:
        """Return what somebody should see to."""
        return [one for one in self.now() if one.soon]

    async def look(self) -> None:
        """Count consents, and write to the log what ends soon; once a day."""
        await self._count_consents()
        now = self._parts.now()
        for one in self.soon():
            _logger.warning(
                "%s %s ends in %d days. %s",
                one.what,
                one.name,
                one.days_left(now),
                one.remedy,
            )

    def _all(self) -> Iterator[Ending]:
        parts, now = self._parts, self._parts.now()
        if parts.standing.admitted:
            yield from self._standing(now)
        if parts.city is not None:
            for entry in parts.database.read(parts.agreements.entries):
                if entry.state == INSTALLED and entry.ends > now - 30 * _DAY_S:
                    body = entry.agreement.body
                    other = body.other(parts.node.city).city
                    remedy = "machikura federate amend"
                    name = f"{other} {body.id} v{body.version}"
                    yield self._ending("agreement", name, entry.ends, remedy)
        for path in self._certificate_files():
            ends = certificate_ends(path)
            if ends is not None:
                yield self._ending("tls-certificate", path.name, ends, "replace it")
        if self._consents is not None and self._consents[0]:
            count, first = self._consents
            remedy = "ask the residents again if you still need them"
            yield Ending("consents", str(count), first, soon=True, remedy=remedy)

    def _standing(self, now: int) -> Iterator[Ending]:
        own = self._parts.standing.own()
        body, shown = own.body, own.credentials
        # It is renewed from half of its life on: at a quarter something is wrong.
        overdue = body.exp - now < (body.exp - body.iat) // 4
        remedy = "restore the link to the city's broker" if overdue else ""
        yield Ending("membership", body.sub, body.exp, overdue, remedy)
        for one in body.qualifications:
            remedy = "let the city admit the node again with the new date"
            yield self._ending("qualification", one.scheme, one.until, remedy)
        for key in body.earlier or ():
            kid = key.verifying_key().kid
            yield Ending("earlier-key", kid[:8], key.until, soon=False)
        if self._parts.city is not None:
            certificate = Received.parse(shown.operating, OPERATING).peek(
                OperatingCertificate
            )
            remedy = "machikura city key-request"
            yield self._ending(
                "operating-certificate", body.sub.city, certificate.exp, remedy
            )

    def _ending(self, what: str, name: str, ends: int, remedy: str) -> Ending:
        margin_s = self._parts.settings.expiry.warn_days * _DAY_S
        return Ending(what, name, ends, ends - self._parts.now() < margin_s, remedy)

    def _certificate_files(self) -> list[Path]:
        settings = self._parts.settings
        found = []
        if self._parts.broker is not None:
            found.append(settings.link_certificate[0])
        if settings.api.tls_certificate_file is not None:
            found.append(settings.api.tls_certificate_file)
        return found

    async def _count_consents(self) -> None:
        """Count the consents received here that end soon; off the loop."""
        parts, now = self._parts, self._parts.now()
        before = now + parts.settings.expiry.consent_warn_days * _DAY_S
        self._consents = await parts.database.scan(
            lambda c: parts.vault.ledger.ending(c, now, before, _MAX_CONSENTS)
        )
