# SPDX-License-Identifier: Apache-2.0
"""What the model remembers: everything that decides what may happen next.

Two cities: home node and holder in the one, requester in the other. One resident with
one consent that may be given, paused, resumed and withdrawn, and given again as a new
one after it.

Time is counted in ticks of the holder's clock, which is the right one; the home node's
is `ahead` of it by at most the skew allowed. No state says what time it is: documents
and messages have ages, and what is over is over however long. So the states are finite
in number while time goes on for ever.

The two brokers and the links are one lossy channel: what was sent may arrive late,
twice, in any order or never. (Two such channels in a row are again one.)

The requester is hostile: it gets every version and every list at once, keeps them, and
asks under any of them. One that gets something late, or never, can do no more.
"""

from __future__ import annotations

from typing import NamedTuple

FIRST, AGAIN = 1, 2
"""The two consents."""

NONE, ACTIVE, PAUSED, WITHDRAWN = "none", "active", "paused", "withdrawn"


class Word(NamedTuple):
    """A message that waits in the home node's outbox.

    `consent` carries the version that is current when it is sent; `again` is the other
    consent; `pause` and `end` are signed once, for their version.
    """

    kind: str
    version: int = 0


class Copy(NamedTuple):
    """A word on its way, and how many ticks ago it was sent."""

    word: Word
    age: int = 0


class List(NamedTuple):
    """A signed status list: what it says of the first consent.

    Attributes:
        epoch: its place among those that still matter, oldest first.
        age: ticks since it was signed, by the holder's clock and the list's own date.
        status: of the first consent.
    """

    epoch: int
    age: int
    status: str


class Request(NamedTuple):
    """One exchange: a read as the requester signed it.

    Attributes:
        consent, version, list: what it asks under.
        age: ticks since it was sent.
        seen: the holder's process remembers its id; a restart forgets it.
        recorded: its release is on the holder's disk.
        left: its answer has left; for the properties.
    """

    consent: int
    version: int
    list: List
    age: int = 0
    seen: bool = False
    recorded: bool = False
    left: bool = False


class Known(NamedTuple):
    """What the holder was told directly of the first consent."""

    status: str = ACTIVE
    status_version: int = 0
    newest: int = 0


class State(NamedTuple):
    """One state."""

    ahead: int = 0
    # The home node; all of it is durable. `attempt`: what it waits for an answer to,
    # `answered`: the answer is on its way.
    version: int = 0
    mood: str = NONE
    again: bool = False
    outbox: tuple[Word, ...] = ()
    attempt: Word | None = None
    answered: bool = False
    # The channel to the holder: of each word the last copy, which is taken longest.
    mail: frozenset[Copy] = frozenset()
    # The holder; all durable. `trusted` stays empty unless a rule is broken.
    known: Known = Known()
    newest: List | None = None
    trusted: frozenset[List] = frozenset()
    # The requester: what it has, and what it has asked that the channel may repeat.
    versions: frozenset[tuple[int, int]] = frozenset()
    lists: frozenset[List] = frozenset()
    asked: frozenset[Request] = frozenset()
    # For the properties: ticks since the withdrawal, the newest version that the holder
    # was told of, whether it was told of the end, the newest list that it was shown.
    withdrawn: int | None = None
    heard: int = 0
    heard_end: bool = False
    shown: List | None = None


class Step(NamedTuple):
    """What happened: who did what, with which, and what came of it."""

    act: str
    what: object = None
    outcome: str = ""

    def __str__(self) -> str:
        """One line of a trace."""
        said = [self.act, "" if self.what is None else str(self.what)]
        return " ".join(part for part in said if part) + (
            f" -> {self.outcome}" if self.outcome else ""
        )

    @property
    def label(self) -> str:
        """The step without its particulars: what transitions are counted by."""
        kind = self.what.word.kind if isinstance(self.what, Copy) else ""
        return ":".join(part for part in (self.act, kind, self.outcome) if part)
