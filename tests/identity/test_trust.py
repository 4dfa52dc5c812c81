# SPDX-License-Identifier: Apache-2.0
"""What is believed: chains from known roots, and every way to slip something in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from identity.bundle import issue_bundle
from identity.errors import ConflictingRoot, MembershipExpired, NotAMember
from identity.trust import TrustStore
from protocol.agreement import Agreement
from protocol.errors import (
    BadSignature,
    Expired,
    Malformed,
    Replayed,
    TooLarge,
    UnknownKey,
    UnsupportedSuite,
    WrongAudience,
    WrongIssuer,
)
from protocol.ids import CityId, NodeId
from protocol.membership import MEMBER_KEY, MEMBERSHIP, OPERATING, Role
from protocol.model import ANYONE
from protocol.route import (
    TRUST_BUNDLE,
    Announcement,
    CityKeys,
    verify_announcement,
)
from protocol.signature import Signed, sign
from protocol.status import STATUS_LIST, StatusList, pack
from protocol.suites import Suite
from tests.identity.home import Chance
from tests.protocol.cities import (
    HOSHINO,
    MINATO,
    NOW,
    SKEW,
    STRICT_CITY,
    YAMANAMI,
    City,
    agreement_body,
    announcement,
    resign,
    signing,
)


def trust(
    city: City = HOSHINO,
    suites: frozenset[Suite] = frozenset(Suite),
    cache_size: int = 64,
) -> TrustStore:
    """Return the trust of a fresh node: its city's pinned root, nothing else."""
    return TrustStore(
        city=city.id,
        root=city.root.public,
        skew_s=SKEW,
        suites=suites,
        cache_size=cache_size,
    )


def bundle(
    cities: Sequence[CityKeys] | None = None,
    removed: tuple[NodeId, ...] = (),
    now: int = NOW,
    life_s: int = 600,
    operating: str = "hoshino operating",
    sequence: int = 0,
) -> str:
    """Return what the city of Hoshino tells its members."""
    return issue_bundle(
        signing(operating),
        HOSHINO.id,
        cities=tuple(cities or (HOSHINO.keys(), MINATO.keys())),
        paths={MINATO.id: (MINATO.id,)},
        removed=removed,
        life_s=life_s,
        now=now,
        entropy=Chance(),
        sequence=sequence,
    ).token


def agreement(a: City = HOSHINO, b: City = MINATO) -> Agreement:
    """Return an agreement that both roots have signed."""
    proposal = Agreement.propose(agreement_body(a, b), a.id, a.root)
    return proposal.countersign(b.id, b.root)


def announced(
    path: Sequence[City],
    audience: City = HOSHINO,
    changes: Mapping[int, Mapping[str, object]] | None = None,
) -> Signed[Announcement]:
    """Return a verified announcement by the first city of `path`."""
    token = announcement(path, audience, changes)
    first = path[0]
    return verify_announcement(
        token, first.id, first.operating.public, audience.id, NOW, SKEW
    )


# ------------------------------------------------------------------------- senders


def test_member_of_our_own_city_is_believed_from_the_pinned_root() -> None:
    """A fresh node needs nothing else."""
    token = HOSHINO.membership("clinic")
    member = trust().verify_sender(token, HOSHINO.certificate(), NOW)
    assert member.sub == "hoshino/clinic"


def test_member_of_an_unknown_city_is_not_believed() -> None:
    """However well its documents fit together."""
    with pytest.raises(UnknownKey):
        trust().verify_sender(MINATO.membership("x"), MINATO.certificate(), NOW)


def test_member_of_a_city_in_the_bundle_is_believed() -> None:
    """The member side of trust."""
    ours = trust()
    ours.accept_bundle(bundle(), NOW)
    member = ours.verify_sender(MINATO.membership("x"), MINATO.certificate(), NOW)
    assert member.sub == "minato/x"


