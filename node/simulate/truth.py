# SPDX-License-Identifier: Apache-2.0
"""What residents really decided, and which releases that allows: the oracle.

Written from DESIGN section 7 in plain sets and dates, and from the dataset types as
data. It shares no rule with `protocol.decision`, so that the two can disagree. Times
are the right time in milliseconds, never a node's own clock.

An act that was cut off by a crash may have happened or not. What it allows is then
possible from the attempt on; what it forbids is certain only once acknowledged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import orjson


@dataclass(frozen=True)
class Rules:
    """Bounds that every node was given.

    Attributes:
        max_age_ms: T, the greatest age of a freshness proof.
        skew_ms: how far two clocks may differ.
    """

    max_age_ms: int
    skew_ms: int


class Timeline:
    """Whether something held, over time."""

    def __init__(self) -> None:
        """It never held so far."""
        self._changes: list[tuple[int, bool]] = []

    def set(self, at_ms: int, *, holds: bool) -> None:
        """Note a change; times never go back."""
        self._changes.append((at_ms, holds))

    def take_back(self) -> None:
        """Forget the last change: it did not happen after all."""
        self._changes.pop()

    def steady(self, since_ms: int) -> bool:
        """Tell whether it has held since, without a break."""
        return self.at(since_ms) and all(
            holds for when_ms, holds in self._changes if when_ms >= since_ms
        )

    def at(self, at_ms: int) -> bool:
        """Tell whether it held at a time."""
        held = False
        for when_ms, holds in self._changes:
            if when_ms > at_ms:
                break
            held = holds
        return held

    def last_ms(self, at_ms: int) -> int | None:
        """Return the last moment, up to a time, at which it held; None if never."""
        last, held = None, False
        for when_ms, holds in self._changes:
            if when_ms > at_ms:
                break
            if held or holds:
                last = when_ms
            held = holds
        return at_ms if held else last


@dataclass
class Agreed:
    """A consent as its resident meant it.

    Attributes:
        person: whose.
        home: where it was given.
        holders, recipients: between whom.
        fields: dataset type to the fields agreed to, None for all.
        purposes: what for.
        read, push: which operations.
        hidden: the recipients must not learn the holder.
        ends_ms: when it ends by itself.
        possible: a release could be lawful.
        certain: it is in force for sure.
        ended: the resident's withdrawal was acknowledged.
        disturbed: an act upon it was cut off, so its state is not known.
    """

    person: str
    home: str
    holders: frozenset[str]
    recipients: frozenset[str]
    fields: Mapping[str, frozenset[str] | None]
    purposes: frozenset[str]
    read: bool
    push: bool
    hidden: bool
    ends_ms: int
    possible: Timeline = field(default_factory=Timeline)
    certain: Timeline = field(default_factory=Timeline)
    ended: bool = False
    disturbed: bool = False


@dataclass
class Kept:
    """A record as its holder stored it."""

    holder: str
    person: str
    name: str
    content: Mapping[str, Any]
    sure: bool = False
    erasing: bool = False
    erased_ms: int | None = None


@dataclass(frozen=True)
class Policy:
    """What a holder keeps back of one dataset type."""

    withheld: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Released:
    """A release as a ledger tells it; `at_ms` is the right time."""

    holder: str
    recipient: str
    consent: str
    name: str
    purpose: str
    fields: frozenset[str]
    records: tuple[str, ...]
    at_ms: int
    push: bool


class Truth:
    """Everything that was decided, by whom and when."""

    def __init__(self, rules: Rules, qualified: frozenset[str]) -> None:
        """Nothing was decided yet.

        Args:
            rules: bounds that every node was given.
            qualified: nodes that their city calls medical institutions.
        """
        self.rules = rules
        self.qualified = qualified
        self.consents: dict[str, Agreed] = {}
        self.attempts: list[Agreed] = []
        self.records: dict[str, Kept] = {}
        self.links: dict[tuple[str, str], bool] = {}
        self.erased: set[tuple[str, str]] = set()
        self.policies: dict[tuple[str, str], tuple[Policy, ...]] = {}
        self.skews: dict[str, tuple[int, int]] = {}
        self.distrusted: set[str] = set()

    # ------------------------------------------------------------- what happens

    def adopt(self, consent: str, holder: str, recipient: str) -> Agreed | None:
        """Return a consent, also one whose giver never heard that it was given."""
        known = self.consents.get(consent)
        if known is not None:
            return known
        for attempt in self.attempts:
            if holder in attempt.holders and recipient in attempt.recipients:
                return attempt
        return None

    def skewed(self, node: str, skew_ms: int) -> None:
        """Note how wrong a node's clock is now."""
        least, most = self.skews.get(node, (0, 0))
        self.skews[node] = (min(least, skew_ms), max(most, skew_ms))

    def policy(self, holder: str, name: str) -> tuple[Policy, ...]:
        """Return the policies that may be in force."""
        return self.policies.get((holder, name), (Policy(),))

    # -------------------------------------------------------------- what may be

    def judge(self, release: Released) -> list[str]:
        """Return what is wrong with a release; nothing if it is lawful."""
        if release.holder in self.distrusted:
            return []
        agreed = self.adopt(release.consent, release.holder, release.recipient)
        if agreed is None:
            return ["nobody consented"]
        faults = [*self._parties(release, agreed), *self._time(release, agreed)]
        beyond = release.fields - self.allowed(release, agreed)
        if beyond:
            faults.append(
                f"fields beyond the intersection: {', '.join(sorted(beyond))}"
            )
        faults += [f for r in release.records for f in self._record(release, agreed, r)]
        return faults

    def bound_ms(self, home: str, holder: str) -> int:
        """Return how long after a withdrawal releases may go on.

        Clocks that differ by more than nodes allow lengthen it by the rest: a clock
        that is an hour behind takes a proof of an hour ago for fresh.
        """
        ahead = self.skews.get(home, (0, 0))[1] - self.skews.get(holder, (0, 0))[0]
        allowed = self.rules.skew_ms
        return self.rules.max_age_ms + allowed + max(0, ahead - allowed)

    def _parties(self, release: Released, agreed: Agreed) -> list[str]:
        needs = _types()[release.name]["qualifications"]
        wrong = {
            "the holder is not named": release.holder not in agreed.holders,
            "the recipient is not named": release.recipient not in agreed.recipients,
            "the dataset type was not agreed to": release.name not in agreed.fields,
            "the purpose was not agreed to": release.purpose not in agreed.purposes,
            "the operation was not agreed to": not (
                agreed.push if release.push else agreed.read
            ),
            "the recipient lacks the qualification": bool(needs)
            and release.recipient not in self.qualified,
            "the resident never linked the holder": (agreed.person, release.holder)
            not in self.links,
            "the holder refuses this recipient": all(
                release.recipient in policy.refused
                for policy in self.policy(release.holder, release.name)
            ),
        }
        return [fault for fault, is_wrong in wrong.items() if is_wrong]

    def _time(self, release: Released, agreed: Agreed) -> list[str]:
        last_ms = agreed.possible.last_ms(release.at_ms)
        if last_ms is None:
            return ["released before the resident consented"]
        faults = []
        late_ms = release.at_ms - last_ms
        if late_ms > self.bound_ms(agreed.home, release.holder):
            faults.append(f"released {late_ms} ms after the resident stopped it")
        behind_ms = -self.skews.get(release.holder, (0, 0))[0]
        if release.at_ms > agreed.ends_ms + behind_ms + 1000:
            faults.append("released after the consent had ended")
        return faults

    def allowed(self, release: Released, agreed: Agreed) -> frozenset[str]:
        """Return the fields that may leave at most."""
        dataset = _types()[release.name]
        purpose = dataset["purposes"].get(release.purpose)
        allowed = frozenset(() if purpose is None else purpose["fields"])
        consented = agreed.fields.get(release.name, frozenset())
        if consented is not None:
            allowed &= consented
        if agreed.hidden:
            allowed -= frozenset(dataset["holder_fields"])
        kept_back = [p.withheld for p in self.policy(release.holder, release.name)]
        return allowed - frozenset.intersection(*kept_back)

    def _record(self, release: Released, agreed: Agreed, record: str) -> list[str]:
        kept = self.records.get(record)
        if kept is None:
            place = (release.holder, agreed.person, release.name)
            return [] if self._unsure(place) else ["a record that nobody stored"]
        if (kept.holder, kept.person) != (release.holder, agreed.person):
            return ["a record of somebody else"]
        if kept.name != release.name:
            return ["a record of another type"]
        if kept.erased_ms is not None and release.at_ms > kept.erased_ms:
            return ["a record that was erased"]
        return []

    def _unsure(self, place: tuple[str, str, str]) -> bool:
        """Tell whether a record may be there whose id we were never told."""
        return any(
            not kept.sure and (kept.holder, kept.person, kept.name) == place
            for kept in self.records.values()
        )

    def stored_as(self, agreed: Agreed, name: str, content: Mapping[str, Any]) -> bool:
        """Tell whether what arrived is, field by field, what a holder stored."""
        return any(
            kept.person == agreed.person
            and kept.name == name
            and kept.holder in agreed.holders
            and all(kept.content.get(member) == content[member] for member in content)
            for kept in self.records.values()
        )

    def expected(self, agreed: Agreed, holder: str, name: str) -> frozenset[str] | None:
        """Return the records that a full read must bring; None if that is not known."""
        kept = {
            record: kept
            for record, kept in self.records.items()
            if (kept.holder, kept.person, kept.name) == (holder, agreed.person, name)
        }
        if any(not k.sure or k.erasing for k in kept.values()):
            return None
        return frozenset(kept)


@cache
def _types() -> dict[str, Any]:
    """Read the dataset types that come with the product, as data."""
    folder = files("vault").joinpath("catalog")
    documents = (
        orjson.loads(found.read_bytes())
        for found in folder.iterdir()
        if found.name.endswith(".json")
    )
    return {document["name"]: document for document in documents}


def needed(name: str, purpose: str) -> tuple[str, ...]:
    """Return the fields that a purpose needs of a dataset type."""
    return tuple(_types()[name]["purposes"][purpose]["fields"])


def purposes(name: str) -> tuple[str, ...]:
    """Return the purposes that a dataset type knows."""
    return tuple(_types()[name]["purposes"])


def every_field(name: str) -> tuple[str, ...]:
    """Return all fields of a dataset type."""
    return tuple(_types()[name]["schema"]["properties"])
