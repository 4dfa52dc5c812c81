# SPDX-License-Identifier: Apache-2.0
"""Keys in overlap and revoked keys, as others judge them."""

from __future__ import annotations

import pytest

from identity.bundle import issue_bundle
from identity.errors import KeyRevoked
from identity.trust import TrustStore
from protocol.errors import Expired, NotYetValid, ProtocolViolation, UnknownKey
from protocol.membership import (
    REVOCATIONS,
    EarlierKey,
    Membership,
    Revocations,
)
from protocol.model import ANYONE
from protocol.route import CityKeys
from protocol.signature import sign
from protocol.status import STATUS_LIST, StatusList, pack
from tests.identity.home import Chance
from tests.protocol.cities import HOSHINO, MINATO, NOW, SKEW, City, signing

REPLACED = NOW - 100
UNTIL = NOW + 50


def trust() -> TrustStore:
    """Return the trust of a fresh node of Hoshino."""
    return TrustStore(city=HOSHINO.id, root=HOSHINO.root.public, skew_s=SKEW)


def home() -> Membership:
    """Return a home node that replaced its key a while ago."""
    earlier = EarlierKey(
        key=signing("hoshino/hall").public.jwk,
        since=NOW - 1000,
        replaced=REPLACED,
        until=UNTIL,
    )
    return HOSHINO.member("hall").model_copy(
        update={"key": signing("hall 2").public.jwk, "earlier": (earlier,)}
    )


def document(key: str = "hoshino/hall", iat: int = REPLACED - 1) -> str:
    """Return something that the home node signed."""
    claims = StatusList(
        iss="hoshino/hall",
        aud=ANYONE,
        jti="1",
        iat=iat,
        exp=NOW + 9999,
        list=0,
        epoch=1,
        lst=pack({}),
    )
    return sign(signing(key), STATUS_LIST, claims).token


def judge(token: str, now: int = NOW, ours: TrustStore | None = None) -> StatusList:
    """Judge a document as any other party would."""
    found = (ours or trust()).verify_home_document(
        token, STATUS_LIST, StatusList, home(), now
    )
    return found.body


def test_document_of_the_old_keys_time_holds_in_the_overlap() -> None:
    """A consent that was given before its home node changed keys."""
    assert judge(document()).iss == "hoshino/hall"
    assert judge(document("hall 2", NOW)).iss == "hoshino/hall"


def test_document_of_the_old_key_ends_with_the_overlap() -> None:
    """Attack: a key that was stolen after it was given up; also from the cache."""
    ours = trust()
    judge(document(), UNTIL - 1, ours)
    with pytest.raises(UnknownKey):
        judge(document(), UNTIL, ours)


@pytest.mark.parametrize("iat", [REPLACED + SKEW + 1, NOW - 1000 - SKEW - 1])
def test_document_outside_of_the_old_keys_time_is_refused(iat: int) -> None:
    """Attack: a thief signs with the old key in the overlap."""
    with pytest.raises(Expired):
        judge(document(iat=iat))


def revocations(city: City, *kids: str, iat: int = NOW, signer: str = "") -> str:
    """Return a city's word on its revoked keys."""
    claims = Revocations(
        iss=city.id, aud=ANYONE, jti="1", iat=iat, exp=iat + 600, keys=kids
    )
    key = signing(signer) if signer else city.operating
    return sign(key, REVOCATIONS, claims).token


def with_revoked(city: City, *kids: str, **more: object) -> CityKeys:
    """Return a city's keys with its word on revoked ones."""
    token = revocations(city, *kids, **more)  # type: ignore[arg-type]
    return city.keys().model_copy(update={"revoked": token})


def tell(ours: TrustStore, *keys: CityKeys, now: int = NOW) -> None:
    """Let our city tell us what it knows of cities."""
    told = {HOSHINO.id: HOSHINO.keys(), **{one.city: one for one in keys}}
    bundle = issue_bundle(
        HOSHINO.operating,
        HOSHINO.id,
        cities=tuple(told.values()),
        paths={},
        removed=(),
        life_s=600,
        now=now,
        entropy=Chance(),
    )
    ours.accept_bundle(bundle.token, now)


@pytest.mark.parametrize("city", [HOSHINO, MINATO])
def test_revoked_key_proves_nothing_though_its_membership_holds(city: City) -> None:
    """Of our own city and of any other, also from the cache."""
    ours = trust()
    tell(ours, MINATO.keys())
    shown = city.membership("clinic"), city.certificate()
    ours.verify_sender(*shown, NOW)
    kid = signing(city.node("clinic")).public.kid
    tell(ours, with_revoked(city, kid))
    with pytest.raises(KeyRevoked):
        ours.verify_sender(*shown, NOW)


def test_revoked_key_in_overlap_signs_nothing() -> None:
    """Attack: a stolen key that others still know as the earlier one."""
    ours = trust()
    judge(document(), ours=ours)
    tell(ours, with_revoked(HOSHINO, signing("hoshino/hall").public.kid))
    with pytest.raises(UnknownKey):
        judge(document(), ours=ours)


def test_older_list_does_not_revive_a_revoked_key() -> None:
    """Attack: rollback to the list before."""
    ours = trust()
    kid = signing("hoshino/clinic").public.kid
    tell(ours, with_revoked(HOSHINO, kid))
    tell(ours, with_revoked(HOSHINO, iat=NOW - 10))
    tell(ours, HOSHINO.keys())
    assert ours.revoked == {kid}
    tell(ours, with_revoked(HOSHINO, iat=NOW + 1), now=NOW + 1)
    assert ours.revoked == frozenset()


def test_city_revokes_no_key_in_another_citys_name() -> None:
    """Attack: one city would silence the members of another."""
    forged = revocations(MINATO, "x" * 43, signer="hoshino operating")
    keys, ours = MINATO.keys().model_copy(update={"revoked": forged}), trust()
    tell(ours, keys)
    assert ours.revoked == frozenset()
    with pytest.raises(ProtocolViolation):
        ours.take_revocations(keys, NOW)


def test_list_from_ahead_of_time_is_refused() -> None:
    """It would outlast every honest one."""
    ours, keys = trust(), with_revoked(MINATO, "x" * 43, iat=NOW + SKEW + 1)
    tell(ours, keys)
    assert ours.revoked == frozenset()
    with pytest.raises(NotYetValid):
        ours.take_revocations(keys, NOW)
