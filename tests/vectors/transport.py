# SPDX-License-Identifier: Apache-2.0
"""Vectors of what travels: envelopes, hop records, location tokens."""

import json
from collections.abc import Iterable

from protocol.canonical import b64url, canonical, unb64url
from protocol.envelope import ROUTING, Envelope
from protocol.hop import HopRecord
from protocol.location import TokenBody
from protocol.signature import digest_of, sign_bytes, typ_of
from protocol.suites import SigningKey, Suite
from tests.protocol.cities import (
    HOSHINO,
    MINATO,
    NOW,
    opening,
    signing,
)
from tests.protocol.exchanges import (
    HOLDER,
    RECIPIENT,
    header,
    hop_chain,
    sealed,
)
from tests.vectors.cases import Case, fails, flipped, opening_json, passes


def _sent(sender: Suite = Suite.HYBRID, holder: Suite = Suite.HYBRID) -> Envelope:
    return sealed(
        header(), b"body", opening(HOLDER, holder).public, signing(RECIPIENT, sender)
    )


def _given(
    sent: Envelope | bytes,
    sender: Suite = Suite.HYBRID,
    holder: Suite = Suite.HYBRID,
    owner: str = RECIPIENT,
    max_bytes: int = 65536,
) -> Case:
    return {
        "envelope": b64url(sent if isinstance(sent, bytes) else sent.pack()),
        "max_bytes": max_bytes,
        "sender": owner,
        "sender_jwk": signing(RECIPIENT, sender).public.jwk,
        "opening_key": opening_json(opening(HOLDER, holder)),
    }


def _with_header(sent: Envelope, key: SigningKey, **changes: object) -> Envelope:
    """Sign the envelope's header anew with other protected members."""
    members = {
        "alg": key.public.suite.algorithm,
        "kid": key.public.kid,
        "typ": typ_of(ROUTING),
        "body": digest_of(sent.body),
        "size": len(sent.body),
        **changes,
    }
    kept = {name: value for name, value in members.items() if value is not ...}
    signing_input = f"{b64url(canonical(kept))}.{b64url(sent.received.payload)}"
    token = f"{signing_input}.{b64url(key.sign(signing_input.encode()))}"
    return Envelope(token.encode(), b"", sent.body)


def envelopes() -> Iterable[Case]:
    """Yield requests as they travel."""
    sent, key = _sent(), signing(RECIPIENT)
    packed = sent.pack()
    result = {"header": json.loads(sent.received.payload), "body": b64url(b"body")}
    yield passes("valid", _given(sent), result)
    for sender, holder in (
        (Suite.STRICT, Suite.STRICT),
        (Suite.STRICT, Suite.HYBRID),
        (Suite.HYBRID, Suite.STRICT),
    ):
        mixed = _sent(sender, holder)
        shown = {**result, "header": json.loads(mixed.received.payload)}
        name = f"valid, signed {sender}, sealed {holder}"
        yield passes(name, _given(mixed, sender, holder), shown)
    carried = Envelope(sent.token, hop_chain(sent.digest, "minato/broker"), sent.body)
    yield passes("valid, one hop", _given(carried), result)
    yield fails(
        "key of one organization, name of another",
        _given(sent, owner="minato/energy"),
        "wrong-issuer",
    )
    yield fails(
        "key that nobody vouches for",
        _given(_with_header(sent, signing("stranger"))),
        "unknown-key",
    )
    yield fails(
        "name of the right key, signature of another",
        _given(_with_header(sent, signing("stranger"), kid=key.public.kid)),
        "bad-signature",
    )
    for name, changes, failure in (
        ("another kind of document", {"typ": typ_of("consent")}, "wrong-type"),
        ("algorithm none", {"alg": "none"}, "unsupported-suite"),
        ("algorithm of the other suite", {"alg": "ES256"}, "bad-signature"),
        ("header with crit", {"crit": ["b64"], "b64": False}, "malformed"),
        ("header with jwk", {"jwk": key.public.jwk}, "malformed"),
        ("header without the size of the body", {"size": ...}, "malformed"),
        ("digest of another body", {"body": digest_of(b"other")}, "malformed"),
    ):
        yield fails(name, _given(_with_header(sent, key, **changes)), failure)
    other = sealed(header(hops=3), b"body", opening(HOLDER).public, key)
    yield fails(
        "body under another header of the same sender",
        _given(Envelope(other.token, b"", sent.body)),
        "malformed",
    )
    moved = sign_bytes(
        key,
        ROUTING,
        header(hops=3).encode(),
        {"body": digest_of(sent.body), "size": len(sent.body)},
    )
    yield fails(
        "body under another header that was signed for it",
        _given(Envelope(moved.encode(), b"", sent.body)),
        "cannot-open",
    )
    elsewhere = sealed(header(), b"body", opening("hoshino/market").public, key)
    yield fails("sealed to another node", _given(elsewhere), "cannot-open")
    yield fails("altered header", _given(flipped(packed, 300)), "bad-signature")
    yield fails("altered body", _given(flipped(packed, -1)), "malformed")
    yield fails("truncated body", _given(packed[:-1]), "malformed")
    yield fails("truncated prefix", _given(packed[:8]), "malformed")
    yield fails("version 3", _given(b"\x03" + packed[1:]), "unsupported-version")
    yield fails(
        "header longer than allowed",
        _given(b"\x02\x00\x00\x40\x01" + packed[5:]),
        "too-large",
    )
    yield fails(
        "envelope longer than allowed",
        _given(sent, max_bytes=len(packed) - 1),
        "too-large",
    )


