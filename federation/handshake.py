# SPDX-License-Identifier: Apache-2.0
"""The mutual signed handshake that opens a link, as two state machines without I/O.

    dialer                                                     listener
    hello {versions, suites, nonce, credentials}          ->
                <-  answer {body {version, suite, nonce, credentials}, signature}
    auth  {signature}                                     ->
                                                          <-  done {}

Each message is canonical JSON of at most `MAX_HELLO_BYTES`. Either side may send
`refused {code}` instead of its next message, and closes.

The listener signs `LISTENER_LABEL || SHA-256(hello, body, certificate)`, the dialer
`DIALER_LABEL || SHA-256(that digest, listener's signature)`, parts prefixed with
their length. What each part holds off:

- the *certificate* is the SHA-256 of the listener's TLS certificate as each side sees
  it by itself: a man in the middle has to show the dialer a certificate of his own,
  so the listener's signature is over another digest than the dialer computes;
- both *nonces* are in the digest: a replayed hello or answer meets a fresh nonce;
- the *labels* differ: a signature reflected back at its maker is of the wrong role;
- the *offer* is in the digest as sent: versions and suites cannot be taken out of it.

Who a peer is comes from its credentials alone, which the injected `LinkIdentity`
judges. Credentials are public documents: they are sent before the peer is known.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn, Protocol

import orjson

from federation.ports import LinkError
from protocol.errors import MachikuraError

VERSIONS: Final = (1,)
"""Versions of the link protocol that this code speaks."""

MAX_HELLO_BYTES: Final = 65_536
NONCE_BYTES: Final = 32
MAX_OFFERS: Final = 16
"""The most versions or suites that one hello may name."""

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


class HandshakeRefused(LinkError):
    """A handshake that did not lead to a link.

    Attributes:
        slug: `malformed`, `too-large`, `unsupported-version`, `unsupported-suite`,
            `bad-signature`, `loop` (the peer is ourselves), `wrong-peer` (not whom we
            dialed), `link-busy`, `timeout`, or what judging the credentials raised.
        by_peer: whether the peer refused us. Its word is not authenticated.
    """

    def __init__(self, slug: str, detail: str = "", *, by_peer: bool = False) -> None:
        super().__init__(detail or slug)
        self.slug = slug
        self.by_peer = by_peer

    def message(self) -> bytes:
        """Returns what tells the peer; the code only, nothing about our state."""
        return _dump({"type": "refused", "code": self.slug})


class DialerHandshake:
    """The dialer's side: `hello`, then `answered`, then `done`, each once."""

    def __init__(
        self,
        *,
        identity: LinkIdentity,
        certificate_hash: bytes,
        nonce: bytes,
        suites: Sequence[str],
        expected: str | None = None,
        versions: Sequence[int] = VERSIONS,
    ) -> None:
        """Prepares the hello.

        Args:
            identity: who we are, and whom we trust.
            certificate_hash: SHA-256 of the TLS certificate that the listener showed.
            nonce: `NONCE_BYTES` fresh random bytes.
            suites: signature suites that we accept, the preferred first.
            expected: the node that must answer; None when any trusted one may.
            versions: link protocol versions that we speak.
        """
        self._identity = identity
        self._certificate_hash = certificate_hash
        self._suites = suites
        self._versions = versions
        self._expected = expected
        self._peer: PeerIdentity | None = None
        self._hello = _dump(
            {
                "type": "hello",
                "versions": list(versions),
                "suites": list(suites),
                "nonce": _encode(nonce),
                "credentials": _encode(identity.credentials()),
            }
        )

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
        if body.get("version") not in self._versions:
            raise HandshakeRefused("unsupported-version")
        if body.get("suite") not in self._suites:
            raise HandshakeRefused("unsupported-suite")
        _bytes(body, "nonce", NONCE_BYTES)
        peer = _judge(self._identity, _bytes(body, "credentials"))
        if self._expected is not None and peer.node != self._expected:
            raise HandshakeRefused("wrong-peer", f"{peer.node} answered")
        digest = _digest(self._hello, body_bytes, self._certificate_hash)
        signature = _bytes(answer, "signature")
        _check(peer, LISTENER_LABEL + digest, signature)
        self._peer = peer
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
        suites: Sequence[str],
        versions: Sequence[int] = VERSIONS,
    ) -> None:
        """Waits for a hello.

        Args:
            identity: who we are, and whom we trust.
            certificate_hash: SHA-256 of our own TLS certificate.
            nonce: `NONCE_BYTES` fresh random bytes.
            suites: signature suites that we accept, the preferred first.
            versions: link protocol versions that we speak.
        """
        self._identity = identity
        self._certificate_hash = certificate_hash
        self._nonce = nonce
        self._suites = suites
        self._versions = versions
        self._peer: PeerIdentity | None = None
        self._signed = b""

    def greeted(self, message: bytes) -> bytes:
        """Judges a hello and returns our signed answer.

        Raises:
            HandshakeRefused: anything is wrong; tell the peer.
        """
        hello = _parse(message, "hello")
        version = self._choose_version(hello.get("versions"))
        suite = self._choose_suite(hello.get("suites"))
        _bytes(hello, "nonce", NONCE_BYTES)
        self._peer = _judge(self._identity, _bytes(hello, "credentials"))
        body = _dump(
            {
                "type": "body",
                "version": version,
                "suite": suite,
                "nonce": _encode(self._nonce),
                "credentials": _encode(self._identity.credentials()),
            }
        )
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

    def _choose_version(self, offered: object) -> int:
        """Returns the highest version that both sides speak."""
        if not isinstance(offered, list) or len(offered) > MAX_OFFERS:
            raise HandshakeRefused("malformed", "versions")
        common = [version for version in self._versions if version in offered]
        if not common:
            raise HandshakeRefused("unsupported-version")
        return max(common)

    def _choose_suite(self, offered: object) -> str:
        """Returns the first of our suites that the peer accepts as well."""
        if not isinstance(offered, list) or len(offered) > MAX_OFFERS:
            raise HandshakeRefused("malformed", "suites")
        for suite in self._suites:
            if suite in offered:
                return suite
        raise HandshakeRefused("unsupported-suite")


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
        _refused(value.get("code"))
    if value.get("type") != kind:
        raise HandshakeRefused("malformed", f"not a {kind}")
    return value


def _refused(code: object) -> NoReturn:
    """Passes the peer's refusal on, cut to what a slug may be."""
    slug = code if isinstance(code, str) else ""
    if not (slug.replace("-", "").isalpha() and slug.isascii() and len(slug) <= 64):
        slug = "malformed"
    raise HandshakeRefused(slug, f"the peer refused: {slug}", by_peer=True)


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
