# SPDX-License-Identifier: Apache-2.0
"""The city's register: who is admitted, renewed, removed, and who tries to cheat."""

from __future__ import annotations

from itertools import pairwise

import pytest
from sqlalchemy import Connection

from identity.city import Allowance, Authority
from identity.errors import Conflict, NotAMember, NotFound
from identity.join import JOIN_REQUEST, request_to_join
from identity.key_changes import NewKeys, change_keys
from protocol.errors import (
    BadKey,
    BadSignature,
    Expired,
    Misuse,
    UnknownKey,
    UnsupportedSuite,
    WrongAudience,
    WrongIssuer,
)
from protocol.ids import NodeId
from protocol.membership import (
    KEY_CHANGE,
    DataClass,
    Membership,
    Qualification,
    Role,
    verify_membership,
)
from protocol.signature import Signed
from protocol.suites import Suite
from tests.identity.home import Chance
from tests.protocol.cities import HOSHINO, NOW, SKEW, opening, resign, signing

CLINIC = NodeId("hoshino/clinic")
PHARMACY = NodeId("hoshino/pharmacy")
DAY = 86_400
ALLOWED = Allowance(
    roles=(Role.VAULT, Role.GATEWAY),
    qualifications=(Qualification(scheme="medical-institution", until=NOW + 9 * DAY),),
    data_classes=(DataClass.SPECIAL_CARE,),
)


def authority(
    suites: frozenset[Suite] = frozenset(Suite), operating: str = "hoshino operating"
) -> Authority:
    """Return the authority of the city of Hoshino."""
    return Authority(
        city=HOSHINO.id, operating=signing(operating), entropy=Chance(), suites=suites
    )


def join(
    node: NodeId = CLINIC,
    key: str = "clinic",
    sealing: str | None = None,
    roles: tuple[Role, ...] = (Role.VAULT,),
    now: int = NOW,
    suite: Suite = Suite.HYBRID,
) -> str:
    """Return a join request signed by the key it brings."""
    return request_to_join(
        node,
        signing(key, suite),
        opening(sealing or key, suite).public,
        title={"ja": "病院"},
        roles=roles,
        now=now,
        entropy=Chance(key),
    ).token


def admit(connection: Connection) -> Signed[Membership]:
    """Admit the clinic."""
    return authority().admit(connection, join(), ALLOWED, now=NOW)


def verified(token: str, now: int = NOW) -> Membership:
    """Check a membership as any other party would."""
    operating = HOSHINO.operating.public
    return verify_membership(token, HOSHINO.id, operating, now, SKEW).body


def test_admitted_node_gets_a_membership_that_others_verify(
    connection: Connection,
) -> None:
    """It carries the keys it brought and what the city grants."""
    membership = verified(admit(connection).token)
    assert membership.sub == CLINIC
    assert membership.verifying_key() == signing("clinic").public
    assert membership.qualified(("medical-institution",), NOW)
    assert membership.data_classes == (DataClass.SPECIAL_CARE,)
    assert membership.exp == NOW + 3 * DAY


def test_request_signed_by_another_key_is_refused(connection: Connection) -> None:
    """Nobody registers a public key that it does not hold."""
    stolen = resign(join(), JOIN_REQUEST, signing("thief"))
    with pytest.raises((UnknownKey, BadSignature)):
        authority().admit(connection, stolen, ALLOWED, now=NOW)


def test_request_in_another_nodes_name_is_refused(connection: Connection) -> None:
    """Issuer and subject are the same node."""
    forged = resign(join(), JOIN_REQUEST, signing("clinic"), iss=PHARMACY)
    with pytest.raises(WrongIssuer):
        authority().admit(connection, forged, ALLOWED, now=NOW)


@pytest.mark.parametrize("change", [{"aud": "minato"}, {"sub": "x"}])
def test_request_for_another_city_is_refused(
    connection: Connection, change: dict[str, str]
) -> None:
    """A city admits its own nodes, on requests made for it."""
    if "sub" in change:
        change = {"sub": "minato/clinic", "iss": "minato/clinic"}
    forged = resign(join(), JOIN_REQUEST, signing("clinic"), **change)
    with pytest.raises(WrongAudience):
        authority().admit(connection, forged, ALLOWED, now=NOW)


def test_old_request_is_refused(connection: Connection) -> None:
    """A request found in an old mail does not admit anybody."""
    with pytest.raises(Expired):
        authority().admit(connection, join(), ALLOWED, now=NOW + 31 * DAY)


def test_role_beyond_the_allowance_is_refused(connection: Connection) -> None:
    """A vault does not become a broker by asking."""
    with pytest.raises(Misuse, match="broker"):
        authority().admit(connection, join(roles=(Role.BROKER,)), ALLOWED, now=NOW)