def test_impostor_of_a_known_city_is_not_believed() -> None:
    """A complete chain under another root of the same name."""
    impostor = resign(MINATO.certificate(), OPERATING, signing("impostor root"))
    ours = trust()
    ours.accept_bundle(bundle(), NOW)
    with pytest.raises(UnknownKey):
        ours.verify_sender(MINATO.membership("x"), impostor, NOW)


def test_membership_under_another_citys_operating_key_is_not_believed() -> None:
    """Minato cannot admit nodes to Hoshino."""
    forged = resign(HOSHINO.membership("clinic"), MEMBERSHIP, MINATO.operating)
    ours = trust()
    ours.accept_bundle(bundle(), NOW)
    with pytest.raises(UnknownKey):
        ours.verify_sender(forged, HOSHINO.certificate(), NOW)


def test_expired_operating_certificate_ends_its_members() -> None:
    """A stolen operating key ends with its certificate, cached or not."""
    short = resign(HOSHINO.certificate(), OPERATING, HOSHINO.root, exp=NOW + 10)
    ours, token = trust(), HOSHINO.membership("clinic")
    ours.verify_sender(token, short, NOW)
    with pytest.raises(Expired):
        ours.verify_sender(token, short, NOW + 10)
    with pytest.raises(Expired):
        trust().verify_sender(token, short, NOW + 10)


def test_expired_membership_is_refused_also_from_the_cache() -> None:
    """Dates are looked at each time."""
    token = resign(
        HOSHINO.membership("clinic"), MEMBERSHIP, HOSHINO.operating, exp=NOW + 10
    )
    ours = trust()
    ours.verify_sender(token, HOSHINO.certificate(), NOW)
    with pytest.raises(MembershipExpired):
        ours.verify_sender(token, HOSHINO.certificate(), NOW + 10)


def test_expired_membership_is_named_as_such_at_first_sight() -> None:
    """The remedy is to renew, which `expired` alone would not say."""
    token = resign(HOSHINO.membership("clinic"), MEMBERSHIP, HOSHINO.operating, exp=NOW)
    with pytest.raises(MembershipExpired):
        trust().verify_sender(token, HOSHINO.certificate(), NOW)


def test_removed_node_is_refused_also_from_the_cache() -> None:
    """The bundle ends a membership before its time."""
    ours, token = trust(), HOSHINO.membership("clinic")
    ours.verify_sender(token, HOSHINO.certificate(), NOW)
    ours.accept_bundle(bundle(removed=(NodeId("hoshino/clinic"),)), NOW)
    with pytest.raises(NotAMember):
        ours.verify_sender(token, HOSHINO.certificate(), NOW)


def test_removed_node_stays_removed_when_the_bundle_has_ended() -> None:
    """Silence of the city must not revive anybody."""
    ours, token = trust(), HOSHINO.membership("clinic")
    ours.accept_bundle(bundle(removed=(NodeId("hoshino/clinic"),), life_s=10), NOW)
    with pytest.raises(NotAMember):
        ours.verify_sender(token, HOSHINO.certificate(), NOW + 60)


def test_member_of_a_city_whose_agreement_ended_is_refused_from_the_cache() -> None:
    """Trust across cities ends with its agreement."""
    ours = trust()
    ours.agree([agreement()], NOW)
    shown = MINATO.membership("broker", (Role.BROKER,)), MINATO.certificate()
    ours.verify_sender(*shown, NOW)
    ours.agree([], NOW)
    with pytest.raises(UnknownKey):
        ours.verify_sender(*shown, NOW)


def test_agreement_ends_by_itself() -> None:
    """Nobody has to tell the broker."""
    ours, ends = trust(), agreement().body.ends
    ours.agree([agreement()], NOW)
    assert ours.root_of(MINATO.id, ends - 1) == MINATO.root.public
    with pytest.raises(UnknownKey):
        ours.root_of(MINATO.id, ends)


