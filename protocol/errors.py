# SPDX-License-Identifier: Apache-2.0
"""The error tree: what can go wrong, named for the fault.

First fork, after h11: either a *peer broke the protocol* (`ProtocolViolation`), or
*our own caller misused us* (`Misuse`). A refusal is neither: it is a value, see
`protocol.decision` and `protocol.problem`. Errors know nothing of HTTP; their `slug`
is the stable code under which `protocol.problem` describes cause and remedy.
"""

from __future__ import annotations


class MachikuraError(Exception):
    """Anything that this product raises on purpose.

    Attributes:
        slug: stable code, kebab-case, listed in `protocol.problem.CATALOG`.
        detail: what happened here, in English, free of personal data.
    """

    slug = "internal"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.slug)
        self.detail = detail


class ProtocolViolation(MachikuraError):
    """A peer sent what it may not send."""

    slug = "malformed"


class Malformed(ProtocolViolation):
    """Bytes that are not the document they claim to be."""


class TooLarge(ProtocolViolation):
    """More bytes, members or levels than the limit allows."""

    slug = "too-large"


class UnsupportedVersion(ProtocolViolation):
    """A protocol or document version that we do not speak."""

    slug = "unsupported-version"


class UnsupportedSuite(ProtocolViolation):
    """An algorithm suite that is unknown, or not accepted by this node."""

    slug = "unsupported-suite"


class WrongType(ProtocolViolation):
    """A signed document of another type than the place asks for."""

    slug = "wrong-type"


class BadSignature(ProtocolViolation):
    """A signature that its key does not verify."""

    slug = "bad-signature"


class UnknownKey(ProtocolViolation):
    """A key that no one we trust has vouched for."""

    slug = "unknown-key"


class BadKey(ProtocolViolation):
    """A public key that must not be used: low order, non-canonical, off the curve."""

    slug = "bad-key"


class WrongIssuer(ProtocolViolation):
    """A document that names another issuer than the owner of its key."""

    slug = "wrong-issuer"


class WrongAudience(ProtocolViolation):
    """A document meant for somebody else."""

    slug = "wrong-audience"


class Expired(ProtocolViolation):
    """A document or exchange after its end."""

    slug = "expired"


class NotYetValid(ProtocolViolation):
    """A document before its start, further ahead than clock skew explains."""

    slug = "not-yet-valid"


class CannotOpen(ProtocolViolation):
    """A sealed body that is not for this key, or was altered on the way."""

    slug = "cannot-open"


class Replayed(ProtocolViolation):
    """An exchange that was carried or answered before."""

    slug = "replayed"


class Misuse(MachikuraError):
    """Our own caller asked for something that makes no sense."""

    slug = "invalid-input"