def hops() -> Iterable[Case]:
    """Yield chains of hop records."""
    header_digest = digest_of(b"a routing header")
    brokers = ["minato/broker", "yamanami/broker", "hoshino/broker"]
    chain = hop_chain(header_digest, *brokers)
    first, second, third = chain.splitlines(keepends=True)

    def given(lines: bytes, named: str = header_digest) -> Case:
        return {"header_digest": named, "hops": lines.decode()}

    yield passes("valid", given(chain), {"by": brokers})
    yield passes("none", given(b""), {"by": []})
    later = HopRecord.decode(second[:-1]).model_copy(update={"at_ms": 1}).encode()
    for name, lines in (
        ("first record dropped", second + third),
        ("middle record dropped", first + third),
        ("two records exchanged", first + third + second),
        ("a record twice", first + second + second + third),
        ("a record altered", first + later + b"\n" + third),
        ("last line feed missing", chain[:-1]),
        ("carriage returns", chain.replace(b"\n", b"\r\n")),
        ("empty line", first + b"\n" + second + third),
        ("white space", chain.replace(b":", b": ", 1)),
        ("a broker twice", hop_chain(header_digest, *brokers, "minato/broker")),
    ):
        yield fails(name, given(lines), "malformed")
    yield fails("chain of another exchange", given(chain, digest_of(b"x")), "malformed")
    yield fails("seventeen lines", given(b"\n" * 17), "too-large")


def location_tokens() -> Iterable[Case]:
    """Yield tokens as they stand in routing headers."""
    body = TokenBody(node=HOLDER, exp=NOW + 600, consent="consent 1", nonce="n1")

    def given(token: str, suite: Suite = Suite.HYBRID, now: int = NOW) -> Case:
        return {
            "token": token,
            "city": "hoshino",
            "now": now,
            "opening_key": opening_json(opening("hoshino/broker", suite)),
        }

    result = json.loads(body.encode())
    for suite in Suite:
        key = opening("hoshino/broker", suite).public
        yield passes(
            f"valid, {suite}", given(body.seal(HOSHINO.id, key), suite), result
        )
    key = opening("hoshino/broker").public
    token = body.seal(HOSHINO.id, key)
    yield passes("in its last second", given(token, now=NOW + 599), result)
    yield fails("at its end", given(token, now=NOW + 600), "expired")
    yield fails("wrong city", given(body.seal(MINATO.id, key)), "cannot-open")
    stray = body.seal(HOSHINO.id, opening("minato/broker").public)
    yield fails("sealed to another broker", given(stray), "cannot-open")
    away = body.model_copy(update={"node": RECIPIENT}).seal(HOSHINO.id, key)
    yield fails("node of another city", given(away), "malformed")
    ticket_ = key.seal("machikura ticket 1", b"hoshino", body.encode())
    yield fails("another label", given(b64url(ticket_)), "cannot-open")
    yield fails("truncated", given(b64url(unb64url(token)[:-1])), "cannot-open")
    yield fails("empty", given(""), "cannot-open")
    yield fails("with padding", given(token + "="), "malformed")
    odd = key.seal("machikura location token 1", b"hoshino", b'{"node": "hoshino/a"}')
    yield fails("content not canonical", given(b64url(odd)), "malformed")