def test_proposal_is_no_source_of_trust() -> None:
    """One signature is not an agreement."""
    ours = trust()
    proposal = Agreement.propose(agreement_body(), MINATO.id, MINATO.root)
    ours.agree([proposal], NOW)
    with pytest.raises(UnknownKey):
        ours.root_of(MINATO.id, NOW)


def test_strict_node_refuses_other_suites() -> None:
    """Requirement 69."""
    strict = trust(suites=frozenset({Suite.STRICT}))
    with pytest.raises(UnsupportedSuite):
        strict.verify_sender(HOSHINO.membership("x"), HOSHINO.certificate(), NOW)
    own = trust(STRICT_CITY, suites=frozenset({Suite.STRICT}))
    token = STRICT_CITY.membership("x")
    own.verify_sender(token, STRICT_CITY.certificate(), NOW)


def mixed_chain() -> tuple[str, str]:
    """Return a strict member and broker under a hybrid operating key."""
    hybrid = signing("hybrid operating")
    certificate = resign(
        STRICT_CITY.certificate(),
        OPERATING,
        STRICT_CITY.root,
        key=hybrid.public.jwk,
    )
    roles = (Role.BROKER, Role.DIRECTORY)
    broker = STRICT_CITY.membership("broker", roles)
    return resign(broker, MEMBERSHIP, hybrid), certificate


def test_strict_node_refuses_a_chain_with_one_link_of_another_suite() -> None:
    """Strict at both ends is not strict in between."""
    member, certificate = mixed_chain()
    strict = trust(STRICT_CITY, suites=frozenset({Suite.STRICT}))
    with pytest.raises(UnsupportedSuite):
        strict.verify_sender(member, certificate, NOW)
    trust(STRICT_CITY).verify_sender(member, certificate, NOW)


def test_strict_node_refuses_a_city_with_one_link_of_another_suite() -> None:
    """The same for a city's broker and directory."""
    member, certificate = mixed_chain()
    parts = {"operating": certificate, "broker": member, "directory": member}
    strict = trust(STRICT_CITY, suites=frozenset({Suite.STRICT}))
    strict.set_own_keys(STRICT_CITY.keys().model_copy(update=parts))
    with pytest.raises(UnsupportedSuite):
        strict.city_of(STRICT_CITY.id, NOW)


def test_cache_is_bounded() -> None:
    """Peers choose the keys of the cache, so they must not choose its size."""
    ours = trust(cache_size=3)
    for number in range(10):
        ours.verify_sender(
            HOSHINO.membership(f"node-{number}"), HOSHINO.certificate(), NOW
        )
    assert len(ours._senders) == 3


def test_token_that_is_not_even_text_is_refused() -> None:
    """A lone surrogate must not raise anything but a refusal."""
    with pytest.raises(Malformed):
        trust().verify_sender("\ud800", "\ud800", NOW)


# -------------------------------------------------------------------------- bundle


def test_forged_bundle_is_refused() -> None:
    """Signed with a key that the city's root has not certified."""
    with pytest.raises(UnknownKey):
        trust().accept_bundle(bundle(operating="minato operating"), NOW)


def test_bundle_of_an_impostor_root_is_refused() -> None:
    """It brings its own certificate, under its own root."""
    impostor = HOSHINO.keys().model_copy(
        update={
            "root": signing("impostor root").public.jwk,
            "operating": resign(
                HOSHINO.certificate(), OPERATING, signing("impostor root")
            ),
        }
    )
    with pytest.raises(UnknownKey):
        trust().accept_bundle(bundle([impostor]), NOW)


def test_bundle_with_another_root_for_our_city_is_refused() -> None:
    """The pinned root stays what it is, whoever signs."""
    changed = HOSHINO.keys().model_copy(update={"root": MINATO.root.public.jwk})
    with pytest.raises(Malformed):
        trust().accept_bundle(bundle([changed]), NOW)


