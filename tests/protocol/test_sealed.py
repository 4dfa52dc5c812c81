# SPDX-License-Identifier: Apache-2.0
"""Sealing: opens for one key, in one context, whole, or not at all."""

import hashlib

import pytest
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import BadKey, CannotOpen, ProtocolViolation
from protocol.sealed import (
    OpeningKey,
    PublicSealingKey,
    SealingKey,
    open_answer,
    seal_answer,
)
from protocol.suites import Suite
from tests.protocol.cities import opening, seed
from tests.protocol.published import published, wycheproof

BOTH = pytest.mark.parametrize("suite", list(Suite))
LABEL = "machikura test 1"
RESPONSE_KEY, DIGEST = seed("response", 32), seed("digest", 32)


def xor(one: bytes, other: bytes) -> bytes:
    """Return the difference of two texts of one length."""
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


@BOTH
def test_sealed_text_opens(suite: Suite) -> None:
    """The round trip, also of nothing, and with a long context."""
    key = opening("clinic", suite)
    for context, text in ((b"", b""), (b"header", b"text"), (bytes(16384), b"x")):
        sealed = key.public.seal(LABEL, context, text)
        assert key.open(LABEL, context, sealed) == text


@BOTH
def test_sealing_twice_looks_different(suite: Suite) -> None:
    """Nobody on the way can tell that a request is repeated."""
    key = opening("clinic", suite).public
    assert key.seal(LABEL, b"", b"text") != key.seal(LABEL, b"", b"text")


@BOTH
@pytest.mark.parametrize(
    ("label", "context"),
    [
        ("machikura other 1", b"header"),
        (LABEL, b"headers"),
        (LABEL, b""),
        (LABEL, b"\x00header"),
        (f"{LABEL}\x00header", b""),
        ("machikura test 1\x00hea", b"der"),
    ],
)
def test_sealed_text_moved_to_another_context_does_not_open(
    suite: Suite, label: str, context: bytes
) -> None:
    """Under another header, or as another kind of thing."""
    key = opening("clinic", suite)
    sealed = key.public.seal(LABEL, b"header", b"text")
    with pytest.raises(CannotOpen):
        key.open(label, context, sealed)


@BOTH
def test_sealed_text_opens_for_its_receiver_only(suite: Suite) -> None:
    """A swapped recipient gets nothing, also one of the other suite."""
    sealed = opening("clinic", suite).public.seal(LABEL, b"", b"text")
    for other in Suite:
        with pytest.raises(CannotOpen):
            opening("market", other).open(LABEL, b"", sealed)


@BOTH
def test_truncated_ciphertext_does_not_open(suite: Suite) -> None:
    """Cut anywhere: within the encapsulated key, the text, the tag."""
    key = opening("clinic", suite)
    sealed = key.public.seal(LABEL, b"", b"text")
    for size in {0, 1, 32, 64, 65, 66, 80, 81, 84, 1088, 1120, 1135, 1136, 1139}:
        if size < len(sealed):
            with pytest.raises(CannotOpen):
                key.open(LABEL, b"", sealed[:size])
    with pytest.raises(CannotOpen):
        key.open(LABEL, b"", sealed[:-1])
    with pytest.raises(CannotOpen):
        key.open(LABEL, b"", sealed + b"\x00")


@pytest.mark.parametrize("suite", list(Suite))
@given(st.data())
def test_altered_ciphertext_does_not_open(suite: Suite, data: st.DataObject) -> None:
    """In any single byte; the error is always ours."""
    key = opening("clinic", suite)
    sealed = bytearray(key.public.seal(LABEL, b"", b"text"))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CannotOpen):
        key.open(LABEL, b"", bytes(sealed))


@pytest.mark.parametrize("suite", list(Suite))
@given(st.binary(max_size=1300))
def test_random_bytes_do_not_open(suite: Suite, data: bytes) -> None:
    """Points off the curve included."""
    for sealed in (data, data + bytes(1200)):
        with pytest.raises(CannotOpen):
            opening("clinic", suite).open(LABEL, b"", sealed)


