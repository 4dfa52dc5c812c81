# SPDX-License-Identifier: Apache-2.0
"""Routes: every city that agreements let us reach is reached, and no other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.relay import check_agreements
from federation.routing import Reason, RoutePolicy, RouteTable
from protocol.ids import CityId, DatasetTypeName
from protocol.route import MAX_PATH, ROUTE, Announcement
from protocol.signature import Signed, sign
from protocol.suites import Suite
from tests.federation.forged import sealed
from tests.federation.world import ABOUT, CHECKUP, EVERYTHING, TREATMENT, City, World

HOSHINO, MINATO, NABARI, YAMANAMI, IZUMI = (
    CityId(name) for name in ("hoshino", "minato", "nabari", "yamanami", "izumi")
)
NAMES = ("hoshino", "minato", "nabari", "yamanami", "izumi", "sakae")
LONG_WAY = tuple(CityId(f"city-{number}") for number in range(1, MAX_PATH))
NO_TRANSIT = EVERYTHING.model_copy(update={"transit": False})


@pytest.fixture
def table() -> RouteTable:
    """Return hoshino's empty table."""
    return RouteTable(HOSHINO)


@pytest.fixture(scope="module")
def someone() -> City:
    """Return a city whose keys stand in for everybody's."""
    return World(seed="routes").city("anywhere")


def told(
    someone: City, *path: CityId, sequence: int = 1, iat: int = 1, exp: int = 600
) -> Signed[Announcement]:
    """Return what the first city of `path` tells hoshino about the last."""
    body = Announcement(
        iss=path[0],
        aud=HOSHINO,
        jti="made-up",
        iat=iat,
        exp=exp,
        origin=path[-1],
        path=path,
        sequence=sequence,
        keys=someone.broker.keys(),
    )
    return sign(someone.operating, ROUTE, body)


def best_path(table: RouteTable, origin: CityId) -> tuple[CityId, ...]:
    """Return the best path; empty without one."""
    route = table.best(origin)
    return () if route is None else route.path


# ------------------------------------------------------------------------- the table


def test_shortest_path_is_best(table: RouteTable, someone: City) -> None:
    """Then the neighbor's name, so that all processes of a city choose alike."""
    table.learn(NABARI, told(someone, NABARI, YAMANAMI))
    table.learn(MINATO, told(someone, MINATO, NABARI, YAMANAMI))
    assert best_path(table, YAMANAMI) == (NABARI, YAMANAMI)
    table.learn(MINATO, told(someone, MINATO, YAMANAMI, sequence=2))
    assert best_path(table, YAMANAMI) == (MINATO, YAMANAMI)
    assert [way.neighbor for way in table.ways(YAMANAMI)] == [MINATO, NABARI]


def test_path_through_ourselves_is_not_learned(
    table: RouteTable, someone: City
) -> None:
    """Loop: what leads back to us is no way."""
    assert not table.learn(MINATO, told(someone, MINATO, HOSHINO, YAMANAMI))
    assert table.best(YAMANAMI) is None


def test_neighbor_speaks_for_itself(table: RouteTable, someone: City) -> None:
    """An announcement that begins with another city is not taken from this one."""
    assert not table.learn(MINATO, told(someone, NABARI, YAMANAMI))


@pytest.mark.parametrize(("sequence", "iat"), [(1, 5), (2, 4), (2, 5), (1, 9)])
def test_older_word_about_a_path_is_ignored(
    table: RouteTable, someone: City, sequence: int, iat: int
) -> None:
    """Rollback: an earlier announcement, sent again, changes nothing."""
    newest = told(someone, MINATO, YAMANAMI, sequence=2, iat=5, exp=700)
    assert table.learn(MINATO, newest)
    older = told(someone, MINATO, YAMANAMI, sequence=sequence, iat=iat, exp=900)
    assert not table.learn(MINATO, older)
    assert [way.announcement for way in table.ways(YAMANAMI)] == [newest]


def test_conflicting_older_path_is_ignored(table: RouteTable, someone: City) -> None:
    """A word that the neighbor has taken back does not return on a slower link."""
    table.learn(MINATO, told(someone, MINATO, NABARI, YAMANAMI, sequence=1, iat=9))
    stale = told(someone, MINATO, YAMANAMI, sequence=7, iat=8)
    assert not table.learn(MINATO, stale)
    assert best_path(table, YAMANAMI) == (MINATO, NABARI, YAMANAMI)


