# SPDX-License-Identifier: Apache-2.0
"""What is due is deleted, and nothing else."""

from __future__ import annotations

from protocol.decision import HolderPolicy
from protocol.ids import DatasetTypeName
from tests.vault.world import (
    NOW,
    NOW_MS,
    World,
    provision,
    push,
    wire,
    write_history,
)
from vault.intake import DAY_S
from vault.retention import Purged
from vault.tables import records

CHECKUP_NAME = DatasetTypeName("health.checkup")


def test_received_record_goes_when_its_retention_ends(world: World) -> None:
    """The consent said how long; a second earlier it is still there."""
    world.store(world.person(), {})
    push(world, world.person(), wire(), days=30)
    end, purge = NOW + 30 * DAY_S, world.vault.retention.purge
    assert world.write(lambda c: purge(c, end - 1)) == Purged(0, 0, 0)
    assert world.write(lambda c: purge(c, end)) == Purged(1, 0, 0)
    assert len(world.rows(records)) == 1


def test_own_records_go_by_the_rule_of_their_type(world: World) -> None:
    """Counted from the record's own time; without a rule they stay."""
    world.store(world.person(), {"date": "2020-01-01"})
    kept = world.store(world.person(), {"date": "2025-04-01"}).record
    types = world.vault.types
    assert world.write(lambda c: world.vault.retention.purge(c, NOW)).own == 0
    world.write(
        lambda c: types.set_policy(
            c, CHECKUP_NAME, HolderPolicy(), NOW_MS, retention_days=365
        )
    )
    world.read(types.load)
    assert world.write(lambda c: world.vault.retention.purge(c, NOW)).own == 1
    assert [row["id"] for row in world.rows(records)] == [kept[-36:]]


def test_provision_records_are_kept_for_the_legal_period(world: World) -> None:
    """Three years after APPI articles 29 and 30."""
    write_history(world, world.person(), provision(0))
    purge = world.vault.retention.purge
    third_year = NOW + 3 * 365 * DAY_S
    assert world.write(lambda c: purge(c, third_year)).provisions == 0
    assert world.write(lambda c: purge(c, third_year + 4 * DAY_S)).provisions == 1
