# SPDX-License-Identifier: Apache-2.0
"""Route announcements: a chain of introductions that nobody can bend."""

import pytest

from protocol.canonical import canonical
from protocol.errors import (
    BadKey,
    Expired,
    Malformed,
    NotYetValid,
    ProtocolViolation,
    TooLarge,
    UnknownKey,
    WrongAudience,
    WrongIssuer,
    WrongType,
)
from protocol.membership import MEMBERSHIP, OPERATING, Role
from protocol.route import (
    MAX_BUNDLE_BYTES,
    MAX_CITIES,
    MAX_LIFE_S,
    MAX_PATH,
    ROUTE,
    TRUST_BUNDLE,
    Announcement,
    Bundle,
    CityKeys,
    verify_announcement,
    verify_city_keys,
)
from protocol.signature import MAX_TOKEN_BYTES, Signed, sign_bytes
from tests.protocol.cities import (
    HOSHINO,
    MINATO,
    NOW,
    SKEW,
    STRICT_CITY,
    YAMANAMI,
    City,
    announcement,
    resign,
    signing,
)

FAR = City("farawa")
PATH = (MINATO, YAMANAMI, FAR)


def check(
    token: str, neighbor: City = MINATO, ourselves: City = HOSHINO
) -> Signed[Announcement]:
    """Judge an announcement as Hoshino, that Minato sent."""
    return verify_announcement(
        token, neighbor.id, neighbor.operating.public, ourselves.id, NOW, SKEW
    )


def dumped(keys: CityKeys) -> dict[str, object]:
    """Return keys as members of a document."""
    return keys.model_dump(mode="json")


@pytest.mark.parametrize("length", [1, 2, 3])
def test_announcement_introduces_its_origin(length: int) -> None:
    """Directly, and over one or two cities that vouch for the next."""
    path = PATH[:length]
    signed = check(announcement(path, HOSHINO))
    assert signed.body.path == tuple(city.id for city in path)
    assert signed.body.keys == path[-1].keys()


def test_cities_of_both_suites_announce() -> None:
    """A strict city on the way, and as origin."""
    for path in ((STRICT_CITY, YAMANAMI), (MINATO, STRICT_CITY)):
        assert check(announcement(path, HOSHINO), path[0]).body.origin == path[1].id


def test_announcement_by_another_than_the_neighbor_is_refused() -> None:
    """Yamanami cannot speak for Minato, nor Minato's member for its city."""
    for signer in (YAMANAMI.operating, signing("minato/hall"), MINATO.root):
        with pytest.raises(UnknownKey):
            check(announcement(PATH, HOSHINO, signers={0: signer}))


def test_announcement_in_the_name_of_another_is_refused() -> None:
    """Signed by the neighbor, issued by somebody else."""
    with pytest.raises(WrongIssuer):
        check(announcement(PATH, HOSHINO, {0: {"iss": "yamanami"}}))


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_layer_for_another_audience_is_refused(layer: int) -> None:
    """What a city told one neighbor, another cannot pass on as its own."""
    with pytest.raises(WrongAudience):
        check(announcement(PATH, HOSHINO, {layer: {"aud": "kawabe"}}))


def test_announcement_stolen_from_another_link_is_refused() -> None:
    """Minato wraps what Yamanami told Kawabe."""
    told = announcement((YAMANAMI, FAR), STRICT_CITY)
    with pytest.raises(WrongAudience):
        check(announcement(PATH, HOSHINO, {0: {"inner": told}}))


def test_path_with_ourselves_is_a_loop() -> None:
    """A route back to us is no route."""
    with pytest.raises(Malformed, match="loop"):
        check(announcement((MINATO, HOSHINO), HOSHINO))
    with pytest.raises(Malformed, match="loop"):
        check(announcement((MINATO, HOSHINO, FAR), HOSHINO))