def test_neighbor_that_changes_its_path_is_believed(
    table: RouteTable, someone: City
) -> None:
    """Its new path may have begun earlier than its old one, in the same second too."""
    table.learn(MINATO, told(someone, MINATO, YAMANAMI, sequence=105, iat=9))
    detour = told(someone, MINATO, NABARI, YAMANAMI, sequence=100, iat=9)
    assert table.learn(MINATO, detour)
    assert best_path(table, YAMANAMI) == (MINATO, NABARI, YAMANAMI)


def test_refreshed_announcement_lives_longer(table: RouteTable, someone: City) -> None:
    """The same path and sequence, said again later."""
    table.learn(MINATO, told(someone, MINATO, YAMANAMI, iat=1, exp=600))
    assert table.learn(MINATO, told(someone, MINATO, YAMANAMI, iat=200, exp=800))
    assert table.expire(now=700) == []
    assert table.expire(now=800) == [YAMANAMI]
    assert list(table.destinations()) == []


def test_withdrawal_counts_for_its_own_neighbor_only(
    table: RouteTable, someone: City
) -> None:
    """Nobody can take away another's route."""
    table.learn(MINATO, told(someone, MINATO, YAMANAMI))
    assert not table.withdraw(NABARI, YAMANAMI)
    assert best_path(table, YAMANAMI) == (MINATO, YAMANAMI)
    assert table.withdraw(MINATO, YAMANAMI)
    assert not table.withdraw(MINATO, YAMANAMI)
    assert table.best(YAMANAMI) is None


def test_lost_neighbor_takes_all_its_routes_along(
    table: RouteTable, someone: City
) -> None:
    """The second best remains."""
    table.learn(MINATO, told(someone, MINATO))
    table.learn(MINATO, told(someone, MINATO, YAMANAMI))
    table.learn(NABARI, told(someone, NABARI, YAMANAMI))
    assert sorted(table.drop(MINATO)) == [MINATO, YAMANAMI]
    assert list(table.destinations()) == [YAMANAMI]
    assert best_path(table, YAMANAMI) == (NABARI, YAMANAMI)


def test_neighbor_cannot_fill_the_table(someone: City) -> None:
    """Flood of invented cities: bounded, and what is known can still be refreshed."""
    table = RouteTable(HOSHINO, most=2)
    assert table.learn(MINATO, told(someone, MINATO))
    assert table.learn(MINATO, told(someone, MINATO, YAMANAMI))
    assert not table.learn(MINATO, told(someone, MINATO, CityId("fake")))
    assert table.learn(MINATO, told(someone, MINATO, YAMANAMI, sequence=2))
    assert table.learn(NABARI, told(someone, NABARI))
    assert table.withdraw(MINATO, YAMANAMI)
    assert table.learn(MINATO, told(someone, MINATO, CityId("real")))


@pytest.mark.parametrize(
    ("path", "neighbor", "transit", "exported"),
    [
        ((MINATO, YAMANAMI), NABARI, True, True),
        ((MINATO, YAMANAMI), NABARI, False, False),
        ((MINATO, YAMANAMI), MINATO, True, False),
        ((MINATO, NABARI, YAMANAMI), NABARI, True, False),
        ((MINATO, *LONG_WAY), NABARI, True, False),
    ],
    ids=["transit", "no transit", "back", "through the receiver", "too long"],
)
def test_route_is_passed_on_where_it_helps_and_may_be_used(
    table: RouteTable,
    someone: City,
    path: tuple[CityId, ...],
    neighbor: CityId,
    transit: bool,
    exported: bool,
) -> None:
    """Transit is the receiver's right; a loop or an endless path helps nobody."""
    table.learn(MINATO, told(someone, *path))
    found = table.exports(neighbor, lambda asking, through: transit)
    assert [route.path for route in found] == ([path] if exported else [])


# ------------------------------------------------------------------------ convergence


