# SPDX-License-Identifier: Apache-2.0
"""Waits at a broker: bounded by requester, by city, by holder, and in time."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from federation.waits import KeptWait, WaitLimits, Waits
from protocol.ids import NodeId

CLINIC, MARKET = NodeId("hoshino/clinic"), NodeId("hoshino/market")
FAR, FAR_TOO = NodeId("yamanami/clinic"), NodeId("yamanami/bosai")
NEAR = NodeId("minato/clinic")
NOW_MS = 1_000_000
END_MS = NOW_MS + 3_600_000


def _keep(
    engine: Engine,
    waits: Waits,
    wait: str,
    requester: NodeId = FAR,
    holder: NodeId = CLINIC,
    until_ms: int = END_MS,
) -> bool:
    with engine.begin() as connection:
        return waits.keep(
            connection,
            requester=requester,
            wait=wait,
            holder=holder,
            until_ms=until_ms,
            now_ms=NOW_MS,
        )


def _take(engine: Engine, waits: Waits, holder: NodeId, now_ms: int = NOW_MS) -> int:
    with engine.begin() as connection:
        return len(waits.take(connection, holder, now_ms, 100))


@pytest.mark.parametrize(
    ("limits", "requester", "holder"),
    [
        (WaitLimits(per_requester=2), FAR_TOO, CLINIC),
        (WaitLimits(per_city=2), NEAR, CLINIC),
        (WaitLimits(per_holder=2), FAR, MARKET),
    ],
    ids=["requester", "city", "holder"],
)
def test_one_party_cannot_use_up_the_room_of_others(
    engine: Engine, limits: WaitLimits, requester: NodeId, holder: NodeId
) -> None:
    """A flood of waits ends at its own bound."""
    waits = Waits(limits)
    assert [_keep(engine, waits, str(n)) for n in range(3)] == [True, True, False]
    assert _keep(engine, waits, "other", requester, holder)


def test_repeated_wait_is_kept_once(engine: Engine) -> None:
    """Each attempt of a read names the same; it takes no further room."""
    waits = Waits(WaitLimits(per_requester=1))
    assert _keep(engine, waits, "a")
    assert _keep(engine, waits, "a")
    assert _take(engine, waits, CLINIC) == 1


def test_each_wait_is_told_once(engine: Engine) -> None:
    """Moved out in one transaction; those for other holders stay."""
    waits = Waits()
    _keep(engine, waits, "a")
    _keep(engine, waits, "b", holder=MARKET)
    with engine.begin() as connection:
        assert waits.take(connection, CLINIC, NOW_MS, 100) == [
            KeptWait(FAR, "a", END_MS)
        ]
        assert not waits.any_for(connection, CLINIC)
        assert waits.any_for(connection, MARKET)


def test_wait_ends_when_its_requester_said(engine: Engine) -> None:
    """Nobody is told after that, and the row goes."""
    waits = Waits()
    _keep(engine, waits, "a")
    _keep(engine, waits, "b", until_ms=END_MS + 1)
    with engine.begin() as connection:
        assert waits.forget(connection, END_MS) == 1
    assert _take(engine, waits, CLINIC, END_MS + 1) == 0
    assert not _keep(engine, waits, "c", until_ms=NOW_MS)


def test_wait_for_ever_is_brought_forward(engine: Engine) -> None:
    """A requester cannot make a broker remember it for years."""
    waits = Waits(WaitLimits(longest_ms=1_000))
    assert _keep(engine, waits, "a", until_ms=1 << 50)
    assert _take(engine, waits, CLINIC, NOW_MS + 1_000) == 0