def test_bundle_of_another_city_is_refused() -> None:
    """Our city alone tells us whom to believe."""
    theirs = issue_bundle(
        MINATO.operating,
        MINATO.id,
        cities=(MINATO.keys(),),
        paths={},
        removed=(),
        life_s=600,
        now=NOW,
        entropy=Chance(),
    )
    with pytest.raises(Malformed):
        trust().accept_bundle(theirs.token, NOW)
    ours = trust()
    ours.accept_bundle(bundle(), NOW)
    with pytest.raises(Malformed):
        ours.accept_bundle(theirs.token, NOW)


def test_bundle_meant_for_another_audience_is_refused() -> None:
    """Every signature says for whom it is."""
    other = resign(bundle(), TRUST_BUNDLE, HOSHINO.operating, aud="minato")
    with pytest.raises(WrongAudience):
        trust().accept_bundle(other, NOW)


def test_bundle_that_names_a_city_twice_is_refused() -> None:
    """Which of the two would hold?"""
    with pytest.raises(Malformed):
        trust().accept_bundle(
            bundle([HOSHINO.keys(), MINATO.keys(), MINATO.keys()]), NOW
        )


def test_older_bundle_is_refused() -> None:
    """Rollback: a replayed bundle would revive removed nodes."""
    ours = trust()
    ours.accept_bundle(bundle(removed=(NodeId("hoshino/clinic"),)), NOW)
    with pytest.raises(Replayed):
        ours.accept_bundle(bundle(now=NOW - 30), NOW)
    assert ours.is_removed(NodeId("hoshino/clinic"))


def test_older_bundle_of_the_same_second_is_refused() -> None:
    """Bundles come over several brokers: the later one counts, whoever is quicker."""
    ours = trust()
    ours.accept_bundle(bundle(removed=(HOSHINO.node("former"),), sequence=2), NOW)
    with pytest.raises(Replayed):
        ours.accept_bundle(bundle(sequence=1), NOW)
    assert ours.is_removed(HOSHINO.node("former"))


def test_ended_bundle_is_no_source_of_trust() -> None:
    """Cached with an expiry; our own city stays known."""
    ours = trust()
    ours.accept_bundle(bundle(life_s=60), NOW)
    assert ours.names(NOW + 59) == (HOSHINO.id, MINATO.id)
    assert ours.names(NOW + 60) == (HOSHINO.id,)
    with pytest.raises(Expired):
        trust().accept_bundle(bundle(life_s=60), NOW + 60)


def test_bundle_brings_a_newer_operating_certificate() -> None:
    """The operating key changes without anybody visiting the members."""
    certificate = resign(
        HOSHINO.certificate(),
        OPERATING,
        HOSHINO.root,
        key=signing("second operating").public.jwk,
        iat=NOW,
    )
    keys = HOSHINO.keys().model_copy(update={"operating": certificate})
    ours = trust()
    ours.accept_bundle(bundle(), NOW)
    ours.accept_bundle(bundle([keys], operating="second operating"), NOW)
    assert ours.operating is not None
    assert ours.operating.body.verifying_key() == signing("second operating").public


def test_older_operating_certificate_changes_nothing() -> None:
    """Rollback to a key that was replaced."""
    ours = trust()
    newer = resign(HOSHINO.certificate(), OPERATING, HOSHINO.root, iat=NOW)
    ours.accept_operating(newer, NOW)
    assert ours.accept_operating(HOSHINO.certificate(), NOW).token == newer


def test_operating_certificate_needs_the_pinned_root() -> None:
    """Nobody else names our city's operating key."""
    forged = resign(HOSHINO.certificate(), OPERATING, MINATO.root)
    with pytest.raises(UnknownKey):
        trust().accept_operating(forged, NOW)


# ------------------------------------------------------------------- introductions


