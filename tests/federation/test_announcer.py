# SPDX-License-Identifier: Apache-2.0
"""What a broker tells its neighbors: no more than agreed, and taken back when over."""

from __future__ import annotations

from itertools import pairwise

import pytest

from federation.notice import MAX_NOTICE_BYTES, Notice
from protocol.canonical import canonical
from protocol.errors import ProtocolViolation
from protocol.ids import CityId
from protocol.route import MAX_PATH, ROUTE, Announcement, verify_announcement
from protocol.signature import MAX_TOKEN_BYTES, Received, Signed, sign, sign_bytes
from protocol.suites import Suite
from tests.federation.world import EVERYTHING, SKEW_S, City, World

NO_TRANSIT = EVERYTHING.model_copy(update={"transit": False})
Row = tuple[City, City, City]


@pytest.fixture
def row(world: World) -> Row:
    """Return three settled cities in a row."""
    hoshino, minato, yamanami = world.chain("hoshino", "minato", "yamanami")
    return hoshino, minato, yamanami


def news(teller: City, listener: City) -> list[str]:
    """Return what one city has to tell another now, in short words."""
    found = []
    for data in teller.broker.announcer.for_neighbor(listener.id):
        assert len(data) <= MAX_NOTICE_BYTES
        notice = Notice.decode(data, MAX_NOTICE_BYTES)
        if notice.token is None:
            found.append(f"{notice.kind} {notice.origin}")
        else:
            path = Received.parse(notice.token, ROUTE).peek(Announcement).path
            found.append(f"{notice.kind} {' '.join(path)}")
    return found


def afresh(teller: City, listener: City) -> list[str]:
    """Return what one city tells another after a new link came up."""
    teller.broker.announcer.forget(listener.id)
    return news(teller, listener)


def test_neighbor_is_told_of_us_and_of_what_we_reach(row: Row) -> None:
    """Once: afterwards there is no news."""
    hoshino, minato, _ = row
    assert afresh(minato, hoshino) == ["route minato", "route minato yamanami"]
    assert news(minato, hoshino) == []


def test_nobody_is_told_its_own_way_back(row: Row) -> None:
    """What leads to or through the listener is left out."""
    hoshino, minato, _ = row
    assert afresh(hoshino, minato) == ["route hoshino"]


def test_without_agreement_nothing_is_told(row: Row) -> None:
    """A link alone is no trust."""
    _, minato, _ = row
    stranger = minato.world.city("kyoto")
    assert news(minato, stranger) == []


def test_agreement_that_ends_takes_everything_back(row: Row) -> None:
    """The neighbor must not keep what it was told under it."""
    hoshino, minato, _ = row
    del minato.world.agreements[frozenset((hoshino.id, minato.id))]
    assert news(minato, hoshino) == ["withdraw minato", "withdraw yamanami"]
    assert news(minato, hoshino) == []


def test_transit_that_ends_takes_back_what_is_behind(row: Row) -> None:
    """The neighbor itself stays reachable."""
    hoshino, minato, _ = row
    minato.world.agree(hoshino, minato, a_to_b=NO_TRANSIT)
    assert news(minato, hoshino) == ["route minato", "withdraw yamanami"]


def test_transit_is_the_listener_s_right(row: Row) -> None:
    """What we may do in their city does not let them through ours."""
    hoshino, minato, _ = row
    minato.world.agree(hoshino, minato, b_to_a=NO_TRANSIT)
    assert afresh(minato, hoshino) == ["route minato", "route minato yamanami"]


def test_lost_route_is_taken_back(row: Row) -> None:
    """After the link behind us is gone."""
    hoshino, minato, yamanami = row
    minato.world.cut(minato, yamanami)
    assert news(minato, hoshino) == ["withdraw yamanami"]


def test_announcements_are_renewed_every_hour(row: Row) -> None:
    """So relays that lose their authority have nearly a whole day before them."""
    hoshino, minato, _ = row
    minato.world.clock.move(3_595_000)
    assert news(minato, hoshino) == []
    minato.world.clock.move(5_001)
    assert news(minato, hoshino) == ["route minato", "route minato yamanami"]


