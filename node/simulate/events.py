# SPDX-License-Identifier: Apache-2.0
"""Events: what a story is made of, each a small frozen class.

    @event
    @dataclass(frozen=True, kw_only=True)
    class Cut(Event):
        one: str
        other: str
        group: ClassVar[Group] = Group.NETWORK

        @classmethod
        def plan(cls, draft: Draft, at_ms: int) -> Self: ...
        async def happen(self, scene: Scene) -> str: ...

An event holds everything that it needs, so a story still makes sense when others are
left out of it (`node.simulate.shrink`): one that has lost its ground does nothing.
To add an act or a fault, write such a class in a module that `node.simulate.planner`
imports.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

from node.simulate.draft import Draft
from node.simulate.scene import Scene
from protocol.errors import Misuse


class Group(StrEnum):
    """Sets of events, as `--faults` names them; acts always happen."""

    ACTS = "acts"
    NETWORK = "network"
    LOSS = "loss"
    CRASH = "crash"
    DISK = "disk"
    CLOCK = "clock"
    HOSTILE = "hostile"


@dataclass(frozen=True, kw_only=True)
class Event(ABC):
    """Something that happens.

    Attributes:
        at_ms: when, in milliseconds from the beginning of the story.
        group: which set it belongs to.
        weight: how often it is planned, beside the others of its set.
    """

    at_ms: int
    group: ClassVar[Group] = Group.ACTS
    weight: ClassVar[float] = 1.0

    @classmethod
    @abstractmethod
    def plan(cls, draft: Draft, at_ms: int) -> Event | None:
        """Return one that makes sense at this point of a draft, None if none does."""

    @abstractmethod
    async def happen(self, scene: Scene) -> str:
        """Let it happen; return in a word how it ended."""

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        return {"event": type(self).__name__, **named}

    def line(self) -> str:
        """Return it for a person."""
        named = (
            f"{f.name}={_text(getattr(self, f.name))}"
            for f in fields(self)
            if f.name != "at_ms"
        )
        words = " ".join(named)
        return f"{self.at_ms / 1000:8.3f}  {type(self).__name__:<14} {words}".rstrip()


E = TypeVar("E", bound=type[Event])

KINDS: dict[str, type[Event]] = {}
"""Every kind of event by name, in the order of definition."""


def event(kind: E) -> E:
    """Let a kind of event be planned."""
    KINDS[kind.__name__] = kind
    return kind


def read_event(document: dict[str, Any]) -> Event:
    """Return an event from its JSON.

    Raises:
        Misuse: it is none.
    """
    values = dict(document)
    kind = KINDS.get(str(values.pop("event", "")))
    if kind is None:
        raise Misuse("an event of a kind that there is not")
    known = {f.name for f in fields(kind)}
    if set(values) != known:
        raise Misuse(f"{kind.__name__} has {', '.join(sorted(known))}")
    held: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in values.items()
    }
    return kind(**held)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "-"
    return "-" if value is None else str(value)
