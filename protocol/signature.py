# SPDX-License-Identifier: Apache-2.0
"""Signed documents: compact JWS (RFC 7515) with a type of their own.

Rules:
 1. The signature covers the exact bytes as sent; they are parsed after verifying.
 2. The protected header holds `alg`, `kid` and `typ`; `crit`, `jwk`, `b64` and the like
    are refused. `typ` keeps one kind of document from passing as another.
 3. The sender is the registered owner of the key that verifies, never a field: `iss`
    must equal the owner, else `WrongIssuer`.

    signed = sign(signer, "consent", consent)
    received = Received.parse(token, "consent")
    consent = received.verify(Consent, keys)    # Signed[Consent]
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Generic, Protocol, TypeVar

from protocol.canonical import b64url, canonical, parse_canonical, unb64url
from protocol.errors import (
    BadSignature,
    Malformed,
    TooLarge,
    UnknownKey,
    UnsupportedSuite,
    UnsupportedVersion,
    WrongIssuer,
    WrongType,
)
from protocol.model import Claims
from protocol.suites import Signer, VerifyingKey

MAX_TOKEN_BYTES = 256 * 1024
_ALGORITHMS = frozenset({"Ed25519", "ES256"})
_MEMBERS = ("alg", "kid", "typ")

C = TypeVar("C", bound=Claims)


@dataclass(frozen=True)
class Owner:
    """Who a key is registered to.

    Attributes:
        name: node id or city id; what `iss` must say.
        key: the key.
    """

    name: str
    key: VerifyingKey


class KeyDirectory(Protocol):
    """Knows which key speaks for whom, now."""

    def owner_of(self, kid: str) -> Owner | None:
        """Return the registered owner of the key, None when nobody vouches for it."""


@dataclass(frozen=True)
class SingleKey:
    """A directory of one key: for a document that only its expected signer may sign."""

    name: str
    key: VerifyingKey

    def owner_of(self, kid: str) -> Owner | None:
        """Return the one owner if the name of the key fits."""
        return Owner(self.name, self.key) if kid == self.key.kid else None


def typ_of(kind: str) -> str:
    """Return the JWS `typ` of a kind of document."""
    return f"machikura-{kind}+jws"


def _other_type(typ: str, kind: str) -> WrongType | UnsupportedVersion:
    """Return why a `typ` is not the one of this kind.

    What an older party would read in another way is the same kind with a number,
    `machikura-<kind>.2+jws`: an older party then says which of the two has to be
    brought up to date.
    """
    stem, _, number = typ.removesuffix("+jws").rpartition(".")
    if stem == f"machikura-{kind}" and number.isdecimal() and len(number) <= 4:
        return UnsupportedVersion(f"version {number} of a {kind} document, not 1")
    return WrongType(f"expected a {kind} document")


def digest_of(data: bytes) -> str:
    """Return SHA-256 as base64url: the name of a document, header or body."""
    return b64url(hashlib.sha256(data).digest())


@dataclass(frozen=True)
class Signed(Generic[C]):
    """A verified document. Only `Received.verify` and `sign` make it.

    Attributes:
        token: the compact JWS, byte for byte.
        body: the parsed claims.
        owner: the registered owner of the key, equal to `body.iss`.
    """

    token: str
    body: C
    owner: str

    @cached_property
    def digest(self) -> str:
        """The document's own name."""
        return digest_of(self.token.encode("ascii"))


def sign_bytes(
    signer: Signer, kind: str, payload: bytes, extra: Mapping[str, Any] | None = None
) -> str:
    """Return the compact JWS over `payload`.

    Args:
        signer: whoever signs.
        kind: kind of document, such as `consent`.
        payload: canonical bytes.
        extra: further protected header members (routing headers have two).
    """
    key = signer.public
    protected = _protected(key.suite.algorithm, key.kid, kind, extra)
    signing_input = f"{protected}.{b64url(payload)}"
    return f"{signing_input}.{b64url(signer.sign(signing_input.encode('ascii')))}"


def _protected(
    algorithm: str, kid: str, kind: str, extra: Mapping[str, Any] | None
) -> str:
    if extra is None:
        return _plain_protected(algorithm, kid, kind)
    header = {"alg": algorithm, "kid": kid, "typ": typ_of(kind), **extra}
    return b64url(canonical(header))