@BOTH
def test_public_key_travels_in_documents(suite: Suite) -> None:
    """Suite and raw bytes, and back."""
    key = opening("clinic", suite).public
    document = PublicSealingKey.decode(key.document.encode())
    assert document.load() == key


@pytest.mark.parametrize("size", [0, 32, 64, 66, 1184, 1215, 1217])
@BOTH
def test_public_key_of_another_length_is_refused(suite: Suite, size: int) -> None:
    """Each suite has one length."""
    with pytest.raises(BadKey):
        SealingKey(suite, opening("clinic").public.raw[:1216].ljust(size)[:size])


@pytest.mark.parametrize(
    "point",
    [
        bytes(32),
        b"\x01" + bytes(31),
        (2**255 - 20).to_bytes(32, "little"),
        (2**255 - 19).to_bytes(32, "little"),
        (2**255 - 18).to_bytes(32, "little"),
        bytes.fromhex(
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"
        ),
        bytes.fromhex(
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"
        ),
    ],
)
def test_sealing_key_with_a_low_order_point_is_refused(point: bytes) -> None:
    """It would take the classical half out of the hybrid; refused when registered."""
    with pytest.raises(BadKey):
        SealingKey(Suite.HYBRID, opening("clinic").public.raw[:1184] + point)


def test_sealing_key_with_an_odd_lattice_half_is_refused() -> None:
    """FIPS 203: coefficients are below the modulus."""
    raw = b"\xff" * 1184 + opening("clinic").public.raw[1184:]
    with pytest.raises(BadKey):
        SealingKey(Suite.HYBRID, raw)


def test_p256_sealing_key_off_the_curve_is_refused() -> None:
    """An invalid point would leak the private key bit by bit."""
    raw = bytearray(opening("clinic", Suite.STRICT).public.raw)
    raw[64] ^= 1
    for odd in (bytes(raw), bytes(65), b"\x06" + bytes(raw[1:])):
        with pytest.raises(BadKey):
            SealingKey(Suite.STRICT, odd)


@given(st.sampled_from(list(Suite)), st.text("AZaz09-_=", max_size=90))
def test_any_text_is_a_sealing_key_or_a_fault_of_the_peer(
    suite: Suite, text: str
) -> None:
    """Documents carry it as text."""
    with pytest.raises(ProtocolViolation):
        PublicSealingKey(suite=suite, pub=text).load()


@BOTH
@pytest.mark.parametrize("octet", [b"\x00", b"\xff"])
def test_any_seed_makes_an_opening_key(suite: Suite, octet: bytes) -> None:
    """Whatever chance brings."""
    key = OpeningKey(suite, octet * 96)
    assert key.open(LABEL, b"", key.public.seal(LABEL, b"", b"text")) == b"text"


def test_private_key_does_not_show_in_a_log() -> None:
    """A repr ends up in a traceback sooner or later."""
    assert repr(opening("clinic").seed)[2:12] not in repr(opening("clinic"))


def test_published_hybrid_key_is_expanded_as_published() -> None:
    """ML-KEM-768 + X25519: our seed is the expanded decapsulation key of the draft."""
    case = published("vectors/hpke_pq_public.json")[0]
    expanded = hashlib.shake_256(bytes.fromhex(case["skRm"])).digest(96)
    assert OpeningKey(Suite.HYBRID, expanded).public.raw.hex() == case["pkRm"]


def test_published_hybrid_key_schedule_is_ours() -> None:
    """The published ciphertexts use associated data, which the library cannot take.

    So a text is encrypted here under the published message key and nonce, and must open
    under the published encapsulation and `info`.
    """
    case = published("vectors/hpke_pq_public.json")[0]
    suite = hpke.Suite(
        hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305
    )
    expanded = hashlib.shake_256(bytes.fromhex(case["skRm"])).digest(96)
    text = ChaCha20Poly1305(bytes.fromhex(case["key"])).encrypt(
        bytes.fromhex(case["base_nonce"]), b"text", None
    )
    opened = suite.decrypt(
        bytes.fromhex(case["enc"]) + text,
        OpeningKey(Suite.HYBRID, expanded)._key,
        bytes.fromhex(case["info"]),
    )
    assert opened == b"text"