def test_changed_path_is_told(world: World) -> None:
    """When the best way to a city becomes another one."""
    hoshino, minato, yamanami = world.chain("hoshino", "minato", "yamanami")
    nabari = world.city("nabari")
    world.join(minato, nabari)
    world.join(nabari, yamanami)
    world.settle()
    world.cut(minato, yamanami)
    assert news(minato, hoshino) == ["route minato nabari yamanami"]


def test_announcement_counts_for_its_listener_only(row: Row) -> None:
    """Stolen announcement: what minato told hoshino, yamanami does not accept."""
    hoshino, minato, yamanami = row
    minato.broker.announcer.forget(hoshino.id)
    (own, _) = minato.broker.announcer.for_neighbor(hoshino.id)
    token = Notice.decode(own, MAX_NOTICE_BYTES).token
    assert token is not None
    now = minato.world.clock.now
    key = minato.operating.public
    verified = verify_announcement(token, minato.id, key, hoshino.id, now, SKEW_S)
    assert verified.body.path == ("minato",)
    with pytest.raises(ProtocolViolation):
        verify_announcement(token, minato.id, key, yamanami.id, now, SKEW_S)


@pytest.mark.parametrize("suite", list(Suite))
def test_longest_path_fits_into_an_announcement(suite: Suite) -> None:
    """As many cities as a path may have, in either suite; the next one is not told."""
    world = World(suite=suite)
    cities = world.chain(*[f"city-{number}" for number in range(MAX_PATH + 2)])
    far = [len(city.broker.routes.ways(cities[-1].id)) for city in cities]
    assert far == [0, *[1] * MAX_PATH, 0]


def bloated(teller: City, listener: City, origin: City) -> Signed[Announcement]:
    """Return a valid announcement that is nearly as large as one may be."""
    honest = Announcement(
        iss=teller.id,
        aud=listener.id,
        jti="large",
        iat=teller.world.clock.now + 1,
        exp=teller.world.clock.now + 600,
        origin=teller.id,
        path=(teller.id,),
        sequence=2**52,
        keys=origin.broker.keys(),
    )
    claims = honest.model_dump(mode="json", exclude_none=True)
    payload = canonical({**claims, "padding": "x" * 180_000})
    token = sign_bytes(teller.operating, ROUTE, payload)
    assert len(token) < MAX_TOKEN_BYTES
    return verify_announcement(
        token,
        teller.id,
        teller.operating.public,
        listener.id,
        teller.world.clock.now + 1,
        SKEW_S,
    )


def test_bloated_announcement_does_not_silence_us(row: Row) -> None:
    """A neighbor pads its word so that ours around it would be too large.

    What can no longer be told is taken back; everything else is told as before.
    """
    hoshino, minato, yamanami = row
    assert minato.broker.routes.learn(yamanami.id, bloated(yamanami, minato, yamanami))
    assert news(minato, hoshino) == ["withdraw yamanami"]
    assert news(minato, hoshino) == []
    assert afresh(minato, hoshino) == ["route minato"]


def test_route_is_not_told_before_its_neighbor_has_shown_its_keys(row: Row) -> None:
    """We vouch for the next city by what it told us itself."""
    hoshino, minato, yamanami = row
    routes = minato.broker.routes
    kyoto = CityId("kyoto")
    body = Announcement(
        iss=yamanami.id,
        aud=minato.id,
        jti="x",
        iat=0,
        exp=2**40,
        origin=kyoto,
        path=(yamanami.id, kyoto),
        sequence=1,
        keys=yamanami.broker.keys(),
    )
    routes.learn(yamanami.id, sign(yamanami.operating, ROUTE, body))
    assert news(minato, hoshino) == ["route minato yamanami kyoto"]
    routes.withdraw(yamanami.id, yamanami.id)
    assert "route minato yamanami kyoto" not in afresh(minato, hoshino)


def test_neighbors_are_remembered_apart(world: World) -> None:
    """What one was told says nothing about another."""
    names = ("hoshino", "minato", "yamanami")
    hoshino, minato, yamanami = (world.city(name) for name in names)
    for one, other in pairwise((hoshino, minato, yamanami)):
        world.join(one, other)
    assert news(minato, hoshino) == ["route minato"]
    assert news(minato, yamanami) == ["route minato"]