def test_key_of_another_node_is_refused(connection: Connection) -> None:
    """Else one node's signatures would count as the other's."""
    admit(connection)
    with pytest.raises(Conflict, match="another node"):
        authority().admit(connection, join(PHARMACY, "clinic"), ALLOWED, now=NOW)


def test_sealing_key_of_another_node_is_refused(connection: Connection) -> None:
    """What is sealed to one node must not be routed to another."""
    admit(connection)
    request = join(PHARMACY, "pharmacy", sealing="clinic")
    with pytest.raises(Conflict, match="another node"):
        authority().admit(connection, request, ALLOWED, now=NOW)


def test_operating_key_as_member_key_is_refused(connection: Connection) -> None:
    """A member could not be told from its city."""
    with pytest.raises(BadKey):
        authority().admit(connection, join(key="hoshino operating"), ALLOWED, now=NOW)


def test_key_of_another_suite_is_refused_by_a_strict_city(
    connection: Connection,
) -> None:
    """One configuration line, only CRYPTREC algorithms (requirement 69)."""
    strict = authority(suites=frozenset({Suite.STRICT}))
    with pytest.raises(UnsupportedSuite):
        strict.admit(connection, join(), ALLOWED, now=NOW)
    request = join(suite=Suite.STRICT)
    assert strict.admit(connection, request, ALLOWED, now=NOW).body.sub == CLINIC


def test_membership_is_not_signed_anew_in_its_first_half(
    connection: Connection,
) -> None:
    """Asking often costs the city nothing."""
    first = admit(connection)
    later = NOW + DAY
    assert authority().renew(connection, first.body, now=later).token == first.token


def test_membership_is_renewed_in_its_second_half(connection: Connection) -> None:
    """A node that is up never runs out."""
    first = admit(connection)
    later = NOW + 2 * DAY
    renewed = verified(
        authority().renew(connection, first.body, now=later).token, later
    )
    assert renewed.exp == later + 3 * DAY
    assert renewed.key == first.body.key


def test_stranger_is_not_renewed(connection: Connection) -> None:
    """Whatever membership it shows, the register has none of it."""
    with pytest.raises(NotAMember):
        authority().renew(connection, HOSHINO.member("stranger"), now=NOW)


def test_removed_node_is_not_renewed(connection: Connection) -> None:
    """It is invalid everywhere once its last membership has ended."""
    first = admit(connection)
    authority().remove(connection, CLINIC, now=NOW + 5)
    with pytest.raises(NotAMember):
        authority().renew(connection, first.body, now=NOW + 2 * DAY)
    with pytest.raises(NotAMember):
        authority().membership_of(connection, CLINIC, now=NOW + 6)


def test_removed_node_is_told_to_all_until_its_membership_ends(
    connection: Connection,
) -> None:
    """The list stays short, and complete while it matters."""
    admit(connection)
    authority().remove(connection, CLINIC, now=NOW + 5)
    assert authority().removed(connection, now=NOW + 6) == (CLINIC,)
    assert authority().removed(connection, now=NOW + 3 * DAY + 5) == (CLINIC,)
    assert authority().removed(connection, now=NOW + 4 * DAY) == ()


def test_removing_twice_or_a_stranger_is_refused(connection: Connection) -> None:
    """The operator reads that nothing happened."""
    admit(connection)
    authority().remove(connection, CLINIC, now=NOW)
    for node in (CLINIC, PHARMACY):
        with pytest.raises(NotFound):
            authority().remove(connection, node, now=NOW)


def test_removed_node_comes_back_only_after_its_membership_ended(
    connection: Connection,
) -> None:
    """Else lifting the removal would revive the old membership."""
    admit(connection)
    authority().remove(connection, CLINIC, now=NOW)
    with pytest.raises(Conflict, match="has not ended"):
        authority().admit(connection, join(key="new"), ALLOWED, now=NOW + DAY)
    later = NOW + 4 * DAY
    again = authority().admit(connection, join(key="new"), ALLOWED, now=later)
    assert again.body.verifying_key() == signing("new").public


def test_removed_nodes_key_never_comes_back(connection: Connection) -> None:
    """It may be why the node was removed."""
    admit(connection)
    authority().remove(connection, CLINIC, now=NOW)
    with pytest.raises(Conflict, match="retired"):
        authority().admit(connection, join(), ALLOWED, now=NOW + 4 * DAY)


def change(
    new: str = "new",
    present: str = "clinic",
    node: NodeId = CLINIC,
    now: int = NOW,
) -> str:
    """Return a node's wish to change its keys, signed by both."""
    return change_keys(
        node,
        signing(present),
        NewKeys(signing(new), opening(new).public),
        title={"ja": "病院"},
        roles=(Role.VAULT,),
        now=now,
        entropy=Chance(new),
    ).token


