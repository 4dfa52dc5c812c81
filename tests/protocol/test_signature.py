# SPDX-License-Identifier: Apache-2.0
"""Signed documents: each way to make one pass for another is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.canonical import b64url, canonical
from protocol.errors import (
    BadSignature,
    Malformed,
    ProtocolViolation,
    TooLarge,
    UnknownKey,
    UnsupportedSuite,
    UnsupportedVersion,
    WrongIssuer,
    WrongType,
)
from protocol.model import Claims
from protocol.signature import (
    Received,
    SingleKey,
    digest_of,
    sign,
    sign_bytes,
    typ_of,
)
from protocol.suites import SigningKey, Suite
from tests.protocol.cities import NOW, registry, signing
from tests.protocol.published import published

KIND = "consent"
CLINIC, MARKET = "hoshino/clinic", "hoshino/market"
KEYS = registry({CLINIC: signing(CLINIC).public, MARKET: signing(MARKET).public})


def claims(issuer: str = CLINIC) -> Claims:
    """Return claims of the clinic."""
    return Claims(iss=issuer, aud="b", jti="c", iat=NOW, exp=NOW + 9)


def with_header(header: object, key: SigningKey | None = None) -> str:
    """Return a token whose header is as given and whose signature is right."""
    signer = key or signing(CLINIC)
    head = header if isinstance(header, bytes) else canonical(header)
    signing_input = f"{b64url(head)}.{b64url(claims().encode())}"
    return f"{signing_input}.{b64url(signer.sign(signing_input.encode()))}"


def header(**changes: object) -> dict[str, object]:
    """Return the right header, with changes."""
    kid = signing(CLINIC).public.kid
    return {"alg": "Ed25519", "kid": kid, "typ": typ_of(KIND), **changes}


@pytest.mark.parametrize("suite", list(Suite))
def test_signed_document_is_read_back(suite: Suite) -> None:
    """The round trip, and what a document is called."""
    key = signing(CLINIC, suite)
    signed = sign(key, KIND, claims())
    read = Received.parse(signed.token, KIND).verify(
        Claims, SingleKey(CLINIC, key.public)
    )
    assert read == signed
    assert read.owner == read.body.iss == CLINIC
    assert read.digest == digest_of(signed.token.encode())


def test_bytes_and_text_are_the_same_token() -> None:
    """It arrives as either."""
    token = sign(signing(CLINIC), KIND, claims()).token
    assert Received.parse(token, KIND) == Received.parse(token.encode(), KIND)


def test_key_of_one_organization_cannot_use_the_name_of_another() -> None:
    """The sender is the registered owner of the key, never a field."""
    forged = sign(signing(MARKET), KIND, claims(CLINIC)).token
    with pytest.raises(WrongIssuer):
        Received.parse(forged, KIND).verify(Claims, KEYS)


def test_name_of_another_key_in_the_header_does_not_help() -> None:
    """Signed with the market's key under the clinic's key name."""
    forged = with_header(header(), signing(MARKET))
    with pytest.raises(BadSignature):
        Received.parse(forged, KIND).verify(Claims, KEYS)


def test_key_that_nobody_vouches_for_is_unknown() -> None:
    """A right signature by an unregistered key proves nothing."""
    forged = sign(signing("stranger"), KIND, claims()).token
    with pytest.raises(UnknownKey):
        Received.parse(forged, KIND).verify(Claims, KEYS)


def test_document_of_another_kind_is_refused() -> None:
    """Typ confusion: a status list is no consent, whatever its members say."""
    token = sign(signing(CLINIC), "status-list", claims()).token
    with pytest.raises(WrongType):
        Received.parse(token, KIND)


def test_newer_version_of_a_kind_is_refused_as_such() -> None:
    """The reader learns that it is the older of the two, not that a document is odd."""
    newer = with_header(header(typ="machikura-consent.2+jws"))
    with pytest.raises(UnsupportedVersion, match="version 2 of a consent document"):
        Received.parse(newer, KIND)
    for typ in ("machikura-status-list.2+jws", "machikura-consent.x+jws"):
        with pytest.raises(WrongType):
            Received.parse(with_header(header(typ=typ)), KIND)


def test_kind_is_part_of_what_is_signed() -> None:
    """Changing the typ afterwards breaks the signature."""
    token = sign(signing(CLINIC), "status-list", claims()).token
    _, payload, signature = token.split(".")
    moved = f"{b64url(canonical(header()))}.{payload}.{signature}"
    with pytest.raises(BadSignature):
        Received.parse(moved, KIND).verify(Claims, KEYS)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "EdDSA", "RS256", "", "es256"])
def test_other_algorithm_is_refused(algorithm: str) -> None:
    """Not `none`, not a MAC under a public key, not the older polymorphic name."""
    with pytest.raises(UnsupportedSuite):
        Received.parse(with_header(header(alg=algorithm)), KIND)


def test_algorithm_of_the_other_suite_is_refused() -> None:
    """The key decides, and the header must agree with it, in both directions."""
    with pytest.raises(BadSignature, match="algorithm"):
        Received.parse(with_header(header(alg="ES256")), KIND).check(KEYS)
    key = signing(CLINIC, Suite.STRICT)
    wrong = with_header(header(kid=key.public.kid), key)
    with pytest.raises(BadSignature, match="algorithm"):
        Received.parse(wrong, KIND).check(SingleKey(CLINIC, key.public))


@pytest.mark.parametrize(
    "extra",
    [
        {"crit": ["b64"]},
        {"b64": False},
        {"jwk": signing(MARKET).public.jwk},
        {"jku": "https://attacker.example/keys"},
        {"x5c": ["AAAA"]},
        {"x5u": "https://attacker.example/"},
        {"cty": "json"},
        {"zip": "DEF"},
        {"body": "A" * 43, "size": 1},
    ],
)
def test_further_header_member_is_refused(extra: dict[str, object]) -> None:
    """No header member can bring its own key or change how bytes are read."""
    with pytest.raises(Malformed, match="unexpected"):
        Received.parse(with_header(header(**extra)), KIND)


def test_expected_header_members_must_all_be_there() -> None:
    """A routing header without the digest of its body is none."""
    both = frozenset({"body", "size"})
    token = with_header(header(body="A" * 43))
    with pytest.raises(Malformed, match="unexpected"):
        Received.parse(token, KIND, extra=both)
    token = with_header(header(body="A" * 43, size=1))
    assert Received.parse(token, KIND, extra=both).extra == {
        "body": "A" * 43,
        "size": 1,
    }


@pytest.mark.parametrize("name", ["alg", "kid", "typ"])
@pytest.mark.parametrize("value", [None, 1, ["Ed25519"], {"a": "b"}])
def test_header_member_of_another_type_is_refused(name: str, value: object) -> None:
    """A list of algorithms is no algorithm."""
    with pytest.raises(Malformed):
        Received.parse(with_header(header(**{name: value})), KIND)


@pytest.mark.parametrize("name", ["alg", "kid", "typ"])
def test_missing_header_member_is_refused(name: str) -> None:
    """Nothing is guessed."""
    left = {k: v for k, v in header().items() if k != name}
    with pytest.raises(Malformed):
        Received.parse(with_header(left), KIND)


def test_header_in_another_spelling_is_refused() -> None:
    """Also with a duplicate member, of which readers take the first or the last."""
    spaced = canonical(header()).replace(b":", b": ")
    twice = canonical(header()).replace(b'{"alg"', b'{"alg":"none","alg"', 1)
    for spelling in (spaced, twice, b"", b"[]", b"null"):
        with pytest.raises(Malformed):
            Received.parse(with_header(spelling), KIND)


def test_long_header_is_refused() -> None:
    """A header is some two hundred bytes."""
    with pytest.raises(TooLarge):
        Received.parse(with_header(header(kid="A" * 1024)), KIND)


def test_payload_in_another_spelling_is_refused() -> None:
    """Even the right owner cannot sign a document with two meanings."""
    spaced = claims().encode().replace(b":", b": ")
    token = sign_bytes(signing(CLINIC), KIND, spaced)
    with pytest.raises(Malformed):
        Received.parse(token, KIND).verify(Claims, KEYS)


def test_signature_is_checked_before_the_payload_is_read() -> None:
    """Rule 1: nobody without a key reaches the parser of the payload."""
    token = sign_bytes(signing(CLINIC), KIND, b"not JSON")
    forged = token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "AAAE")
    with pytest.raises(BadSignature):
        Received.parse(forged, KIND).verify(Claims, KEYS)


def test_altered_payload_is_refused() -> None:
    """The signature covers the exact bytes."""
    head, _, signature = sign(signing(CLINIC), KIND, claims()).token.split(".")
    altered = claims().model_copy(update={"exp": NOW + 99_999})
    forged = f"{head}.{b64url(altered.encode())}.{signature}"
    with pytest.raises(BadSignature):
        Received.parse(forged, KIND).verify(Claims, KEYS)


def test_signature_moved_between_documents_is_refused() -> None:
    """Two documents of one signer do not share signatures."""
    one = sign(signing(CLINIC), KIND, claims()).token
    other = sign(signing(CLINIC), KIND, claims().model_copy(update={"jti": "d"})).token
    forged = one.rpartition(".")[0] + "." + other.rpartition(".")[2]
    with pytest.raises(BadSignature):
        Received.parse(forged, KIND).verify(Claims, KEYS)


def test_odd_compact_form_is_refused() -> None:
    """Parts missing, added, empty, padded, wrapped, or in other letters."""
    token = sign(signing(CLINIC), KIND, claims()).token
    head, payload, signature = token.split(".")
    for odd in (
        "",
        "..",
        f"{head}.{payload}",
        f"{token}.",
        f"{token}.{signature}",
        f"{head}.{payload}.",
        f"{head}.{payload}.{signature}==",
        f"{head}.{payload}.{signature[:-2]}",
        f" {token}",
        f"{token}\n",
        f"{head}.{payload}\n.{signature}",
        f"{head}..{payload}.{signature}",
        f"{head}.{payload}.é{signature}",
        token.replace(".", "\uff0e"),
    ):
        with pytest.raises(Malformed):
            Received.parse(odd, KIND)
    with pytest.raises(Malformed):
        Received.parse(token.encode() + b"\xff", KIND)


def test_token_longer_than_the_limit_is_refused_unread() -> None:
    """The limit is the caller's."""
    token = sign(signing(CLINIC), KIND, claims()).token
    Received.parse(token, KIND, max_bytes=len(token))
    with pytest.raises(TooLarge):
        Received.parse(token, KIND, max_bytes=len(token) - 1)


