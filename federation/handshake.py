# SPDX-License-Identifier: Apache-2.0
"""The mutual signed handshake that opens a link, as two state machines without I/O.

    dialer                                                     listener
    hello {versions, suites, capabilities, nonce, credentials}   ->
      <-  answer {body {version, suite, capabilities, nonce, credentials}, signature}
    auth  {signature}                                            ->
                                                                 <-  done {}

Each message is canonical JSON of at most `MAX_HELLO_BYTES`. Either side may send
`refused {code}` instead of its next message, and closes. What is offered and chosen is
the matter of `federation.versions`.

The listener signs `LISTENER_LABEL || SHA-256(hello, body, certificate)`, the dialer
`DIALER_LABEL || SHA-256(that digest, listener's signature)`, parts prefixed with
their length. What each part holds off:

- the *certificate* is the SHA-256 of the listener's TLS certificate as each side sees
  it by itself: a man in the middle has to show the dialer a certificate of his own,
  so the listener's signature is over another digest than the dialer computes;
- both *nonces* are in the digest: a replayed hello or answer meets a fresh nonce;
- the *labels* differ: a signature reflected back at its maker is of the wrong role;
- the *offer* and the *choice* are in the digest as sent: nothing can be taken out of
  them to force an older version or to do without a capability.

Who a peer is comes from its credentials alone, which the injected `LinkIdentity`
judges. Credentials are public documents: they are sent before the peer is known.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NoReturn, Protocol

import orjson

from federation.versions import (
    MAX_OFFERS,
    Abilities,
    HandshakeRefused,
    LinkTerms,
)
from protocol.errors import MachikuraError

MAX_HELLO_BYTES: Final = 65_536
NONCE_BYTES: Final = 32
LISTENER_LABEL: Final = b"machikura link listener\x00"
DIALER_LABEL: Final = b"machikura link dialer\x00"


@dataclass(frozen=True)
class PeerIdentity:
    """A peer whose credentials we trust.

    Attributes:
        node: its id, e.g. `hoshino/clinic-a`.
        verify: `verify(data, signature)` raises a `MachikuraError` unless the peer's
            key made the signature.
        expires_ms: when the credentials end, epoch milliseconds; the link ends then.
        attributes: whatever else the verifier found, e.g. the membership.
    """

    node: str
    verify: Callable[[bytes, bytes], None] = field(repr=False)
    expires_ms: int
    attributes: object = field(default=None, repr=False)


class LinkIdentity(Protocol):
    """Who we are, and whom we trust."""

    @property
    def node(self) -> str:
        """Our node id."""
        ...

    def credentials(self) -> bytes:
        """Returns the documents by which a peer knows our key, at most 32 KiB."""
        ...

    def sign(self, data: bytes, /) -> bytes:
        """Returns a signature by the key that our credentials name."""
        ...

    def verify_peer(self, credentials: bytes, /) -> PeerIdentity:
        """Judges a peer's credentials.

        Raises:
            MachikuraError: they are malformed, expired, or nobody we trust made them.
        """
        ...


def refusal(refused: HandshakeRefused) -> bytes:
    """Returns what tells the peer: the code, and which versions we speak."""
    message: dict[str, object] = {"type": "refused", "code": refused.slug}
    if refused.versions:
        message["versions"] = list(refused.versions)
    return _dump(message)


class DialerHandshake:
    """The dialer's side: `hello`, then `answered`, then `done`, each once."""

    def __init__(
        self,
        *,
        identity: LinkIdentity,
        certificate_hash: bytes,
        nonce: bytes,
        abilities: Abilities,
        expected: str | None = None,
    ) -> None:
        """Prepares the hello.

        Args:
            identity: who we are, and whom we trust.
            certificate_hash: SHA-256 of the TLS certificate that the listener showed.
            nonce: `NONCE_BYTES` fresh random bytes.
            abilities: what we can speak.
            expected: the node that must answer; None when any trusted one may.
        """
        self._identity = identity
        self._certificate_hash = certificate_hash
        self._abilities = abilities
        self._expected = expected
        self._peer: PeerIdentity | None = None
        self.terms = LinkTerms()
        """What the link speaks, once the listener has answered."""
        hello: dict[str, object] = {
            "type": "hello",
            "versions": list(abilities.versions),
            "suites": list(abilities.suites),
            "nonce": _encode(nonce),
            "credentials": _encode(identity.credentials()),
        }
        if abilities.offers_capabilities:
            hello["capabilities"] = sorted(abilities.capabilities)
        self._hello = _dump(hello)

    def hello(self) -> bytes:
        """Returns the first message."""
        return self._hello

    def answered(self, message: bytes) -> bytes:
        """Judges the listener's answer and returns our proof.

        Raises:
            HandshakeRefused: anything is wrong; tell the peer unless it refused.
        """
        answer = _parse(message, "answer")
        body_bytes = _text(answer, "body").encode()
        body = _parse(body_bytes, "body")
        chosen = (body.get(n) for n in ("version", "suite", "capabilities"))
        terms = self._abilities.confirm(*chosen)
        _bytes(body, "nonce", NONCE_BYTES)
        peer = _judge(self._identity, _bytes(body, "credentials"))
        if self._expected is not None and peer.node != self._expected:
            raise HandshakeRefused("wrong-peer", f"{peer.node} answered")
        digest = _digest(self._hello, body_bytes, self._certificate_hash)
        signature = _bytes(answer, "signature")
        _check(peer, LISTENER_LABEL + digest, signature)
        self._peer, self.terms = peer, terms
        proof = self._identity.sign(DIALER_LABEL + _digest(digest, signature))
        return _dump({"type": "auth", "signature": _encode(proof)})

    def done(self, message: bytes) -> PeerIdentity:
        """Returns the peer once it has accepted our proof.

        Raises:
            HandshakeRefused: it did not, or nothing was answered yet.
        """
        _parse(message, "done")
        if self._peer is None:
            raise HandshakeRefused("malformed", "done before the answer")
        return self._peer