def test_node_changes_its_key_over_the_link(connection: Connection) -> None:
    """Signed by both keys; the old one stands in the membership for the overlap."""
    first = admit(connection)
    renewed = authority().change(connection, first.body, change(), now=NOW + 5)
    member = verified(renewed.token, NOW + 5)
    assert member.verifying_key() == signing("new").public
    assert [key.verifying_key() for key in member.earlier or ()] == [
        signing("clinic").public
    ]
    (earlier,) = member.earlier or ()
    assert (earlier.since, earlier.replaced) == (NOW, NOW + 5)
    assert earlier.until == NOW + 5 + 4 * DAY


def test_same_change_again_after_a_lost_answer_is_harmless(
    connection: Connection,
) -> None:
    """The node still shows its old membership, and asks for the same."""
    first = admit(connection)
    got = [
        authority().change(connection, first.body, change(), now=NOW) for _ in range(2)
    ]
    assert got[0].token == got[1].token


def test_change_without_the_present_key_is_refused(connection: Connection) -> None:
    """Attack: the thief has the new key only, and signs both places with it."""
    first = admit(connection)
    forged = change("thief", present="thief")
    with pytest.raises(UnknownKey):
        authority().change(connection, first.body, forged, now=NOW)


def test_change_without_the_new_key_is_refused(connection: Connection) -> None:
    """Attack: the thief has the present key, and brings somebody else's public key."""
    first = admit(connection)
    stolen = resign(join(PHARMACY, "pharmacy"), JOIN_REQUEST, signing("clinic"))
    forged = resign(change(), KEY_CHANGE, signing("clinic"), request=stolen)
    with pytest.raises((UnknownKey, BadSignature)):
        authority().change(connection, first.body, forged, now=NOW)


def test_join_request_alone_does_not_change_keys(connection: Connection) -> None:
    """Attack: a rotation request signed by the new key only, under a valid link."""
    first = admit(connection)
    with pytest.raises(BadSignature):
        authority().renew(connection, first.body, now=NOW, request=join(key="new"))


def test_thief_of_a_replaced_key_cannot_take_the_node_over(
    connection: Connection,
) -> None:
    """The old membership lives on for days; it must not change keys any more."""
    first = admit(connection)
    authority().change(connection, first.body, change(), now=NOW)
    with pytest.raises(UnknownKey):
        authority().change(connection, first.body, change("thief"), now=NOW)


def test_change_for_another_node_is_refused(connection: Connection) -> None:
    """A member changes its own keys only."""
    first = admit(connection)
    request = join(PHARMACY, "pharmacy")
    forged = resign(change(), KEY_CHANGE, signing("clinic"), request=request)
    with pytest.raises(WrongAudience):
        authority().change(connection, first.body, forged, now=NOW)


def test_old_change_is_refused(connection: Connection) -> None:
    """A wish found in an old log moves nobody to a key that was given up."""
    first = admit(connection)
    with pytest.raises(Expired):
        authority().change(connection, first.body, change(), now=NOW + 8 * DAY)


def test_replaced_key_never_comes_back(connection: Connection) -> None:
    """Going back to a key that may have leaked is refused."""
    first = admit(connection)
    second = authority().change(connection, first.body, change(), now=NOW)
    back = change("clinic", present="new")
    with pytest.raises(Conflict, match="retired"):
        authority().change(connection, second.body, back, now=NOW)


def test_keys_are_not_changed_without_bound(connection: Connection) -> None:
    """Each key in overlap stands in every membership."""
    member = admit(connection).body
    names = ["clinic", *(f"key {number}" for number in range(5))]
    for present, new in pairwise(names[:5]):
        wish = change(new, present)
        member = authority().change(connection, member, wish, now=NOW).body
    assert len(member.earlier or ()) == 4
    with pytest.raises(Conflict, match="too many"):
        wish = change(names[5], names[4])
        authority().change(connection, member, wish, now=NOW)


def test_overlap_ends_in_the_membership(connection: Connection) -> None:
    """Nobody is told of an old key longer than it counts."""
    first = admit(connection)
    changed = authority().change(connection, first.body, change(), now=NOW).body
    later = NOW + 4 * DAY
    renewed = authority().renew(connection, changed, now=later)
    assert renewed.body.earlier is None
    assert renewed.body.since == NOW