def test_published_rfc_9180_key_schedules_agree() -> None:
    """The same for base mode with X25519: it shares KDF and AEAD with our suites."""
    ciphers = {1: hpke.AEAD.AES_128_GCM, 3: hpke.AEAD.CHACHA20_POLY1305}
    used = 0
    for case in published("vectors/hpke_rfc9180_x25519_public.json"):
        if case["mode"] != 0 or case["aead_id"] not in ciphers:
            continue
        used += 1
        cipher = ChaCha20Poly1305 if case["aead_id"] == 3 else AESGCM
        text = cipher(bytes.fromhex(case["key"])).encrypt(
            bytes.fromhex(case["base_nonce"]), b"text", None
        )
        suite = hpke.Suite(
            hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, ciphers[case["aead_id"]]
        )
        private = x25519.X25519PrivateKey.from_private_bytes(
            bytes.fromhex(case["skRm"])
        )
        info = bytes.fromhex(case["info"])
        assert suite.decrypt(bytes.fromhex(case["enc"]) + text, private, info) == (
            b"text"
        )
    assert used == 2


def test_published_hkdf_cases_agree() -> None:
    """Wycheproof and RFC 5869, for the derivation of answer keys."""
    rfc = [
        (case, int(case["l"])) for case in published("vectors/hkdf_rfc5869_sha256.json")
    ]
    cases = rfc + [
        (case, case["size"])
        for _, case in wycheproof("hkdf_sha256_test")
        if case["result"] == "valid"
    ]
    for case, length in cases:
        derived = HKDF(
            SHA256(), length, bytes.fromhex(case["salt"]), bytes.fromhex(case["info"])
        ).derive(bytes.fromhex(case["ikm"]))
        assert derived.hex() == case["okm"]
    assert len(cases) > 30


@given(st.binary(max_size=200))
def test_answer_opens_for_the_asker(answer: bytes) -> None:
    """The round trip."""
    sealed = seal_answer(RESPONSE_KEY, DIGEST, answer)
    assert open_answer(RESPONSE_KEY, DIGEST, sealed) == answer


def test_answer_to_another_request_does_not_open() -> None:
    """Foreign answers: another request, or another asker's key."""
    sealed = seal_answer(RESPONSE_KEY, DIGEST, b"answer")
    with pytest.raises(CannotOpen):
        open_answer(RESPONSE_KEY, seed("other digest", 32), sealed)
    with pytest.raises(CannotOpen):
        open_answer(seed("other key", 32), DIGEST, sealed)


@given(st.integers(0, 40), st.integers(1, 255))
def test_altered_answer_does_not_open(position: int, change: int) -> None:
    """In nonce, text or tag."""
    sealed = bytearray(seal_answer(RESPONSE_KEY, DIGEST, b"thirteen text"))
    sealed[position] ^= change
    with pytest.raises(CannotOpen):
        open_answer(RESPONSE_KEY, DIGEST, bytes(sealed))


@pytest.mark.parametrize("size", range(34))
def test_truncated_answer_does_not_open(size: int) -> None:
    """Down to nothing, always with our own error."""
    with pytest.raises(CannotOpen):
        open_answer(
            RESPONSE_KEY, DIGEST, seal_answer(RESPONSE_KEY, DIGEST, b"answer")[:size]
        )


def test_two_answers_to_one_request_share_no_key_stream() -> None:
    """A broker that replays a request must not learn the first answer by the second.

    With one nonce for both, XOR of the ciphertexts would be XOR of the texts.
    """
    one = seal_answer(RESPONSE_KEY, DIGEST, b"released record")
    two = seal_answer(RESPONSE_KEY, DIGEST, b"refused, replay")
    mixed = xor(b"released record", b"refused, replay")
    assert one[:12] != two[:12]
    assert xor(one[12:27], two[12:27]) != mixed
    assert one == seal_answer(RESPONSE_KEY, DIGEST, b"released record")