def test_path_with_a_city_twice_is_a_loop() -> None:
    """Even if every layer is signed as it should."""
    with pytest.raises(Malformed, match="loop"):
        check(announcement((MINATO, YAMANAMI, MINATO, FAR), HOSHINO))


def test_path_must_begin_with_the_neighbor() -> None:
    """It hides itself to look shorter."""
    with pytest.raises(Malformed, match="loop"):
        check(announcement(PATH, HOSHINO, {0: {"path": ["yamanami", "farawa"]}}))


@pytest.mark.parametrize(
    "path",
    [
        ["minato", "farawa"],
        ["minato", "kawabe", "farawa"],
        ["minato", "yamanami", "kawabe", "farawa"],
        ["minato", "farawa", "yamanami"],
        ["minato"],
    ],
)
def test_path_that_does_not_shrink_by_one_city_is_refused(path: list[str]) -> None:
    """Shorter to attract, longer to repel, another city in between."""
    with pytest.raises(ProtocolViolation):
        check(announcement(PATH, HOSHINO, {0: {"path": path}}))


def test_inner_path_equal_to_the_outer_is_refused() -> None:
    """Else a chain could go on for ever."""
    same = ["yamanami", "farawa"]
    with pytest.raises(Malformed):
        check(announcement(PATH, HOSHINO, {2: {"path": same}}))


def test_forged_inner_layer_is_refused() -> None:
    """Minato makes up what Yamanami and the origin said."""
    for layer in (1, 2):
        with pytest.raises(UnknownKey):
            check(announcement(PATH, HOSHINO, signers={layer: signing("forger")}))


def test_inner_layer_of_another_kind_is_refused() -> None:
    """A trust bundle has the same signer."""
    inner = sign_bytes(YAMANAMI.operating, TRUST_BUNDLE, b"{}")
    with pytest.raises(WrongType):
        check(announcement(PATH, HOSHINO, {0: {"inner": inner}}))


def test_next_city_must_be_told_with_its_keys() -> None:
    """Nobody vouches for the inner layer otherwise."""
    with pytest.raises(Malformed, match="who comes next"):
        check(announcement(PATH, HOSHINO, {0: {"next_city": ...}}))


def test_next_city_with_the_keys_of_another_is_refused() -> None:
    """Each member of the introduction must be of the city that comes next."""
    right = dumped(YAMANAMI.keys())
    for change in (
        {"city": "farawa"},
        {"root": FAR.root.public.jwk},
        {"operating": FAR.certificate()},
        {"operating": resign(YAMANAMI.certificate(), OPERATING, FAR.root)},
    ):
        with pytest.raises(ProtocolViolation):
            check(announcement(PATH, HOSHINO, {0: {"next_city": {**right, **change}}}))


def test_different_keys_in_layers_are_refused() -> None:
    """Minato cannot exchange the origin's keys for its own."""
    with pytest.raises(Malformed, match="fit together"):
        check(announcement(PATH, HOSHINO, {0: {"keys": dumped(MINATO.keys())}}))
    with pytest.raises(Malformed, match="fit together"):
        check(announcement(PATH, HOSHINO, {1: {"keys": dumped(MINATO.keys())}}))


def test_different_origins_in_layers_are_refused() -> None:
    """A route to one city is not a route to another."""
    with pytest.raises(Malformed, match="fit together"):
        check(announcement(PATH, HOSHINO, {0: {"origin": "kawabe"}}))


def test_neighbor_cannot_hand_out_keys_for_another_city() -> None:
    """Minato announces itself, with keys for Yamanami that it has made itself.

    Without this check every member would seal its requests to Minato.
    """
    made_up = dumped(YAMANAMI.keys())
    made_up["root"] = signing("forged root").public.jwk
    made_up["operating"] = resign(
        YAMANAMI.certificate(), OPERATING, signing("forged root")
    )
    for keys in (made_up, dumped(YAMANAMI.keys())):
        with pytest.raises(Malformed, match="keys of another city"):
            check(announcement((MINATO,), HOSHINO, {0: {"keys": keys}}))


