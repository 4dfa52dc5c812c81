# SPDX-License-Identifier: Apache-2.0
"""Briefs: the authority's word to one relay, for a while."""

from __future__ import annotations

import pytest

from protocol.brief import (
    BRIEF,
    Brief,
    open_token_key,
    seal_token_key,
    verify_brief,
)
from protocol.errors import (
    CannotOpen,
    Expired,
    Malformed,
    ProtocolViolation,
    WrongAudience,
)
from protocol.ids import NodeId
from protocol.signature import sign
from protocol.suites import Signer, Suite
from tests.protocol.cities import HOSHINO, MINATO, NOW, SKEW, opening

RELAY, OTHER = NodeId("hoshino/broker-2"), NodeId("hoshino/broker-3")


def brief(signer: Signer | None = None, **changes: object) -> str:
    """Return a brief of Hoshino's authority to its relay."""
    claims: dict[str, object] = {
        "iss": HOSHINO.id,
        "aud": RELAY,
        "jti": "brief",
        "iat": NOW,
        "exp": NOW + 600,
        "authority": HOSHINO.node("broker"),
        **changes,
    }
    return sign(signer or HOSHINO.operating, BRIEF, Brief.model_validate(claims)).token


def verified(token: str, now: int = NOW) -> Brief:
    """Return what the relay makes of it."""
    key = HOSHINO.operating.public
    return verify_brief(token, RELAY, key, now, SKEW).body


def test_brief_is_for_its_relay() -> None:
    """And names who speaks for the city."""
    assert verified(brief()).authority == "hoshino/broker"


@pytest.mark.parametrize("signer", [MINATO.operating, HOSHINO.root])
def test_brief_under_another_key_is_refused(signer: Signer) -> None:
    """Neither another city nor the root of our own writes briefs."""
    with pytest.raises(ProtocolViolation):
        verified(brief(signer))


def test_brief_for_another_relay_is_refused() -> None:
    """Swapped audience: what one relay was told is not for the next."""
    with pytest.raises(WrongAudience):
        verified(brief(aud=OTHER))


def test_brief_ends() -> None:
    """A relay that is cut off stops."""
    with pytest.raises(Expired):
        verified(brief(), NOW + 600)


def test_authority_is_of_the_same_city() -> None:
    """A brief cannot hand the city over."""
    with pytest.raises(Malformed):
        verified(brief(authority=MINATO.node("broker")))


@pytest.mark.parametrize("suite", list(Suite))
def test_token_key_reaches_its_relay_alone(suite: Suite) -> None:
    """Sealed to its key and bound to its name."""
    key, own = opening("tokens", suite), opening("relay", suite)
    sealed = seal_token_key(key, RELAY, own.public)
    assert open_token_key(sealed, RELAY, own) == key
    with pytest.raises(CannotOpen):
        open_token_key(sealed, RELAY, opening("other", suite))
    with pytest.raises(CannotOpen):
        open_token_key(sealed, OTHER, own)
