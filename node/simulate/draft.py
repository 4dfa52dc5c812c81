# SPDX-License-Identifier: Apache-2.0
"""A story while it is being planned: chance, the cast, and what was planned before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from federation.virtual import SeededEntropy
from node.simulate.cast import Cast, Person

T = TypeVar("T")


@dataclass(frozen=True)
class Planned:
    """A consent that an earlier event gives."""

    key: str
    at_ms: int
    resident: str
    holders: tuple[str, ...]
    recipients: tuple[str, ...]
    name: str
    purposes: tuple[str, ...]
    push: bool
    hidden: bool


@dataclass
class Draft:
    """What the planning of one story remembers.

    Attributes:
        cast: who takes part.
        seconds: length of the story.
        chance: decides everything.
        villain: the node in hostile hands; empty without.
        links: who keeps records of whom, as far as planned.
        consents: given so far.
        ending: keys of consents that an event ends or pauses.
    """

    cast: Cast
    seconds: int
    chance: SeededEntropy
    villain: str = ""
    people: dict[str, Person] = field(default_factory=dict)
    links: dict[str, list[str]] = field(default_factory=dict)
    consents: list[Planned] = field(default_factory=list)
    ending: list[str] = field(default_factory=list)
    numbers: int = 0

    def __post_init__(self) -> None:
        for person in self.cast.residents:
            self.people[person.name] = person
            self.links[person.name] = list(self.cast.first_holders(person))

    def number(self) -> int:
        """Return a number that no other event of the story has."""
        self.numbers += 1
        return self.numbers

    def below(self, size: int) -> int:
        """Return a number from 0 to `size` - 1."""
        return int(self.chance.chance() * size)

    def pick(self, among: Sequence[T]) -> T:
        """Return one of several."""
        return among[self.below(len(among))]

    def some(self, among: Sequence[T], most: int) -> tuple[T, ...]:
        """Return one or more of several, in their order, each once."""
        left = list(range(len(among)))
        count = 1 + self.below(min(most, len(left)))
        chosen = sorted(left.pop(self.below(len(left))) for _ in range(count))
        return tuple(among[place] for place in chosen)

    def often(self, chance: float) -> bool:
        """Return True that often."""
        return self.chance.chance() < chance

    def between(self, low: float, high: float) -> float:
        """Return a number between two."""
        return self.chance.between(low, high)

    def consent(self) -> Planned | None:
        """Return a consent given before, rather a recent one or one that ends."""
        if not self.consents:
            return None
        if self.ending and self.often(0.4):
            key = self.pick(self.ending[-6:])
            return next(one for one in self.consents if one.key == key)
        return self.pick(self.consents[-12:])