def test_origin_cannot_show_another_root_than_its_neighbor_vouches_for() -> None:
    """A stolen operating key must not bring a root key of its own."""
    keys = dumped(YAMANAMI.keys())
    keys["root"] = signing("forged root").public.jwk
    keys["operating"] = resign(
        YAMANAMI.certificate(), OPERATING, signing("forged root")
    )
    changed = {layer: {"keys": keys} for layer in (0, 1)}
    with pytest.raises(Malformed, match="keys of another city"):
        check(announcement((MINATO, YAMANAMI), HOSHINO, changed))


def test_origin_must_sign_with_the_key_that_it_shows() -> None:
    """The keys that are passed on are those that signed."""
    other = signing("yamanami operating 2")
    keys = dumped(YAMANAMI.keys())
    keys["operating"] = resign(
        YAMANAMI.certificate(), OPERATING, YAMANAMI.root, key=other.public.jwk
    )
    for label, role in (("broker", Role.BROKER), ("directory", Role.DIRECTORY)):
        member = YAMANAMI.membership(label, (role,))
        keys[label] = resign(member, MEMBERSHIP, other)
    changed = {layer: {"keys": keys} for layer in (0, 1)}
    with pytest.raises(Malformed, match="not signed with the origin's key"):
        check(announcement((MINATO, YAMANAMI), HOSHINO, changed))


def test_innermost_layer_must_be_the_origins_own() -> None:
    """Nobody announces a city that has not announced itself."""
    with pytest.raises(Malformed, match="origin's own"):
        check(announcement(PATH, HOSHINO, {1: {"inner": ..., "next_city": ...}}))
    with pytest.raises(Malformed, match="origin's own"):
        check(announcement((MINATO,), HOSHINO, {0: {"origin": "yamanami"}}))


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_layer_out_of_its_time_is_refused(layer: int) -> None:
    """A route is as young as its oldest word."""
    with pytest.raises(Expired):
        check(announcement(PATH, HOSHINO, {layer: {"exp": NOW}}))
    with pytest.raises(NotYetValid):
        check(announcement(PATH, HOSHINO, {layer: {"iat": NOW + SKEW + 1}}))


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_layer_that_would_live_too_long_is_refused(layer: int) -> None:
    """Else a city would be announced long after it has left."""
    begun = NOW - 60
    check(announcement(PATH, HOSHINO, {layer: {"exp": begun + MAX_LIFE_S}}))
    with pytest.raises(Malformed, match="lives"):
        check(announcement(PATH, HOSHINO, {layer: {"exp": begun + MAX_LIFE_S + 1}}))


def test_too_long_path_is_refused() -> None:
    """By its number of cities, or by its size, whichever comes first."""
    cities = [MINATO, *(City(f"city-{n}") for n in range(MAX_PATH))]
    token = announcement(cities[:3], HOSHINO)
    path = [city.name for city in cities]
    assert len(path) == MAX_PATH + 1
    with pytest.raises(Malformed, match="path"):
        check(resign(token, ROUTE, MINATO.operating, path=path))
    with pytest.raises(TooLarge):
        check("a" * (256 * 1024 + 1))


def test_nesting_deeper_than_the_path_is_refused() -> None:
    """Layers cannot be piled up: each must have one city less."""
    token = announcement((MINATO,), HOSHINO)
    piled = resign(
        token,
        ROUTE,
        MINATO.operating,
        inner=announcement((MINATO,), MINATO),
        next_city=dumped(MINATO.keys()),
    )
    with pytest.raises(Malformed, match="who comes next"):
        check(piled)


def test_bundle_of_all_cities_fits_into_its_limit() -> None:
    """Number and size agree here too, for cities of the larger suite."""
    one = len(HOSHINO.keys().encode()) + 1
    claims = {"iss": "hoshino", "aud": "machikura", "jti": "1", "iat": 1, "exp": 2}
    keys = dumped(HOSHINO.keys())
    with pytest.raises(Malformed, match="cities"):
        Bundle.decode(
            canonical({**claims, "cities": [keys] * (MAX_CITIES + 1)}), 1 << 24
        )
    assert MAX_CITIES * one * 4 // 3 < MAX_BUNDLE_BYTES