def test_replaced_key_is_told_as_revoked_while_a_membership_names_it(
    connection: Connection,
) -> None:
    """With an overlap that is shorter than memberships live."""
    city = Authority(
        city=HOSHINO.id,
        operating=signing("hoshino operating"),
        entropy=Chance(),
        overlap_s=DAY,
    )
    first = city.admit(connection, join(), ALLOWED, now=NOW)
    city.change(connection, first.body, change(), now=NOW)
    kid = signing("clinic").public.kid
    assert city.revoked(connection, now=NOW + DAY - 1) == ()
    assert city.revoked(connection, now=NOW + DAY) == (kid,)
    assert city.revoked(connection, now=first.body.exp + 60) == ()


def test_keys_of_a_removed_node_are_told_as_revoked(connection: Connection) -> None:
    """Those in overlap as well, until its last membership has ended."""
    first = admit(connection)
    authority().change(connection, first.body, change(), now=NOW)
    ends = authority().remove(connection, CLINIC, now=NOW + 5)
    told = authority().revoked(connection, now=NOW + 5)
    assert set(told) == {signing("clinic").public.kid, signing("new").public.kid}
    assert authority().revoked(connection, now=ends + 60) == ()


def test_node_with_revoked_keys_joins_again_with_new_ones(
    connection: Connection,
) -> None:
    """At once: unlike a removal, the word is about the keys."""
    first = admit(connection)
    ends = authority().revoke_keys(connection, CLINIC, now=NOW + 5)
    assert ends == first.body.exp
    with pytest.raises(NotAMember):
        authority().renew(connection, first.body, now=NOW + 6)
    with pytest.raises(NotAMember):
        authority().membership_of(connection, CLINIC, now=NOW + 6)
    with pytest.raises(Conflict, match="retired"):
        authority().admit(connection, join(), ALLOWED, now=NOW + 6)
    again = authority().admit(connection, join(key="new"), ALLOWED, now=NOW + 6).body
    assert again.verifying_key() == signing("new").public
    assert again.earlier is None
    told = authority().revoked(connection, now=NOW + 6)
    assert told == (signing("clinic").public.kid,)


def test_node_renews_nobody_else(connection: Connection) -> None:
    """A member cannot bring a request in another's name."""
    first = admit(connection)
    request = join(PHARMACY, "pharmacy")
    with pytest.raises(WrongAudience):
        authority().renew(connection, first.body, now=NOW, request=request)


def test_renewal_does_not_widen_the_allowance(connection: Connection) -> None:
    """Roles grow within what the operator allowed, not beyond."""
    first = admit(connection)
    within = join(roles=(Role.VAULT, Role.GATEWAY))
    wider = authority().renew(connection, first.body, now=NOW, request=within)
    assert wider.body.roles == (Role.VAULT, Role.GATEWAY)
    beyond = join(roles=(Role.IDENTITY,))
    with pytest.raises(Misuse):
        authority().renew(connection, first.body, now=NOW, request=beyond)


def test_city_tells_who_a_member_is_while_its_membership_lasts(
    connection: Connection,
) -> None:
    """The address book of the federation."""
    admit(connection)
    found = authority().membership_of(connection, CLINIC, now=NOW + DAY)
    assert found.body.sub == CLINIC
    with pytest.raises(NotAMember):
        authority().membership_of(connection, CLINIC, now=NOW + 3 * DAY)
    with pytest.raises(NotAMember):
        authority().membership_of(connection, PHARMACY, now=NOW)


def test_memberships_are_signed_anew_with_a_new_operating_key(
    connection: Connection,
) -> None:
    """Nobody who has the new certificate could verify the old ones."""
    admit(connection)
    changed = authority(operating="hoshino operating 2")
    with pytest.raises(NotAMember):
        changed.membership_of(connection, CLINIC, now=NOW)
    assert changed.reissue(connection, now=NOW) == 1
    token = changed.membership_of(connection, CLINIC, now=NOW).token
    key = signing("hoshino operating 2").public
    assert verify_membership(token, HOSHINO.id, key, NOW, SKEW).body.sub == CLINIC


def test_renewal_under_a_new_operating_key_signs_at_once(
    connection: Connection,
) -> None:
    """Also in the first half of the old membership's life."""
    first = admit(connection)
    changed = authority(operating="hoshino operating 2")
    renewed = changed.renew(connection, first.body, now=NOW)
    assert renewed.token != first.token


def test_register_lists_everybody(connection: Connection) -> None:
    """With the state that the operator needs to see."""
    admit(connection)
    authority().admit(connection, join(PHARMACY, "pharmacy"), ALLOWED, now=NOW)
    authority().remove(connection, CLINIC, now=NOW + 1)
    listed = authority().members(connection)
    assert [(m.node, m.removed) for m in listed] == [
        (CLINIC, NOW + 1),
        (PHARMACY, None),
    ]
