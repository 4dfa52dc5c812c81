# SPDX-License-Identifier: Apache-2.0
"""Alarms: what the evidence contradicts, kept until an operator has seen it.

Each is stored, logged as an error, and counted in the figures; `status`, `doctor` and
`/readyz` show that there are open ones. The same finding again opens its alarm again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from sqlalchemy import Connection

from federation.evidence import Finding
from federation.evidence_store import EvidenceStore
from node.database import Database
from protocol.ids import NodeId

_logger = logging.getLogger(__name__)

_NAMED = 100
"""Exchanges of one batch that get an alarm each; the others are counted."""


class Alarms:
    """Raises them."""

    def __init__(
        self,
        *,
        store: EvidenceStore,
        database: Database,
        now_ms: Callable[[], int],
        raised: Callable[[str], None],
    ) -> None:
        """Take the parts.

        Args:
            store: keeps them.
            database: where.
            now_ms: clock.
            raised: told the kind of each new alarm, for figures.
        """
        self._store = store
        self._database = database
        self._now_ms = now_ms
        self._raised = raised

    async def tell(
        self, peer: NodeId, findings: list[Finding], proof: bytes | None = None
    ) -> None:
        """Keep alarms about a peer, with what proves them, and tell of new ones."""
        if findings:
            note = partial(self.note, peer=peer, findings=findings, proof=proof)
            self.announce(peer, await self._database.write(note))

    def note(
        self,
        connection: Connection,
        peer: NodeId,
        findings: list[Finding],
        proof: bytes | None,
    ) -> list[Finding]:
        """Write alarms; return the new ones, to be announced after the commit."""
        now_ms, named = self._now_ms(), findings[:_NAMED]
        if len(findings) > _NAMED:
            detail = f"{len(findings) - _NAMED} more in one batch"
            named = [*named, Finding(findings[-1].kind, "many", detail)]
        return [
            finding
            for finding in named
            if self._store.alarm(connection, peer, finding, now_ms, proof)
        ]

    def announce(self, peer: NodeId, findings: list[Finding]) -> None:
        """Count and log new alarms."""
        for finding in findings:
            self._raised(finding.kind)
            _logger.error(
                "evidence alarm: %s, %s, %s: %s",
                finding.kind,
                peer,
                finding.subject,
                finding.detail,
            )
