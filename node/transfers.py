# SPDX-License-Identifier: Apache-2.0
"""How far the transfers of this node are, on either side: for people, in memory only.

What must outlast a restart is elsewhere: who got what in the provision records, what
has arrived with whoever writes it down. The last transfers are kept, by the exchange
that opened them; both sides show one transfer under the same id.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from protocol.attachment import AttachmentInfo

KEPT = 1000
"""Transfers that are remembered; the one without progress for longest goes first."""


class Side(StrEnum):
    """Which side of a transfer this node is."""

    HOLDER = "holder"
    REQUESTER = "requester"


class State(StrEnum):
    """What became of a transfer."""

    RUNNING = "running"
    DONE = "done"
    ENDED = "ended"


@dataclass
class Transfer:
    """One transfer.

    Attributes:
        id: the exchange that opened it.
        side: ours.
        counterparty: the other side; a city where the holder is hidden.
        consent, version: of the consent.
        purpose: why.
        attachment, size: what, in bytes.
        position: up to where its bytes have left or arrived; parts may be missing
            before it where several are on their way.
        carried: bytes of content in all, those sent again too.
        started_ms, changed_ms: first and last part.
        state: `ended` with `problem` where it was refused.
    """

    id: str
    side: Side
    counterparty: str
    consent: str
    version: int
    purpose: str
    attachment: str
    size: int
    started_ms: int
    changed_ms: int
    position: int = 0
    carried: int = 0
    state: State = State.RUNNING
    problem: str = ""


class Transfers:
    """The last transfers."""

    def __init__(self, *, now_ms: Callable[[], int], kept: int = KEPT) -> None:
        """Start without any."""
        self._now_ms = now_ms
        self._kept = kept
        self._known: OrderedDict[tuple[Side, str], Transfer] = OrderedDict()

    def open(
        self,
        side: Side,
        name: str,
        info: AttachmentInfo,
        *,
        counterparty: str,
        consent: str,
        version: int,
        purpose: str,
        attachment: str = "",
    ) -> Transfer:
        """Take note of a transfer; what is known of it already stays.

        Args:
            side: ours.
            name: the exchange that opened it.
            info: what is transferred.
            counterparty: the other side.
            consent: id of the consent.
            version: of the consent.
            purpose: why.
            attachment: our own id of it, where the other side knows another.
        """
        known = self._known.get((side, name))
        if known is not None:
            return known
        now_ms = self._now_ms()
        made = Transfer(
            id=name,
            side=side,
            counterparty=counterparty,
            consent=consent,
            version=version,
            purpose=purpose,
            attachment=attachment or info.id,
            size=info.size,
            started_ms=now_ms,
            changed_ms=now_ms,
        )
        self._known[side, name] = made
        if len(self._known) > self._kept:
            self._known.popitem(last=False)
        return made

    def find(self, side: Side, name: str) -> Transfer | None:
        """Return a transfer, None if it is not remembered."""
        return self._known.get((side, name))

    def carried(self, transfer: Transfer, end: int, length: int) -> None:
        """Count a part that has left or arrived.

        Args:
            transfer: of which.
            end: where the part ends in the content.
            length: bytes of it.
        """
        transfer.position = max(transfer.position, end)
        transfer.carried += length
        transfer.changed_ms = self._now_ms()
        if transfer.position == transfer.size:
            transfer.state = State.DONE
        place = (transfer.side, transfer.id)
        if place in self._known:
            self._known.move_to_end(place)

    def ended(self, transfer: Transfer, problem: str) -> None:
        """Take note that it was refused or given up."""
        transfer.state, transfer.problem = State.ENDED, problem
        transfer.changed_ms = self._now_ms()

    def all(self) -> list[Transfer]:
        """Return every transfer that is remembered, the one that moved last first."""
        return list(reversed(self._known.values()))