def test_city_further_away_is_introduced() -> None:
    """Hoshino learns of Yamanami through Minato, with which it has an agreement."""
    ours = trust()
    ours.agree([agreement()], NOW)
    ours.introduce(announced([MINATO, YAMANAMI]), NOW)
    known = ours.city_of(YAMANAMI.id, NOW)
    assert known.operating == YAMANAMI.operating.public
    assert known.broker.sub == "yamanami/broker"
    assert known.directory.sub == "yamanami/directory"


def test_introduction_ends_with_its_announcement() -> None:
    """A city that nobody announces any more is forgotten."""
    ours = trust()
    told = announced([MINATO, YAMANAMI])
    ours.introduce(told, NOW)
    with pytest.raises(UnknownKey):
        ours.root_of(YAMANAMI.id, told.body.exp)


def impostor_keys(city: City) -> CityKeys:
    """Return keys under a root of somebody else's making for a city's name."""
    return city.keys().model_copy(update={"root": signing("impostor root").public.jwk})


def introduction(keys: CityKeys, ends: int = NOW + 600) -> Signed[Announcement]:
    """Return an announcement whose keys are the thing that a test is about."""
    body = Announcement(
        iss=MINATO.id,
        aud=HOSHINO.id,
        jti="1",
        iat=NOW,
        exp=ends,
        origin=keys.city,
        path=(MINATO.id, keys.city),
        sequence=1,
        keys=keys,
    )
    return sign(MINATO.operating, "route", body)


def test_second_root_for_an_introduced_city_is_refused() -> None:
    """A neighbor cannot take over the name of a city that another introduced."""
    ours = trust()
    ours.introduce(announced([MINATO, YAMANAMI]), NOW)
    with pytest.raises(ConflictingRoot):
        ours.introduce(introduction(impostor_keys(YAMANAMI)), NOW)
    assert ours.root_of(YAMANAMI.id, NOW) == YAMANAMI.root.public


def test_introduction_against_an_agreement_is_refused() -> None:
    """What people compared over the phone outranks what came over a link."""
    ours = trust()
    ours.agree([agreement(HOSHINO, YAMANAMI)], NOW)
    with pytest.raises(ConflictingRoot):
        ours.introduce(introduction(impostor_keys(YAMANAMI)), NOW)


def test_introduction_of_our_own_city_under_another_root_is_refused() -> None:
    """Nobody introduces us to ourselves."""
    ours = trust()
    with pytest.raises(ConflictingRoot):
        ours.introduce(introduction(impostor_keys(HOSHINO)), NOW)


def test_introduction_of_our_own_city_changes_nothing() -> None:
    """Our own documents do not come to us by way of a neighbor."""
    ours = trust()
    ours.introduce(introduction(HOSHINO.keys()), NOW)
    with pytest.raises(UnknownKey):
        ours.city_keys(HOSHINO.id, NOW)


def test_city_known_by_agreement_only_has_no_keys_yet() -> None:
    """Its root is believed; broker and directory come with an announcement."""
    ours = trust()
    ours.agree([agreement()], NOW)
    with pytest.raises(UnknownKey, match="not arrived"):
        ours.city_of(MINATO.id, NOW)


def test_agreement_outranks_an_earlier_introduction() -> None:
    """A false introduction does not survive the phone call."""
    ours = trust()
    ours.introduce(introduction(impostor_keys(YAMANAMI)), NOW)
    ours.agree([agreement(HOSHINO, YAMANAMI)], NOW)
    assert ours.root_of(YAMANAMI.id, NOW) == YAMANAMI.root.public
    with pytest.raises(UnknownKey):
        ours.city_keys(YAMANAMI.id, NOW)


def test_neighbor_that_makes_up_cities_is_stopped() -> None:
    """Bounded memory, whatever a neighbor announces."""
    ours = trust()
    for number in range(4096):
        name = CityId(f"fake{number}")
        ours._introduced[name] = (YAMANAMI.keys(), NOW + 60)
    with pytest.raises(TooLarge):
        ours.introduce(announced([MINATO, YAMANAMI]), NOW)
    ours.introduce(announced([MINATO, YAMANAMI]), NOW + 60)


