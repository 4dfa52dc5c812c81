# SPDX-License-Identifier: Apache-2.0
"""Lines of roots and of operating keys: they only go on."""

from __future__ import annotations

import pytest

from identity.chains import Chains
from identity.errors import ConflictingRoot, KeyRevoked
from identity.root import issue_operating
from protocol.errors import UnknownKey
from protocol.membership import OperatingCertificate
from protocol.signature import Signed
from protocol.succession import Succession
from protocol.suites import SigningKey
from tests.identity.home import Chance
from tests.protocol.cities import HOSHINO, NOW, SKEW, signing

FIRST, SECOND, THIRD = HOSHINO.root, signing("root 2"), signing("root 3")
DAY = 86_400


def step(old: SigningKey, new: SigningKey, sequence: int, until: int = 0) -> Succession:
    """Return one step of the line."""
    return Succession.make(
        HOSHINO.id,
        old,
        new,
        sequence=sequence,
        until=until or NOW + DAY,
        now=NOW,
        identifier="1",
    )


LINE = (step(FIRST, SECOND, 1), step(SECOND, THIRD, 2))


def chains() -> Chains:
    """Return what a fresh node knows: nothing."""
    return Chains(skew_s=SKEW)


def certificate(
    key: str,
    before: OperatingCertificate | None = None,
    root: SigningKey = FIRST,
    overlap_s: int = DAY,
    now: int = NOW,
) -> Signed[OperatingCertificate]:
    """Certify an operating key of Hoshino."""
    return issue_operating(
        root,
        HOSHINO.id,
        signing(key).public,
        now=now,
        days=100,
        entropy=Chance(),
        before=before,
        overlap_s=overlap_s,
    )


def test_line_is_followed_to_its_end_from_every_place() -> None:
    """Whoever pinned the first root, or the second, comes to the third."""
    for known in (FIRST, SECOND):
        ours = chains()
        assert ours.take_line(HOSHINO.id, known.public, LINE)
        assert ours.follow(HOSHINO.id, known.public) == THIRD.public
        assert not ours.take_line(HOSHINO.id, known.public, LINE)


def test_second_line_is_refused() -> None:
    """Attack: the thief of an old root lets another one follow it."""
    ours = chains()
    ours.take_line(HOSHINO.id, FIRST.public, LINE[:1])
    forged = step(FIRST, signing("thief"), 1)
    with pytest.raises(ConflictingRoot):
        ours.take_line(HOSHINO.id, FIRST.public, (forged,))
    with pytest.raises(ConflictingRoot):
        ours.take_line(HOSHINO.id, FIRST.public, (step(FIRST, signing("thief"), 2),))
    assert ours.follow(HOSHINO.id, FIRST.public) == SECOND.public


def test_line_from_a_stranger_moves_nobody() -> None:
    """Attack: a whole line that begins with a root of the attacker."""
    ours = chains()
    with pytest.raises(ConflictingRoot):
        ours.take_line(HOSHINO.id, FIRST.public, (step(signing("a"), signing("b"), 1),))
    assert ours.follow(HOSHINO.id, FIRST.public) == FIRST.public


def test_old_root_s_word_ends_with_the_overlap() -> None:
    """What it signs later proves nothing."""
    ours = chains()
    ours.take_line(HOSHINO.id, FIRST.public, LINE[:1])
    shown = certificate("operating").token
    ours.verify(shown, HOSHINO.id, FIRST.public, NOW + DAY - 1)
    with pytest.raises(UnknownKey):
        ours.verify(shown, HOSHINO.id, FIRST.public, NOW + DAY)


def test_replaced_operating_key_ends_with_the_overlap() -> None:
    """The newer certificate says when; the older one cannot say otherwise."""
    ours, old = chains(), certificate("operating")
    new = certificate("second", old.body)
    assert new.body.sequence == 1
    ours.verify(new.token, HOSHINO.id, FIRST.public, NOW)
    ours.verify(old.token, HOSHINO.id, FIRST.public, NOW + DAY - 1)
    with pytest.raises(KeyRevoked):
        ours.verify(old.token, HOSHINO.id, FIRST.public, NOW + DAY)
    assert ours.newest(HOSHINO.id) == new
    kid = signing("operating").public.kid
    assert ours.key_named(HOSHINO.id, kid, NOW + DAY) is None


def test_stolen_operating_key_has_no_overlap() -> None:
    """Nor have the keys before it."""
    ours, old = chains(), certificate("operating")
    second = certificate("second", old.body)
    third = certificate("third", second.body, overlap_s=0)
    assert third.body.earlier is None
    ours.verify(third.token, HOSHINO.id, FIRST.public, NOW)
    for gone in (old, second):
        with pytest.raises(KeyRevoked):
            ours.verify(gone.token, HOSHINO.id, FIRST.public, NOW)


def test_longer_certificate_for_the_same_key_ends_nothing() -> None:
    """The yearly renewal."""
    ours, old = chains(), certificate("operating")
    again = certificate("operating", old.body, now=NOW + 1)
    for shown in (again, old):
        ours.verify(shown.token, HOSHINO.id, FIRST.public, NOW + 2)
    assert ours.newest(HOSHINO.id) == again