def reachable(
    world: World, links: Iterable[tuple[City, City]]
) -> set[tuple[CityId, CityId]]:
    """Return which city may reach which over these links, by the agreements alone.

    A step needs an agreement; a step that is not the last one, leave for transit.
    """
    steps: dict[CityId, set[CityId]] = {}
    for a, b in links:
        for one, other in ((a, b), (b, a)):
            if world.agreed(one.id, other.id) is not None:
                steps.setdefault(one.id, set()).add(other.id)
    found: set[tuple[CityId, CityId]] = set()
    for origin in world.cities:
        # Backwards from the origin: who may use a city that gets there?
        reach, fresh = {origin}, {origin}
        while fresh:
            fresh = {
                asking
                for asking, others in steps.items()
                for through in others & fresh
                if asking not in reach
                and (through == origin or _may_transit(world, asking, through))
            }
            reach |= fresh
        found |= {(city, origin) for city in reach if city != origin}
    return found


def _may_transit(world: World, asking: CityId, through: CityId) -> bool:
    agreement = world.agreed(asking, through)
    return agreement is not None and agreement.terms(asking).transit


def check_routes(world: World, links: list[tuple[City, City]]) -> None:
    """Hold the tables of all brokers to the agreements, and to each other."""
    expected = reachable(world, links)
    found = {
        (city.id, origin)
        for city in world.cities.values()
        for origin in city.broker.routes.destinations()
    }
    assert found == expected
    for start, origin in expected:
        trail = walk(world, start, origin)
        assert len(set(trail)) == len(trail)
        route = world.cities[start].broker.routes.best(origin)
        assert route is not None
        # What was announced is what is done: paths in records are true.
        assert tuple(trail[1:]) == route.path


def walk(world: World, start: CityId, origin: CityId) -> list[CityId]:
    """Follow the best routes as brokers do, held to the agreements at each step."""
    asker, end = world.cities[start].broker, world.cities[origin].broker
    header = sealed(asker, end.named(), about=ABOUT, hops=16).header
    trail, came_from = [start], start
    while trail[-1] != origin:
        here = trail[-1]
        route = world.cities[here].broker.routes.best(origin)
        assert route is not None, f"{here} lost the way from {start} to {origin}"
        turned = check_agreements(
            header,
            city=here,
            came_from=came_from,
            goes_to=route.neighbor,
            a=partial(world.agreed, here),
            carried=len(trail),
        )
        assert turned is None, f"{turned} at {here} from {start} to {origin}"
        came_from = here
        trail.append(route.neighbor)
        assert len(trail) <= len(world.cities)
    return trail


def ring(cities: list[City]) -> list[tuple[City, City]]:
    """Return the links of a ring."""
    return list(zip(cities, [*cities[1:], cities[0]], strict=True))


def mesh(cities: list[City]) -> list[tuple[City, City]]:
    """Return the links of a full mesh."""
    return list(combinations(cities, 2))


SHAPES = {"ring": ring, "mesh": mesh}


def joined(shape: str, size: int) -> tuple[World, list[tuple[City, City]]]:
    """Return a settled world of some shape, everybody agreeing on everything."""
    world = World(suite=Suite.STRICT)
    links = SHAPES[shape]([world.city(name) for name in NAMES[:size]])
    for a, b in links:
        world.join(a, b)
    assert world.settle() <= size
    return world, links


@pytest.mark.parametrize("size", [3, 4, 5, 6])
@pytest.mark.parametrize("shape", SHAPES)
def test_routes_converge(shape: str, size: int) -> None:
    """Rings and full meshes, in at most as many rounds as there are cities."""
    world, links = joined(shape, size)
    check_routes(world, links)


@pytest.mark.parametrize("size", [3, 4, 5, 6])
@pytest.mark.parametrize("shape", SHAPES)
def test_routes_converge_after_a_link_is_lost(shape: str, size: int) -> None:
    """Everybody finds the way around."""
    world, links = joined(shape, size)
    world.cut(*links.pop())
    assert world.settle() <= size
    check_routes(world, links)


@pytest.mark.parametrize("size", [3, 4, 5, 6])
@pytest.mark.parametrize("shape", SHAPES)
def test_lost_city_is_forgotten_without_counting_to_infinity(
    shape: str, size: int
) -> None:
    """No two brokers keep each other's memory of it alive."""
    world, links = joined(shape, size)
    gone = links[0][0]
    for link in [link for link in links if gone in link]:
        world.cut(*link)
        links.remove(link)
    assert world.settle() <= size
    check_routes(world, links)
    others = [city for city in world.cities.values() if city is not gone]
    assert all(gone.id not in city.broker.routes.destinations() for city in others)