def test_broker_sets_only_its_own_citys_keys() -> None:
    """A slip in the configuration must not pin another root."""
    ours = trust()
    ours.set_own_keys(HOSHINO.keys())
    assert ours.city_of(HOSHINO.id, NOW).broker.sub == "hoshino/broker"
    misnamed = HOSHINO.keys().model_copy(update={"city": MINATO.id})
    for keys in (MINATO.keys(), impostor_keys(HOSHINO), misnamed):
        with pytest.raises(ConflictingRoot):
            ours.set_own_keys(keys)


# --------------------------------------------------------------------------- cities


def test_city_with_a_broken_chain_is_not_used() -> None:
    """The bundle may be right about the root and still carry a forged broker."""
    forged = resign(
        MINATO.membership("broker", (Role.BROKER,)), MEMBERSHIP, YAMANAMI.operating
    )
    keys = MINATO.keys().model_copy(update={"broker": forged})
    ours = trust()
    ours.accept_bundle(bundle([HOSHINO.keys(), keys]), NOW)
    with pytest.raises(UnknownKey):
        ours.city_of(MINATO.id, NOW)


def test_city_whose_broker_was_removed_is_not_used() -> None:
    """Sealing to a removed broker would hand it every route."""
    ours = trust()
    ours.accept_bundle(bundle(removed=(NodeId("minato/broker"),)), NOW)
    with pytest.raises(NotAMember):
        ours.city_of(MINATO.id, NOW)


def test_city_is_verified_again_when_a_part_of_its_chain_has_ended() -> None:
    """The cache does not outlive what it verified."""
    ours = trust()
    ours.accept_bundle(bundle(life_s=100_000), NOW)
    ends = ours.city_of(MINATO.id, NOW).ends
    ours.city_of(MINATO.id, ends - 1)
    with pytest.raises(Expired):
        ours.city_of(MINATO.id, ends)


def test_broker_of_a_known_city_is_believed() -> None:
    """For the refusals that a broker signs."""
    ours = trust()
    ours.accept_bundle(bundle(), NOW)
    token = MINATO.membership("broker", (Role.BROKER,))
    assert ours.verify_broker(token, NOW).sub == "minato/broker"


def test_vault_does_not_pass_as_broker() -> None:
    """A member cannot sign refusals in the name of the way."""
    ours = trust()
    ours.accept_bundle(bundle(), NOW)
    with pytest.raises(NotAMember):
        ours.verify_broker(MINATO.membership("x"), NOW)


def test_removed_broker_is_not_believed() -> None:
    """A city may have several brokers; one that was removed signs no refusals."""
    ours = trust()
    ours.accept_bundle(bundle(removed=(NodeId("minato/second"),)), NOW)
    with pytest.raises(NotAMember):
        ours.verify_broker(MINATO.membership("second", (Role.BROKER,)), NOW)


def test_strict_node_refuses_member_keys_of_other_suites() -> None:
    """Also from a city that is strict itself (requirement 69)."""
    strict = trust(STRICT_CITY, suites=frozenset({Suite.STRICT}))
    strict.set_own_keys(STRICT_CITY.keys())
    token = STRICT_CITY.member_key("hidden", "consent-1")
    strict.verify_member_key(token, STRICT_CITY.id, "consent-1", NOW)
    hybrid = signing("hidden").public.jwk
    mixed = resign(token, MEMBER_KEY, STRICT_CITY.operating, key=hybrid)
    with pytest.raises(UnsupportedSuite):
        strict.verify_member_key(mixed, STRICT_CITY.id, "consent-1", NOW)


def test_member_key_counts_for_its_consent_only() -> None:
    """Else one key would answer under another consent."""
    ours = trust()
    ours.accept_bundle(bundle(), NOW)
    token = MINATO.member_key("hidden", "consent-1")
    ours.verify_member_key(token, MINATO.id, "consent-1", NOW)
    with pytest.raises(WrongAudience):
        ours.verify_member_key(token, MINATO.id, "consent-2", NOW)


