# SPDX-License-Identifier: Apache-2.0
"""What each party spends its processor time on, by phase, in one read.

The parties run in this process (`copies`), one read at a time. A first pass takes each
party's processor time with a clock at its borders; a second one runs each party under
a profiler of its own, whose shares by phase are applied to the first pass's totals, so
that the profiler's own cost does not count. Links, HTTP and the wait for the disk
are not in it: they are in the figures of the processes.
"""

from __future__ import annotations

import cProfile
import pstats
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from federation.exchange import Answer
from node.reader import ReadRequest
from protocol.ids import DatasetTypeName, PurposeName
from tests.bench.copies import Copies, copies
from tests.bench.world import CHECKUP, REQUESTER, World

READS = 200
OTHER = "other"
_PHASES: tuple[tuple[str, tuple[str, ...]], ...] = (
    # The first that names the function, or its module, decides.
    ("verify", ("suites.py:verify", "signature.py:check", "identity/trust.py")),
    ("verify", ("node/warrants.py", "envelope.py:verify", "node/proofs.py")),
    ("sign", ("suites.py:sign", "signature.py:sign", "signature.py:_protected")),
    ("seal", ("sealed.py:seal", "sealed.py:_answer_keys", "envelope.py:seal")),
    ("open", ("sealed.py:open", "envelope.py:open", "vault/sealed_record.py")),
    ("parse", ("protocol/canonical.py", "protocol/model.py", "protocol/ids.py")),
    ("parse", ("signature.py", "envelope.py", "protocol/hop.py")),
    ("decide", ("protocol/decision.py", "protocol/consent.py", "vault/release.py")),
    ("decide", ("federation/broker.py", "federation/routing.py")),
    ("log", ("vault/provisions.py", "protocol/provision.py")),
    ("write", ("node/database.py", "transaction.py:run", "transaction.py:_run")),
    ("read", ("vault/queries.py", "vault/subjects.py", "vault/statements.py")),
    ("read", ("transaction.py:on_snapshot", "vault/keyring.py", "vault/ledger.py")),
)
NAMES = (*dict(_PHASES), OTHER)

COST_MODEL: dict[str, dict[str, float]] = {
    "requester": {
        "verify": 60,
        "sign": 33,
        "seal": 2,
        "open": 2,
        "parse": 5,
        "write": 25,
        "read": 11,
    },
    "broker": {"parse": 5, "decide": 2},
    "holder": {
        "verify": 62,
        "sign": 35,
        "seal": 2,
        "open": 2,
        "parse": 5,
        "decide": 2,
        "write": 25,
        "read": 11,
    },
}
"""What the parts of each role cost by themselves at reference pace, in the leanest form
that was measured: PyNaCl for Ed25519, a kept session key, messages parsed into structs,
one insert in a group, one point read."""


class Clock:
    """Adds up this thread's processor time by who is at work."""

    def __init__(self) -> None:
        """Start with nobody at work."""
        self.spent: defaultdict[str, float] = defaultdict(float)
        self._at = ("", 0.0)

    @contextmanager
    def within(self, node: str) -> Iterator[None]:
        """Count for `node` until left, then again for who was at work before."""
        before = self._turn(node)
        try:
            yield
        finally:
            self._turn(before)

    def _turn(self, node: str) -> str:
        now = time.thread_time()
        before, since = self._at
        self.spent[before] += now - since
        self._at = node, now
        return before


class Profilers:
    """Profiles each party apart from the others."""

    def __init__(self) -> None:
        """Start with nobody at work."""
        # Of this thread's processor time: waiting for the disk does not count.
        self.of: defaultdict[str, cProfile.Profile] = defaultdict(
            lambda: cProfile.Profile(time.thread_time)
        )
        self._at = ""

    @contextmanager
    def within(self, node: str) -> Iterator[None]:
        """Profile `node` until left, then again who was at work before."""
        before = self._turn(node)
        try:
            yield
        finally:
            self._turn(before)

    def _turn(self, node: str) -> str:
        before, self._at = self._at, node
        if before:
            self.of[before].disable()
        if node:
            self.of[node].enable()
        return before


async def measure(world: World) -> dict[str, dict[str, float]]:
    """Return microseconds by party and phase; the world has to be stopped."""
    async with copies(world) as parties:
        await _read(world, parties, Clock())  # fills what is kept between reads
        clock, profilers = Clock(), Profilers()
        await _read(world, parties, clock)
        await _read(world, parties, profilers)
    measured = {}
    for node, profile in profilers.of.items():
        shares = _shares(profile)
        total = 1e6 * clock.spent[node] / READS
        measured[node] = {name: total * shares[name] for name in NAMES}
    return measured


async def _read(world: World, parties: Copies, meter: Clock | Profilers) -> None:
    wish = ReadRequest(
        DatasetTypeName(CHECKUP), PurposeName("treatment"), consent=world.consent
    )
    for link in parties.links.values():
        link.within = meter.within
    for _ in range(READS):
        with meter.within(REQUESTER):
            answers = await parties.requester.reader.read(wish)
        if not all(isinstance(answer.outcome, Answer) for answer in answers):
            raise RuntimeError("a read did not succeed")


# ------------------------------------------------------------------------- shares

Function = tuple[str, int, str]


def _shares(profile: cProfile.Profile) -> defaultdict[str, float]:
    """Return each phase's part of the time, all parts together 1.

    A function that no phase names (a library's, a built-in) counts for those that
    call it, each by how long it ran for that one.
    """
    stats: dict[Function, tuple[Any, ...]] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    shares: defaultdict[str, float] = defaultdict(float)
    phase_of = _attribution(stats)
    total = sum(entry[2] for entry in stats.values())
    for function, entry in stats.items():
        for phase, part in phase_of(function).items():
            shares[phase] += part * entry[2] / total
    return shares


def _attribution(
    stats: dict[Function, tuple[Any, ...]],
) -> Callable[[Function], dict[str, float]]:
    under_way: set[Function] = set()

    @cache
    def phase_of(function: Function) -> dict[str, float]:
        named = _named(function)
        callers = stats[function][4] if function in stats else {}
        total = sum(entry[3] for entry in callers.values())
        if named or not total or function in under_way:
            return {named or OTHER: 1.0}
        under_way.add(function)
        parts: defaultdict[str, float] = defaultdict(float)
        for caller, entry in callers.items():
            for phase, part in phase_of(caller).items():
                parts[phase] += part * entry[3] / total
        under_way.discard(function)
        return dict(parts)

    return phase_of


def _named(function: Function) -> str | None:
    file, _, name = function
    where = f"{file}:{name}"
    for phase, fragments in _PHASES:
        if any(fragment in where for fragment in fragments):
            return phase
    return None
