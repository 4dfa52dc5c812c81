# SPDX-License-Identifier: Apache-2.0
"""Messages that were carried out: once each, by sender, for a bounded time."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from federation import taken
from protocol.errors import Malformed
from protocol.ids import NodeId

CLINIC, MARKET = NodeId("hoshino/clinic"), NodeId("hoshino/market")
NOW_MS, LATER_MS = 1_000_000, 2_000_000


def _take(engine: Engine, sender: NodeId, until_ms: int = LATER_MS) -> bool:
    with engine.begin() as connection:
        return taken.take(connection, sender, "m", until_ms=until_ms, now_ms=NOW_MS)


def test_message_is_carried_out_once(engine: Engine) -> None:
    """Also by another process on the same database."""
    assert _take(engine, CLINIC)
    assert not _take(engine, CLINIC)


def test_id_belongs_to_its_sender(engine: Engine) -> None:
    """Nobody can use up, or ask about, the id of another's message."""
    assert _take(engine, CLINIC)
    with engine.connect() as connection:
        assert not taken.is_taken(connection, MARKET, "m")
    assert _take(engine, MARKET)


def test_id_is_forgotten_when_its_sender_has_given_up(engine: Engine) -> None:
    """Not before: until then it may come again."""
    _take(engine, CLINIC)
    for before_ms, forgotten in ((LATER_MS, 0), (LATER_MS + 1, 1)):
        with engine.begin() as connection:
            assert taken.forget(connection, before_ms) == forgotten


def test_message_for_ever_is_refused(engine: Engine) -> None:
    """A hostile sender cannot make us remember its ids for centuries."""
    with pytest.raises(Malformed):
        _take(engine, CLINIC, NOW_MS + taken.MAX_LIFE_MS + 1)