@lru_cache(maxsize=1024)
def _plain_protected(algorithm: str, kid: str, kind: str) -> str:
    # The same for every document of one kind that a key signs.
    return b64url(canonical({"alg": algorithm, "kid": kid, "typ": typ_of(kind)}))


def sign(signer: Signer, kind: str, claims: C) -> Signed[C]:
    """Sign `claims` and return the verified document that it is."""
    return Signed(sign_bytes(signer, kind, claims.encode()), claims, claims.iss)


@dataclass(frozen=True)
class Received:
    """A parsed but unverified JWS: nothing in it may be believed yet."""

    raw: bytes
    alg: str
    kid: str
    extra: Mapping[str, Any]
    payload: bytes
    signature: bytes

    @property
    def token(self) -> str:
        """The compact JWS, byte for byte."""
        return self.raw.decode("ascii")

    @classmethod
    def parse(
        cls,
        token: str | bytes,
        kind: str,
        *,
        extra: frozenset[str] = frozenset(),
        max_bytes: int = MAX_TOKEN_BYTES,
    ) -> Received:
        """Take a token apart.

        Args:
            token: compact JWS.
            kind: the kind of document that this place asks for.
            extra: further protected header members that this kind has.
            max_bytes: limit of the token's length.

        Raises:
            TooLarge, Malformed, WrongType, UnsupportedSuite: as named.
            UnsupportedVersion: this kind of document, in a version to come.
        """
        if len(token) > max_bytes:
            raise TooLarge(f"signed document of {len(token)} bytes, limit {max_bytes}")
        raw = token.encode("ascii", "replace") if isinstance(token, str) else token
        if raw.count(b".") != 2:
            raise Malformed("not a compact JWS")
        protected, _, rest = raw.partition(b".")
        payload, _, signature = rest.partition(b".")
        header = _header(protected)
        if header["typ"] != typ_of(kind):
            raise _other_type(header["typ"], kind)
        if header["alg"] not in _ALGORITHMS:
            raise UnsupportedSuite("unknown signature algorithm")
        if len(header) != len(_MEMBERS) + len(extra) or not extra <= header.keys():
            raise Malformed("unexpected members in the protected header")
        return cls(
            raw,
            header["alg"],
            header["kid"],
            {name: header[name] for name in extra},
            unb64url(payload),
            unb64url(signature, length=64),
        )

    def check(self, keys: KeyDirectory) -> str:
        """Verify the signature and return the registered owner of the key.

        Raises:
            UnknownKey: nobody vouches for the key.
            BadSignature: the key does not verify, or is of another algorithm.
        """
        owner = keys.owner_of(self.kid)
        if owner is None:
            raise UnknownKey("no one we trust vouches for this key")
        if owner.key.suite.algorithm != self.alg:
            raise BadSignature("the algorithm is not the key's")
        owner.key.verify(self.signature, self.raw[: self.raw.rindex(b".")])
        return owner.name

    def verify(self, model: type[C], keys: KeyDirectory) -> Signed[C]:
        """Verify, parse, and hold the issuer to the owner of the key.

        Raises:
            UnknownKey, BadSignature: from `check`.
            Malformed: the payload is no such document.
            WrongIssuer: `iss` names somebody else.
        """
        owner = self.check(keys)
        body = self.peek(model)
        if body.iss != owner:
            raise WrongIssuer(f"{model.__name__} names another issuer than its key's")
        return Signed(self.token, body, owner)

    def peek(self, model: type[C]) -> C:
        """Parse without believing: only to find out whose key to ask for."""
        # `parse` has bounded the token, and with it the payload.
        return model.decode(self.payload, len(self.payload))


@lru_cache(maxsize=1024)
def _plain_header(segment: bytes) -> dict[str, Any]:
    return _parse_header(segment)


def _header(segment: bytes) -> dict[str, Any]:
    # Headers without extra members recur with every document of a signer.
    return _plain_header(segment) if len(segment) < 160 else _parse_header(segment)


def _parse_header(segment: bytes) -> dict[str, Any]:
    header = parse_canonical(unb64url(segment), 1024)
    for name in _MEMBERS:
        if not isinstance(header.get(name), str):
            raise Malformed("the protected header needs alg, kid and typ")
    return header