# ------------------------------------------------------------------ signed documents


def status_list(signer: str = "hoshino/hall", **changes: object) -> str:
    """Return a status list of the home node hoshino/hall."""
    body = StatusList(
        iss="hoshino/hall",
        aud=ANYONE,
        jti="1",
        iat=NOW,
        exp=NOW + 60,
        list=0,
        epoch=1,
        lst=pack({}),
    )
    token = sign(signing("hoshino/hall"), STATUS_LIST, body).token
    return resign(token, STATUS_LIST, signing(signer), **changes)


def test_document_of_its_expected_signer_is_believed() -> None:
    """The plain way, and from the cache the second time."""
    ours, home = trust(), HOSHINO.member("hall")
    first, again = (
        ours.verify_home_document(status_list(), STATUS_LIST, StatusList, home, NOW)
        for _ in range(2)
    )
    assert first.body.iss == "hoshino/hall"
    assert again is first


def test_document_signed_by_another_member_is_refused() -> None:
    """The clinic cannot say what became of a consent."""
    with pytest.raises(UnknownKey):
        trust().verify_home_document(
            status_list("hoshino/clinic"),
            STATUS_LIST,
            StatusList,
            HOSHINO.member("hall"),
            NOW,
        )


def test_document_in_another_nodes_name_is_refused() -> None:
    """The sender is the owner of the key, never a field."""
    with pytest.raises(WrongIssuer):
        trust().verify_home_document(
            status_list(iss="hoshino/bank"),
            STATUS_LIST,
            StatusList,
            HOSHINO.member("hall"),
            NOW,
        )


def test_altered_document_is_refused() -> None:
    """One bit of the payload."""
    head, payload, signature = status_list().split(".")
    altered = f"{head}.{payload[:-2]}{'A' if payload[-2] != 'A' else 'B'}{payload[-1]}"
    with pytest.raises((BadSignature, Malformed)):
        trust().verify_home_document(
            f"{altered}.{signature}",
            STATUS_LIST,
            StatusList,
            HOSHINO.member("hall"),
            NOW,
        )


def test_cached_document_still_ends() -> None:
    """A freshness proof from the cache must not live on."""
    ours, home = trust(), HOSHINO.member("hall")
    ours.verify_home_document(status_list(), STATUS_LIST, StatusList, home, NOW)
    with pytest.raises(Expired):
        ours.verify_home_document(
            status_list(), STATUS_LIST, StatusList, home, NOW + 60
        )


def test_document_of_a_removed_home_node_is_refused_from_the_cache() -> None:
    """With the home node its word ends."""
    ours, home = trust(), HOSHINO.member("hall")
    ours.verify_home_document(status_list(), STATUS_LIST, StatusList, home, NOW)
    ours.set_removed([NodeId("hoshino/hall")])
    with pytest.raises(NotAMember):
        ours.verify_home_document(status_list(), STATUS_LIST, StatusList, home, NOW)


def test_document_is_judged_anew_when_the_home_nodes_key_changed() -> None:
    """What the old key signed is not the new key's word."""
    ours, home = trust(), HOSHINO.member("hall")
    ours.verify_home_document(status_list(), STATUS_LIST, StatusList, home, NOW)
    rotated = home.model_copy(update={"key": signing("new hall").public.jwk})
    with pytest.raises(UnknownKey):
        ours.verify_home_document(status_list(), STATUS_LIST, StatusList, rotated, NOW)


def test_key_directory_holds_the_members_key_only() -> None:
    """It answers for one owner."""
    keys = trust().key_directory_for(HOSHINO.member("hall"))
    owner = keys.owner_of(signing("hoshino/hall").public.kid)
    assert owner is not None
    assert owner.name == "hoshino/hall"
    assert keys.owner_of(signing("hoshino/clinic").public.kid) is None
