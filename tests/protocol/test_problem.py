# SPDX-License-Identifier: Apache-2.0
"""Problem documents: signed by whoever refused, understood also when unknown."""

import pytest

from protocol.canonical import canonical
from protocol.errors import Malformed, UnknownKey
from protocol.problem import (
    PROBLEM,
    ProblemBody,
    Refusal,
    SignedProblem,
    describe,
)
from protocol.problem_catalog import CATALOG
from protocol.signature import Received, SingleKey, digest_of, sign
from tests.protocol.cities import NOW, signing
from tests.protocol.exchanges import EXCHANGE, RECIPIENT

BROKER = "minato/broker"
REFUSED = SignedProblem(
    iss=BROKER,
    aud=RECIPIENT,
    jti=EXCHANGE,
    iat=NOW,
    exp=NOW + 60,
    request=digest_of(b"header"),
    problem=ProblemBody(code="no-route", detail="to farawa", retry_after_ms=500),
)


def test_known_code_has_its_own_words() -> None:
    """Title and remedy stand in the catalog."""
    assert describe("no-route") is CATALOG["no-route"]


def test_code_of_a_newer_peer_gets_general_words() -> None:
    """It must not end in an error of ours."""
    for code in ("brand-new", "", "constructor"):
        assert describe(code) is CATALOG["unknown-problem"]


def test_refusal_is_signed_by_the_broker() -> None:
    """A broker cannot invent the refusal of another."""
    keys = SingleKey(BROKER, signing(BROKER).public)
    token = sign(signing(BROKER), PROBLEM, REFUSED).token
    assert Received.parse(token, PROBLEM).verify(SignedProblem, keys).body == REFUSED
    forged = sign(signing("yamanami/broker"), PROBLEM, REFUSED).token
    with pytest.raises(UnknownKey):
        Received.parse(forged, PROBLEM).verify(SignedProblem, keys)


@pytest.mark.parametrize(
    "problem",
    [
        {},
        {"code": 404},
        {"code": "a", "detail": "x" * 513},
        {"code": "a", "retry_after_ms": -1},
        {"code": "a", "retry_after_ms": "soon"},
    ],
)
def test_odd_problem_is_refused(problem: dict[str, object]) -> None:
    """Bounded, and never without a code."""
    with pytest.raises(Malformed):
        ProblemBody.decode(canonical(problem))


def test_own_finding_names_nobody() -> None:
    """A timeout was signed by no one."""
    refusal = Refusal("timeout")
    assert (refusal.by, refusal.signed) == (None, False)