def test_lost_link_that_returns_is_used_again() -> None:
    """Recovery without an operator."""
    world, links = joined("ring", 4)
    world.cut(*links[0])
    world.settle()
    world.connect(*links[0])
    world.settle()
    check_routes(world, links)


def test_silent_origin_is_forgotten_when_its_word_has_ended() -> None:
    """Expiry: without renewal, nothing outlives its announcement."""
    world, _ = joined("ring", 4)
    world.clock.move(86_400_000)
    for city in world.cities.values():
        assert city.broker.routes.expire(world.clock.now)
        assert list(city.broker.routes.destinations()) == []


def test_announcements_are_renewed_before_they_end() -> None:
    """A quiet network keeps its routes for ever."""
    world, links = joined("ring", 4)
    for _ in range(4):
        world.clock.move(210_000)
        for city in world.cities.values():
            assert city.broker.routes.expire(world.clock.now) == []
        world.settle()
    check_routes(world, links)


@dataclass
class Pair:
    """Two cities by number, and what stands between them."""

    a: int
    b: int
    transit: tuple[bool, bool]
    linked: bool
    breaks: bool


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[Pair]]:
    """Draw how many cities there are, and any agreements between them."""
    size = draw(st.integers(3, 6))
    pairs = [
        Pair(
            a,
            b,
            (draw(st.booleans()), draw(st.booleans())),
            linked=draw(st.integers(0, 4)) > 0,
            breaks=draw(st.integers(0, 3)) == 0,
        )
        for a, b in combinations(range(size), 2)
        if draw(st.booleans())
    ]
    return size, pairs


@given(graph=graphs())
@settings(max_examples=120)
def test_agreements_alone_decide_who_is_reached(
    graph: tuple[int, list[Pair]],
) -> None:
    """Random agreements: no loops, nobody left out, nobody let in; links break too."""
    size, pairs = graph
    world = World(suite=Suite.STRICT)
    cities = [world.city(name) for name in NAMES[:size]]
    links: list[tuple[City, City]] = []
    for pair in pairs:
        a, b = cities[pair.a], cities[pair.b]
        terms = [EVERYTHING if transit else NO_TRANSIT for transit in pair.transit]
        world.agree(a, b, *terms)
        if pair.linked:
            world.connect(a, b)
            links.append((a, b))
    world.settle(2 * size)
    check_routes(world, links)
    for pair in pairs:
        if pair.linked and pair.breaks:
            world.cut(cities[pair.a], cities[pair.b])
            links.remove((cities[pair.a], cities[pair.b]))
    world.settle(2 * size)
    check_routes(world, links)


# ---------------------------------------------------------- policy, length, latency


def timed(someone: City, *path: CityId, rtt_ms: int | None = 0) -> Signed[Announcement]:
    """Return an announcement that says how far away the destination is."""
    body = told(someone, *path).body.model_copy(update={"rtt_ms": rtt_ms})
    return sign(someone.operating, ROUTE, body)


def chosen(someone: City, policy: RoutePolicy, *ways: tuple[CityId, int]) -> object:
    """Return neighbor and reason among ways of one length to yamanami."""
    table = RouteTable(HOSHINO, policy=policy)
    for neighbor, rtt_ms in ways:
        table.learn(neighbor, timed(someone, neighbor, YAMANAMI, rtt_ms=rtt_ms))
    best = table.best(YAMANAMI)
    assert best is not None
    return best.neighbor, table.why(YAMANAMI)


def near(minato: float | None, nabari: float | None) -> RoutePolicy:
    """Return what heartbeats have measured."""
    return RoutePolicy(rtt_ms={MINATO: minato, NABARI: nabari}.get)


def test_of_two_ways_of_one_length_the_faster_is_taken(someone: City) -> None:
    """Our own round trip to the neighbor, and what it says of the rest."""
    ways = ((MINATO, 10), (NABARI, 100))
    assert chosen(someone, near(5, 5), *ways) == (MINATO, Reason.LATENCY)
    assert chosen(someone, near(500, 5), *ways) == (NABARI, Reason.LATENCY)


def test_little_jitter_moves_no_traffic(someone: City) -> None:
    """Latency counts in steps of a factor of two; then the name decides."""
    ways = ((MINATO, 22), (NABARI, 18))
    assert chosen(someone, near(5, 5), *ways) == (MINATO, Reason.NAME)


