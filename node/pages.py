# SPDX-License-Identifier: Apache-2.0
"""Every record that a read gives, of any number, page by page in constant memory.

Each page is a read of its own: decided anew, with records of provision and reception,
so a withdrawal ends the set at the next page. A page says where the following one
starts; one that is lost or refused for a passing reason is asked for again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace

from federation.exchange import Answer, Refused
from federation.ports import Clock
from node.patience import Patience
from node.problems import Refused as RefusedError
from node.reader import Asked, Reader, ReadRequest
from protocol.answer import ReadResult
from protocol.ids import NodeId
from protocol.problem import Refusal


@dataclass(frozen=True)
class Page:
    """One page of one holder.

    Attributes:
        holder: its name; None where it stays hidden.
        answer: as it came.
        result: the records.
    """

    holder: NodeId | None
    answer: Answer
    result: ReadResult


@dataclass(frozen=True)
class Broken:
    """A holder's set ends before its end.

    Attributes:
        holder: its name; None where it stays hidden.
        refusal: why.
        after: where to go on: `ReadRequest.after`; None for the beginning.
    """

    holder: NodeId | None
    refusal: Refusal
    after: str | None


@dataclass(frozen=True)
class Done:
    """A holder has given everything."""

    holder: NodeId | None


class Pages:
    """Reads whole sets."""

    def __init__(self, *, reader: Reader, clock: Clock, patience_s: float) -> None:
        """Take the parts.

        Args:
            reader: reads one page.
            clock: for waiting between attempts.
            patience_s: how long one page is tried.
        """
        self._reader = reader
        self._clock = clock
        self._patience_s = patience_s

    async def all(self, request: ReadRequest) -> AsyncGenerator[Page | Broken | Done]:
        """Yield every page of every holder concerned, one holder after the other.

        Args:
            request: `limit` is of one page; with `after`, a single holder is meant.

        Raises:
            NotFound: no such consent here, or it does not name the holder.
            UnknownDatasetType: as named.
        """
        for asked in self._reader.concerned(request):
            after = request.after
            try:
                while True:
                    page = await self._page(replace(request, after=after), asked)
                    yield page
                    if page.result.next is None:
                        break
                    after = page.result.next
            except RefusedError as error:
                yield Broken(asked.node, error.refusal, after)
            else:
                yield Done(asked.node)

    async def _page(self, request: ReadRequest, asked: Asked) -> Page:
        """Read one page.

        Raises:
            RefusedError: for good, or for too long.
        """
        patience = Patience(self._clock, self._patience_s)
        while True:
            said = await self._reader.read_later(request, asked, None)
            outcome = said.outcome
            if isinstance(outcome, Answer) and isinstance(outcome.result, ReadResult):
                return _held(Page(said.holder, outcome, outcome.result))
            if isinstance(outcome, Refused):
                outcome = outcome.refusal
            if isinstance(outcome, Answer):
                outcome = Refusal("answer-invalid", "no records in it", outcome.by)
            await patience.wait(outcome)


def _held(page: Page) -> Page:
    """Refuse a page that would make the set endless, or cut it off unseen."""
    result, by = page.result, page.answer.by
    if result.more is (result.next is None):
        raise RefusedError(Refusal("answer-invalid", "more without a place", by))
    if result.next is not None and not result.records:
        raise RefusedError(Refusal("answer-invalid", "an empty page before more", by))
    return page
