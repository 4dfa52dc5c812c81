# SPDX-License-Identifier: Apache-2.0
"""The directory: who holds what under a locator, told to who granted it alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import Engine

from federation.directory import MAX_ENTRIES, Directory
from protocol.canonical import unb64url
from protocol.ids import CityId, DatasetTypeName, NodeId
from protocol.location import LocationGrant
from protocol.pseudonym import locator
from tests.federation.store import bytes_of

HOSHINO = CityId("hoshino")
HALL, BANK = NodeId("hoshino/hall"), NodeId("minato/bank")
CLINIC, MARKET = NodeId("hoshino/clinic"), NodeId("hoshino/market")
CHECKUP, RECEIPT = (
    DatasetTypeName(name) for name in ("health.checkup", "shop.receipt")
)
RESIDENT, OTHER = (locator(bytes([n]) * 32, HOSHINO) for n in (1, 2))
ENDS = 1_000


@pytest.fixture
def directory() -> Directory:
    """Return hoshino's directory."""
    return Directory(city=HOSHINO, index_key=b"i" * 32)


def grant(
    *,
    holder: NodeId = CLINIC,
    home: NodeId = HALL,
    city: str = "hoshino",
    who: str = RESIDENT,
    ends: int = ENDS,
) -> LocationGrant:
    """Return a home node's leave to register, already verified."""
    return LocationGrant(
        iss=home, aud=city, jti="grant", iat=0, exp=ends, holder=holder, locator=who
    )


class Desk:
    """A directory over an open database, in short words."""

    def __init__(self, directory: Directory, engine: Engine) -> None:
        """Take both."""
        self.directory = directory
        self.engine = engine

    def register(
        self,
        given: LocationGrant,
        *types: DatasetTypeName,
        node: NodeId = CLINIC,
        now: int = 0,
    ) -> str:
        """Register; return why not, empty if it was done."""
        with self.engine.begin() as connection:
            mismatch = self.directory.register(
                connection, grant=given, node=node, dataset_types=types, now=now
            )
        return "" if mismatch is None else mismatch.detail

    def look_up(
        self, who: str = RESIDENT, *, home: NodeId = HALL, now: int = 0
    ) -> list[tuple[NodeId, DatasetTypeName]]:
        """Return what the directory tells a home node."""
        with self.engine.connect() as connection:
            found = self.directory.look_up(connection, locator=who, home=home, now=now)
        return [(entry.node, entry.dataset_type) for entry in found]


@pytest.fixture
def desk(directory: Directory, engine: Engine) -> Desk:
    """Return the directory at work."""
    return Desk(directory, engine)


def test_home_node_finds_what_was_registered(desk: Desk) -> None:
    """The main job, sorted by holder and type."""
    assert desk.register(grant(holder=MARKET), RECEIPT, node=MARKET) == ""
    assert desk.register(grant(), RECEIPT, CHECKUP, CHECKUP) == ""
    assert desk.look_up() == [
        (CLINIC, CHECKUP),
        (CLINIC, RECEIPT),
        (MARKET, RECEIPT),
    ]


@pytest.mark.parametrize(
    "given",
    [grant(city="minato"), grant(holder=MARKET)],
    ids=["another city", "another holder"],
)
def test_grant_for_somebody_else_is_refused(desk: Desk, given: LocationGrant) -> None:
    """Stolen grant: it names where and who."""
    assert desk.register(given, CHECKUP) != ""
    assert desk.look_up() == []


def test_other_home_node_sees_nothing(desk: Desk) -> None:
    """Probing: a registered locator looks like one that nobody has."""
    desk.register(grant(), CHECKUP)
    assert desk.look_up(home=BANK) == desk.look_up(OTHER) == []


def test_two_home_nodes_do_not_see_each_other_s_entries(desk: Desk) -> None:
    """A foreign grant for a known locator shows its maker its own entries alone."""
    desk.register(grant(), CHECKUP)
    desk.register(grant(home=BANK, holder=MARKET), RECEIPT, node=MARKET)
    assert desk.look_up() == [(CLINIC, CHECKUP)]
    assert desk.look_up(home=BANK) == [(MARKET, RECEIPT)]


def test_registering_again_replaces_and_nothing_removes(desk: Desk) -> None:
    """The holder says what it holds now; other holders and residents stay."""
    desk.register(grant(), CHECKUP, RECEIPT)
    desk.register(grant(who=OTHER), CHECKUP)
    desk.register(grant(holder=MARKET), RECEIPT, node=MARKET)
    desk.register(grant(), RECEIPT)
    assert desk.look_up() == [(CLINIC, RECEIPT), (MARKET, RECEIPT)]
    desk.register(grant())
    assert desk.look_up() == [(MARKET, RECEIPT)]
    assert desk.look_up(OTHER) == [(CLINIC, CHECKUP)]


def test_refused_registration_removes_nothing(desk: Desk) -> None:
    """Erasure by a forged empty registration does not work."""
    desk.register(grant(), CHECKUP)
    desk.register(grant(holder=CLINIC), node=MARKET)
    assert desk.look_up() == [(CLINIC, CHECKUP)]


def test_entries_end_with_their_grant(desk: Desk, directory: Directory) -> None:
    """Expired grant: told no more, then forgotten."""
    desk.register(grant(), CHECKUP)
    desk.register(grant(who=OTHER, ends=2 * ENDS), CHECKUP)
    assert desk.look_up(now=ENDS - 1) == [(CLINIC, CHECKUP)]
    assert desk.look_up(now=ENDS) == []
    with desk.engine.begin() as connection:
        assert directory.purge(connection, ENDS) == 1
        assert directory.purge(connection, ENDS) == 0
    assert desk.look_up(OTHER, now=ENDS) == [(CLINIC, CHECKUP)]


def test_removed_node_is_forgotten(desk: Desk, directory: Directory) -> None:
    """When the city removes a holder, nobody is sent to it."""
    desk.register(grant(), CHECKUP, RECEIPT)
    desk.register(grant(holder=MARKET), RECEIPT, node=MARKET)
    with desk.engine.begin() as connection:
        assert directory.remove_node(connection, CLINIC) == 2
    assert desk.look_up() == [(MARKET, RECEIPT)]


def test_answer_is_bounded(desk: Desk) -> None:
    """However many entries a locator has."""
    types: Sequence[DatasetTypeName] = [
        DatasetTypeName(f"many.type-{number}") for number in range(MAX_ENTRIES + 1)
    ]
    desk.register(grant(), *types)
    assert len(desk.look_up()) == MAX_ENTRIES


def test_locator_is_not_in_the_file(desk: Desk, database_file: Path) -> None:
    """Stolen disk: neither as text nor as bytes, before and after a look-up."""
    desk.register(grant(), CHECKUP)
    assert desk.look_up() == [(CLINIC, CHECKUP)]
    stored = bytes_of(database_file)
    assert b"health.checkup" in stored
    assert RESIDENT.encode() not in stored
    assert unb64url(RESIDENT) not in stored


def test_entries_survive_under_the_same_key_only(desk: Desk, engine: Engine) -> None:
    """A copied table is worth nothing without the index key."""
    desk.register(grant(), CHECKUP)
    again = Desk(Directory(city=HOSHINO, index_key=b"i" * 32), engine)
    other = Desk(Directory(city=HOSHINO, index_key=b"j" * 32), engine)
    assert again.look_up() == [(CLINIC, CHECKUP)]
    assert other.look_up() == []