def test_way_that_nobody_has_measured_comes_after_those_that_are(
    someone: City,
) -> None:
    """A neighbor that says nothing must not win by that."""
    assert chosen(someone, near(None, 400), (MINATO, 0), (NABARI, 0)) == (
        NABARI,
        Reason.LATENCY,
    )


def test_operator_s_policy_comes_before_length(someone: City) -> None:
    """Prefer one neighbor, or avoid one, whatever the paths are."""
    for policy, best in (
        (RoutePolicy(prefer=(NABARI,)), NABARI),
        (RoutePolicy(avoid=(MINATO,)), NABARI),
        (RoutePolicy(), MINATO),
    ):
        table = RouteTable(HOSHINO, policy=policy)
        table.learn(MINATO, told(someone, MINATO, YAMANAMI))
        table.learn(NABARI, told(someone, NABARI, IZUMI, YAMANAMI))
        found = table.best(YAMANAMI)
        assert found is not None and found.neighbor == best
        why = Reason.LENGTH if policy == RoutePolicy() else Reason.POLICY
        assert table.why(YAMANAMI) is why


def test_neighbor_to_avoid_is_taken_where_nobody_else_leads(someone: City) -> None:
    """Avoiding is a wish; what must not pass is not in the agreement."""
    policy = RoutePolicy(avoid=(MINATO,))
    assert chosen(someone, policy, (MINATO, 0)) == (MINATO, Reason.ONLY)


# -------------------------------------------------------- what a way lets pass


ONLY_CHECKUPS = EVERYTHING.model_copy(update={"dataset_types": (CHECKUP,)})
NO_CHECKUPS = EVERYTHING.model_copy(
    update={"dataset_types": (DatasetTypeName("shopping.purchase"),)}
)


def test_announcement_says_what_every_agreement_on_the_way_lets_pass() -> None:
    """Each city narrows: types, purposes, classes, brokers."""
    world = World(seed="permits")
    hoshino, minato, yamanami = (
        world.city(name) for name in (HOSHINO, MINATO, YAMANAMI)
    )
    world.join(hoshino, minato)
    world.join(minato, yamanami)
    world.agree(minato, yamanami, a_to_b=ONLY_CHECKUPS)
    one_purpose = EVERYTHING.model_copy(update={"purposes": (TREATMENT,)})
    world.agree(hoshino, minato, a_to_b=one_purpose)
    world.settle()
    (way,) = hoshino.broker.routes.ways(YAMANAMI)
    assert way.permits is not None
    assert way.permits.dataset_types == (CHECKUP,)
    assert way.permits.purposes == (TREATMENT,)
    assert way.permits.data_classes == EVERYTHING.data_classes
    assert way.permits.hop_limit == EVERYTHING.hop_limit - 1


def test_change_of_an_agreement_is_announced_at_once() -> None:
    """Also by the city behind it, whose own route has not changed."""
    world = World(seed="permits")
    _, minato, yamanami = world.chain(HOSHINO, MINATO, YAMANAMI)
    world.agree(minato, yamanami, a_to_b=NO_CHECKUPS)
    assert world.settle() > 0
    (way,) = world.cities[HOSHINO].broker.routes.ways(YAMANAMI)
    assert way.permits is not None
    assert way.permits.dataset_types == NO_CHECKUPS.dataset_types


async def test_way_that_lets_this_pass_is_taken_before_a_shorter_one() -> None:
    """The choice is made for each exchange: others still go the short way."""
    world = World(seed="permits")
    hoshino, minato, nabari, izumi, yamanami = (
        world.city(name) for name in (HOSHINO, MINATO, NABARI, IZUMI, YAMANAMI)
    )
    for one, other in (
        (hoshino, minato),
        (minato, yamanami),
        (hoshino, nabari),
        (nabari, izumi),
        (izumi, yamanami),
    ):
        world.join(one, other)
    world.agree(minato, yamanami, a_to_b=NO_CHECKUPS)
    world.settle()
    hall, clinic = hoshino.admit("hall"), yamanami.admit("clinic")
    read, ping = await hall.read(clinic), await hall.ping(clinic)
    assert [record.by.city for record in read.hops] == [
        HOSHINO,
        NABARI,
        IZUMI,
        YAMANAMI,
    ]
    assert [record.by.city for record in ping.hops] == [HOSHINO, MINATO, YAMANAMI]
    assert hoshino.broker.wire(minato.broker).carried == 1
