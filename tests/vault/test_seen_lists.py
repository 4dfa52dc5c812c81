# SPDX-License-Identifier: Apache-2.0
"""The holder judges by the newest status list that it was shown."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select

from protocol.status import Status, StatusList, pack
from tests.vault.world import HALL, NOW, World
from vault.tables import seen_lists


def shown(epoch: int, **changes: Any) -> StatusList:
    """Return a verified list."""
    values: dict[str, Any] = {
        "iss": HALL,
        "aud": "machikura",
        "jti": f"list {epoch}",
        "iat": NOW,
        "exp": NOW + 60,
        "list": 0,
        "epoch": epoch,
        "lst": pack({5: Status(epoch % 2)}),
    }
    return StatusList(**{**values, **changes})


def judge(world: World, one: StatusList, now: int = NOW) -> int:
    """Return the epoch by which a list is judged, and write that down."""
    lists = world.vault.lists
    judged = lists.newest(one, now)
    if not lists.is_saved(judged):
        world.write(lambda c: lists.save(c, judged))
        lists.saved(judged)
    return judged.epoch


def test_older_list_is_not_judged_by_after_a_newer_one(world: World) -> None:
    """Rollback: also after a restart, and with its bits."""
    assert [judge(world, shown(e)) for e in (7, 9, 8)] == [7, 9, 9]
    world.restart()
    judged = world.vault.lists.newest(shown(8), NOW)
    assert (judged.epoch, judged.status(5)) == (9, Status.WITHDRAWN)


def test_lists_of_others_have_nothing_to_do_with_it(world: World) -> None:
    """One order for each home node and block."""
    judge(world, shown(9))
    assert judge(world, shown(1, list=1)) == 1
    assert judge(world, shown(2, iss="minato/hall")) == 2


def test_list_that_is_over_makes_room_for_a_lower_number(world: World) -> None:
    """A home node restored from a backup is not locked out for good."""
    judge(world, shown(9))
    later = {"iat": NOW + 60, "exp": NOW + 120}
    assert judge(world, shown(3, **later), NOW + 59) == 9
    assert judge(world, shown(3, **later), NOW + 60) == 3


def test_list_is_written_once(world: World) -> None:
    """A read by a known list costs one look into memory."""
    lists = world.vault.lists
    judge(world, shown(9))
    assert lists.is_saved(shown(8))
    assert not lists.is_saved(shown(10))
    world.restart()
    assert world.vault.lists.is_saved(shown(9))


def test_list_that_is_over_is_forgotten(world: World) -> None:
    """The table holds the lists of one T."""
    judge(world, shown(9))
    world.write(lambda c: world.vault.lists.forget(c, NOW + 60))
    count = select(func.count()).select_from(seen_lists)
    assert world.read(lambda c: c.execute(count).scalar_one()) == 0