class ListenerHandshake:
    """The listener's side: `greeted`, then `authenticated`, each once."""

    def __init__(
        self,
        *,
        identity: LinkIdentity,
        certificate_hash: bytes,
        nonce: bytes,
        abilities: Abilities,
    ) -> None:
        """Waits for a hello.

        Args:
            identity: who we are, and whom we trust.
            certificate_hash: SHA-256 of our own TLS certificate.
            nonce: `NONCE_BYTES` fresh random bytes.
            abilities: what we can speak.
        """
        self._identity = identity
        self._certificate_hash = certificate_hash
        self._nonce = nonce
        self._abilities = abilities
        self._peer: PeerIdentity | None = None
        self.terms = LinkTerms()
        """What the link speaks, once the dialer has greeted us."""
        self._signed = b""

    def greeted(self, message: bytes) -> bytes:
        """Judges a hello and returns our signed answer.

        Raises:
            HandshakeRefused: anything is wrong; tell the peer.
        """
        hello = _parse(message, "hello")
        version = self._abilities.choose_version(hello.get("versions"))
        suite = self._abilities.choose_suite(hello.get("suites"))
        self.terms = self._abilities.agree(version, hello.get("capabilities"))
        _bytes(hello, "nonce", NONCE_BYTES)
        self._peer = _judge(self._identity, _bytes(hello, "credentials"))
        chosen: dict[str, object] = {
            "type": "body",
            "version": version,
            "suite": suite,
            "nonce": _encode(self._nonce),
            "credentials": _encode(self._identity.credentials()),
        }
        if version > 1:
            chosen["capabilities"] = sorted(self.terms.capabilities)
        body = _dump(chosen)
        digest = _digest(message, body, self._certificate_hash)
        signature = self._identity.sign(LISTENER_LABEL + digest)
        self._signed = DIALER_LABEL + _digest(digest, signature)
        return _dump(
            {
                "type": "answer",
                "body": body.decode(),
                "signature": _encode(signature),
            }
        )

    def authenticated(self, message: bytes) -> tuple[PeerIdentity, bytes]:
        """Judges the dialer's proof.

        Returns:
            The peer, and the last message, which must reach it.

        Raises:
            HandshakeRefused: the proof is wrong, or nobody has greeted us; tell the
                peer unless it refused.
        """
        auth = _parse(message, "auth")
        if self._peer is None:
            raise HandshakeRefused("malformed", "auth before the hello")
        _check(self._peer, self._signed, _bytes(auth, "signature"))
        return self._peer, _dump({"type": "done"})


