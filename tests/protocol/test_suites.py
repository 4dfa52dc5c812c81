# SPDX-License-Identifier: Apache-2.0
"""Suites: keys that pass their checks, and one verifier for everybody."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.canonical import b64url, canonical
from protocol.errors import BadKey, BadSignature, ProtocolViolation, UnsupportedSuite
from protocol.suites import SigningKey, Suite, VerifyingKey
from tests.protocol.cities import signing
from tests.protocol.published import published, wycheproof

BOTH = pytest.mark.parametrize("suite", list(Suite))
EDWARDS_PRIME = 2**255 - 19
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def verifies(key: VerifyingKey, signature: bytes, data: bytes) -> bool:
    """Tell whether the key verifies the signature."""
    try:
        key.verify(signature, data)
    except BadSignature:
        return False
    return True


def sides_with(key: VerifyingKey, case: dict[str, str]) -> bool:
    """Tell whether we judge a Wycheproof case as it says."""
    signature, data = bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"])
    return verifies(key, signature, data) == (case["result"] == "valid")


@BOTH
def test_signature_verifies(suite: Suite) -> None:
    """The round trip."""
    key = signing("clinic", suite)
    assert verifies(key.public, key.sign(b"text"), b"text")
    assert len(key.sign(b"")) == 64


@BOTH
@pytest.mark.parametrize("position", [0, 31, 32, 63])
def test_altered_signature_is_refused(suite: Suite, position: int) -> None:
    """In either half, at either end."""
    signature = bytearray(signing("clinic", suite).sign(b"text"))
    signature[position] ^= 1
    assert not verifies(signing("clinic", suite).public, bytes(signature), b"text")


@BOTH
@pytest.mark.parametrize("size", [0, 63, 65, 72])
def test_signature_of_another_length_is_refused(suite: Suite, size: int) -> None:
    """Also one with something appended, and the DER form."""
    signature = (signing("clinic", suite).sign(b"text") + bytes(9))[:size]
    assert not verifies(signing("clinic", suite).public, signature, b"text")


def test_border_between_signature_and_text_is_fixed() -> None:
    """The library takes both in one piece; a byte cannot change sides."""
    key = signing("clinic")
    assert not verifies(key.public, key.sign(b"xtext") + b"x", b"text")
    whole = key.sign(b"text")
    assert not verifies(key.public, whole[:63], whole[63:] + b"text")


@BOTH
def test_signature_of_another_key_or_text_is_refused(suite: Suite) -> None:
    """What a signature is for."""
    signature = signing("clinic", suite).sign(b"text")
    assert not verifies(signing("market", suite).public, signature, b"text")
    assert not verifies(signing("clinic", suite).public, signature, b"texts")


def test_signature_of_one_suite_is_none_of_the_other() -> None:
    """Algorithm confusion ends at the key."""
    for suite, other in ((Suite.HYBRID, Suite.STRICT), (Suite.STRICT, Suite.HYBRID)):
        signature = signing("clinic", suite).sign(b"text")
        assert not verifies(signing("clinic", other).public, signature, b"text")


def test_published_ed25519_cases_are_judged_as_published() -> None:
    """Wycheproof: malleability, truncation, garbage, edge values."""
    cases = wycheproof("ed25519_test")
    wrong = []
    for group, case in cases:
        raw = bytes.fromhex(group["publicKey"]["pk"])
        if not sides_with(VerifyingKey(Suite.HYBRID, raw), case):
            wrong.append(case["tcId"])
    assert (len(cases), wrong) == (76, [])


def test_published_p256_cases_are_judged_as_published() -> None:
    """Wycheproof: range checks, r and s of 0, edge points, special hashes."""
    cases = wycheproof("ecdsa_secp256r1_sha256_p1363_test")
    wrong = []
    for group, case in cases:
        raw = bytes.fromhex(group["publicKey"]["uncompressed"])
        if not sides_with(VerifyingKey(Suite.STRICT, raw), case):
            wrong.append(case["tcId"])
    assert (len(cases), wrong) == (131, [])


def test_published_edge_points_have_one_verdict() -> None:
    """CCTV gives no verdict; ours is the strictest: libraries cannot disagree on it.

    A key of low or mixed order, or in a second spelling, is refused when it is
    registered. Of the honest keys, only the one case without an oddity verifies.
    """
    fine = []
    for case in published("vectors/ed25519_cctv_odd.json"):
        flags = set(case["flags"] or [])
        odd_key = flags & {"low_order_A", "low_order_component_A", "non_canonical_A"}
        try:
            key = VerifyingKey(Suite.HYBRID, bytes.fromhex(case["key"]))
        except BadKey:
            assert odd_key, case
            continue
        assert not odd_key, case
        if verifies(key, bytes.fromhex(case["sig"]), case["msg"].encode()):
            fine.append(flags)
    assert fine == [set()]


@pytest.mark.parametrize(
    "raw",
    [
        bytes(32),
        b"\x01" + bytes(31),
        bytes(31) + b"\x80",
        EDWARDS_PRIME.to_bytes(32, "little"),
        (EDWARDS_PRIME - 1).to_bytes(32, "little"),
        (EDWARDS_PRIME + 1).to_bytes(32, "little"),
        b"\xff" * 32,
        b"\x02" + bytes(31),
        b"",
        bytes(31),
        bytes(33),
    ],
)
def test_ed25519_key_that_must_not_be_used_is_refused(raw: bytes) -> None:
    """Neutral and low-order points, other spellings, off the curve, other lengths."""
    with pytest.raises(BadKey):
        VerifyingKey(Suite.HYBRID, raw)


def test_p256_key_that_must_not_be_used_is_refused() -> None:
    """Off the curve, at infinity, compressed, hybrid form, other lengths."""
    good = signing("clinic", Suite.STRICT).public.raw
    parity = 2 + good[64] % 2
    for raw in (
        bytes(65),
        b"\x04" + bytes(64),
        good[:64] + bytes([good[64] ^ 1]),
        bytes([parity]) + good[1:33],
        bytes([parity + 4]) + good[1:],
        bytes([parity]) + good[1:],
        good[:64],
        good + b"\x00",
        b"\x04" + b"\xff" * 64,
    ):
        with pytest.raises(BadKey):
            VerifyingKey(Suite.STRICT, raw)


@BOTH
def test_jwk_names_the_same_key(suite: Suite) -> None:
    """The key as it stands in documents."""
    key = signing("clinic", suite).public
    assert VerifyingKey.from_jwk(key.jwk) == key
    assert VerifyingKey.from_jwk(json.loads(json.dumps(key.jwk))).kid == key.kid


def test_name_of_a_key_equals_the_published_thumbprint() -> None:
    """RFC 8037, appendix A.3."""
    example = published("vectors/oauth_rfc_examples.json")["eddsa_rfc8037"]
    assert VerifyingKey.from_jwk(example["jwk"]).kid == example["thumbprint"]


@BOTH
def test_name_of_a_key_ignores_further_members(suite: Suite) -> None:
    """RFC 7638: only the required members count, else one key had many names."""
    key = signing("clinic", suite).public
    extended = {**key.jwk, "use": "sig", "kid": "another", "alg": "none"}
    assert VerifyingKey.from_jwk(extended).kid == key.kid
    assert key.kid == b64url(hashlib.sha256(canonical(key.jwk)).digest())


@pytest.mark.parametrize(
    "change",
    [
        {"kty": "EC"},
        {"crv": "X25519"},
        {"crv": "Ed448"},
        {"kty": "oct", "k": "AAAA"},
        {"x": ""},
        {"x": 5},
        {"x": None},
        {"x": "A" * 44},
        {"x": "AQ" + "A" * 41},
        {"x": "=" * 43},
        {"kty": ["OKP"]},
    ],
)
def test_odd_jwk_is_refused(change: dict[str, object]) -> None:
    """Another kind, another curve, another length, a low-order point."""
    with pytest.raises(ProtocolViolation):
        VerifyingKey.from_jwk({**signing("clinic").public.jwk, **change})


def test_p256_jwk_needs_both_full_coordinates() -> None:
    """A coordinate without its leading zeros is another spelling."""
    jwk = signing("clinic", Suite.STRICT).public.jwk
    changes: list[dict[str, object]] = [{"crv": "P-384"}]
    for name in ("x", "y"):
        changes += [{name: odd} for odd in ("", jwk[name][:-2], None, 5)]
    for change in changes:
        with pytest.raises(ProtocolViolation):
            VerifyingKey.from_jwk({**jwk, **change})


@given(st.sampled_from(list(Suite)), st.binary(max_size=70))
def test_random_bytes_are_a_key_or_a_bad_key(suite: Suite, raw: bytes) -> None:
    """No third outcome."""
    try:
        key = VerifyingKey(suite, raw)
    except BadKey:
        return
    assert not verifies(key, bytes(64), b"")


@given(st.sampled_from(list(Suite)), st.binary(min_size=64, max_size=64))
def test_random_signature_is_refused(suite: Suite, signature: bytes) -> None:
    """By an error of ours, never by one of a library."""
    assert not verifies(signing("clinic", suite).public, signature, b"text")


@pytest.mark.parametrize("seed", [bytes(48), b"\xff" * 48])
@BOTH
def test_any_seed_makes_a_key(suite: Suite, seed: bytes) -> None:
    """A P-256 scalar is neither 0 nor beyond the order, whatever chance brings."""
    key = SigningKey(suite, seed)
    assert verifies(key.public, key.sign(b"text"), b"text")


def test_p256_seed_is_reduced_without_bias() -> None:
    """48 bytes modulo the order, as FIPS 186-5, A.2.1 allows."""
    seed = (P256_ORDER - 1).to_bytes(48, "big")
    assert (
        SigningKey(Suite.STRICT, seed).public
        == SigningKey(Suite.STRICT, bytes(48)).public
    )


def test_private_key_does_not_show_in_a_log() -> None:
    """A repr ends up in a traceback sooner or later."""
    key = signing("clinic")
    assert key.seed.hex()[:16] not in repr(key)
    assert repr(key.seed)[2:12] not in repr(key)


def test_unknown_suite_is_refused_by_name() -> None:
    """The settings name suites in words."""
    assert Suite.named("strict") is Suite.STRICT
    with pytest.raises(UnsupportedSuite):
        Suite.named("none")