def test_keys_of_a_city_form_a_chain() -> None:
    """Root, operating key, broker and directory."""
    operating, broker, directory = verify_city_keys(FAR.keys(), NOW, SKEW)
    assert operating == FAR.operating.public
    assert broker.body.sub == "farawa/broker"
    assert directory.body.sub == "farawa/directory"


@pytest.mark.parametrize("label", ["broker", "directory"])
def test_broker_and_directory_need_their_roles(label: str) -> None:
    """Any member could be named as broker, and read location tokens."""
    keys = FAR.keys().model_copy(update={label: FAR.membership("clinic")})
    with pytest.raises(Malformed, match=f"named as {label}"):
        verify_city_keys(keys, NOW, SKEW)


@pytest.mark.parametrize("label", ["broker", "directory"])
def test_broker_and_directory_must_be_members_of_the_city(label: str) -> None:
    """Another city's broker, rightly certified there."""
    foreign = MINATO.membership(label, (Role.BROKER, Role.DIRECTORY))
    keys = FAR.keys().model_copy(update={label: foreign})
    with pytest.raises(UnknownKey):
        verify_city_keys(keys, NOW, SKEW)


def test_root_key_that_must_not_be_used_is_refused() -> None:
    """Also in what others pass on."""
    root = {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43}
    keys = FAR.keys().model_copy(update={"root": root})
    with pytest.raises(BadKey):
        verify_city_keys(keys, NOW, SKEW)


def test_longest_path_fits_into_a_signed_document() -> None:
    """The limits of length and of size agree, for the larger of the suites."""
    path = [City(f"city-{n}") for n in range(MAX_PATH)]
    token = announcement(path, HOSHINO)
    assert check(token, path[0]).body.origin == path[-1].id
    assert len(token) < 0.85 * MAX_TOKEN_BYTES


def promises(
    permits: dict[str, object] | None, rtt_ms: int | None
) -> dict[str, object]:
    """Return the members by which a city says what a way is like."""
    given = {"permits": permits, "rtt_ms": rtt_ms}
    return {name: value for name, value in given.items() if value is not None}


TERMS: dict[str, object] = {
    "dataset_types": ["health.checkup"],
    "purposes": ["*"],
    "data_classes": ["personal"],
    "transit": True,
    "hop_limit": 4,
}


def test_way_that_gets_narrower_and_longer_is_taken() -> None:
    """Each city on the way takes something away, or adds its own link."""
    narrow = {**TERMS, "purposes": ["treatment"], "hop_limit": 3}
    layers = {1: promises(narrow, 20), 2: promises(TERMS, 5)}
    assert check(announcement(PATH, HOSHINO, layers)).body.permits is None


@pytest.mark.parametrize(
    "wider",
    [
        {"dataset_types": ["*"]},
        {"dataset_types": ["health.checkup", "shopping.purchase"]},
        {"data_classes": ["personal", "special-care"]},
        {"hop_limit": 5},
    ],
)
def test_city_that_promises_more_than_it_was_promised_is_refused(
    wider: dict[str, object],
) -> None:
    """The attack: draw traffic that the next city will not let pass."""
    layers = {0: promises({**TERMS, **wider}, 9), 1: promises(TERMS, 5)}
    with pytest.raises(Malformed, match="permits more"):
        check(announcement(PATH, HOSHINO, layers))


def test_city_that_makes_its_way_faster_than_the_rest_of_it_is_refused() -> None:
    """The attack: draw traffic by a latency that cannot be."""
    with pytest.raises(Malformed, match="faster"):
        check(announcement(PATH, HOSHINO, {0: {"rtt_ms": 4}, 1: {"rtt_ms": 5}}))