def _judge(identity: LinkIdentity, credentials: bytes) -> PeerIdentity:
    """Returns the trusted peer behind credentials, never ourselves."""
    try:
        peer = identity.verify_peer(credentials)
    except MachikuraError as error:
        raise HandshakeRefused(error.slug, str(error)) from error
    if peer.node == identity.node:
        # Our own hello sent back to us, or an address that leads to ourselves.
        raise HandshakeRefused("loop")
    return peer


def _check(peer: PeerIdentity, data: bytes, signature: bytes) -> None:
    """Refuses a signature that the peer's key does not verify."""
    try:
        peer.verify(data, signature)
    except MachikuraError as error:
        raise HandshakeRefused("bad-signature", f"of {peer.node}") from error


def _digest(*parts: bytes) -> bytes:
    """Returns SHA-256 over parts that cannot run into each other."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.digest()


def _dump(message: Mapping[str, object]) -> bytes:
    """Returns canonical JSON."""
    return orjson.dumps(message, option=orjson.OPT_SORT_KEYS)


def _parse(message: bytes, kind: str) -> Mapping[str, object]:
    """Returns the members of a message of the kind expected.

    Only canonical JSON passes, so a member can neither be there twice nor be read in
    two ways.
    """
    if len(message) > MAX_HELLO_BYTES:
        raise HandshakeRefused("too-large")
    try:
        value = orjson.loads(message)
        canonical = _dump(value)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError) as error:
        # The encoder refuses values nested deeper than the decoder reads.
        raise HandshakeRefused("malformed", "not JSON") from error
    if not isinstance(value, dict) or canonical != message:
        raise HandshakeRefused("malformed", "not canonical")
    if value.get("type") == "refused":
        _refused(value.get("code"), value.get("versions"))
    if value.get("type") != kind:
        raise HandshakeRefused("malformed", f"not a {kind}")
    return value


def _refused(code: object, versions: object) -> NoReturn:
    """Passes the peer's refusal on, cut to what a slug and a version may be."""
    slug = code if isinstance(code, str) else ""
    if not (slug.replace("-", "").isalpha() and slug.isascii() and len(slug) <= 64):
        slug = "malformed"
    detail = f"the peer refused: {slug}"
    if isinstance(versions, list) and all(type(v) is int for v in versions):
        # Only words for the operator: a refusal is not signed.
        detail += f"; it speaks {versions[:MAX_OFFERS]}"
    raise HandshakeRefused(slug, detail, by_peer=True)


def _text(message: Mapping[str, object], name: str) -> str:
    """Returns a member that must be text."""
    value = message.get(name)
    if not isinstance(value, str):
        raise HandshakeRefused("malformed", name)
    return value


def _bytes(message: Mapping[str, object], name: str, size: int | None = None) -> bytes:
    """Returns a member that must be base64url of `size` bytes, without padding."""
    text = _text(message, name)
    try:
        value = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise HandshakeRefused("malformed", name) from error
    if _encode(value) != text or (size is not None and len(value) != size):
        raise HandshakeRefused("malformed", name)
    return value


def _encode(value: bytes) -> str:
    """Returns base64url without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
