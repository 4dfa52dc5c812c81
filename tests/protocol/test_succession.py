# SPDX-License-Identifier: Apache-2.0
"""A root that follows another: both have signed the same."""

from __future__ import annotations

import pytest

from protocol.errors import BadSignature, Malformed, ProtocolViolation
from protocol.succession import ROOT_SUCCESSION, Succession
from protocol.suites import SigningKey
from tests.protocol.cities import HOSHINO, MINATO, NOW, resign, signing

OLD, NEW = HOSHINO.root, signing("second root")


def made(
    old: SigningKey = OLD, new: SigningKey = NEW, sequence: int = 1, until: int = NOW
) -> Succession:
    """Return a succession of the city of Hoshino."""
    return Succession.make(
        HOSHINO.id, old, new, sequence=sequence, until=until, now=NOW, identifier="1"
    )


def test_succession_verifies_with_both_keys() -> None:
    """It names the old key, the new one, and its place in the line."""
    said = made().verify(HOSHINO.id).body
    assert (said.old_key(), said.new_key()) == (OLD.public, NEW.public)
    assert said.sequence == 1


def test_succession_that_only_the_old_root_signed_is_refused() -> None:
    """Attack: somebody's public key is named as the new root."""
    token = resign(made().by_new, ROOT_SUCCESSION, OLD)
    with pytest.raises(ProtocolViolation):
        Succession(by_old=made().by_old, by_new=token).verify(HOSHINO.id)


def test_succession_that_only_the_new_root_signed_is_refused() -> None:
    """Attack: anybody names himself."""
    token = resign(made().by_old, ROOT_SUCCESSION, NEW)
    with pytest.raises(ProtocolViolation):
        Succession(by_old=token, by_new=made().by_new).verify(HOSHINO.id)


def test_signatures_over_two_statements_are_refused() -> None:
    """Attack: the new root agreed to a shorter overlap."""
    other = made(until=NOW + 1)
    with pytest.raises(BadSignature):
        Succession(by_old=made().by_old, by_new=other.by_new).verify(HOSHINO.id)


def test_succession_of_another_city_is_refused() -> None:
    """Whose it is stands in it, under both signatures."""
    with pytest.raises(ProtocolViolation):
        made().verify(MINATO.id)


def test_root_does_not_follow_itself() -> None:
    """It would only count up the sequence."""
    with pytest.raises(Malformed):
        made(new=OLD).verify(HOSHINO.id)