def test_limit_given_when_parsing_holds_for_the_payload() -> None:
    """An answer may be longer than an ordinary document."""
    long = claims().model_copy(update={"jti": "x"})
    payload = canonical({**long.model_dump(), "padding": "x" * 300_000})
    token = sign_bytes(signing(CLINIC), KIND, payload)
    with pytest.raises(TooLarge):
        Received.parse(token, KIND)
    received = Received.parse(token, KIND, max_bytes=1 << 20)
    assert received.verify(Claims, KEYS).body.jti == "x"


def test_published_jws_of_others_are_no_documents_of_ours() -> None:
    """RFC 7520 examples: every one has a header that we refuse."""
    tokens = [
        case["vector"]["output"]["compact"]
        for case in published("vectors/jose_cookbook_rfc7520.json")
        if "compact" in case["vector"].get("output", {})
    ]
    assert tokens
    for token in tokens:
        with pytest.raises(ProtocolViolation):
            Received.parse(token, KIND)


@given(st.data())
def test_damaged_token_never_verifies(data: st.DataObject) -> None:
    """Whatever single character is changed."""
    token = sign(signing(CLINIC), KIND, claims()).token
    position = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.characters(max_codepoint=255))
    damaged = token[:position] + letter + token[position + 1 :]
    if damaged != token:
        with pytest.raises(ProtocolViolation):
            Received.parse(damaged, KIND).verify(Claims, KEYS)
