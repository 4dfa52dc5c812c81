# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in identity: further leaves of the tree in `protocol.errors`.

A wrong password, code or one-time code is not here: it is a value (`Refusal`), because
the attempt must stay counted, and an exception would roll the count back.
"""

from __future__ import annotations

from protocol.errors import Expired, Misuse, ProtocolViolation, UnknownKey


class Unauthenticated(Misuse):
    """No session, or one that has ended."""

    slug = "unauthenticated"


class NotFound(Misuse):
    """There is no such thing, or it is not the caller's: the two look alike."""

    slug = "not-found"


class Conflict(Misuse):
    """It exists already, or its state does not allow the step."""

    slug = "conflict"


class NotReady(Misuse):
    """A document that this node needs has not arrived yet."""

    slug = "not-ready"


class UnsafeFile(Misuse):
    """A secret file that others on the machine can read."""


class WrongPassphrase(Misuse):
    """The passphrase or key file does not open what is stored."""


class EvidenceTooLow(Misuse):
    """The resident's will is proven less strongly than the dataset type asks for."""

    slug = "evidence-too-low"


class LegalLimit(Misuse):
    """A consent that the law does not allow; the slug says which limit."""

    def __init__(self, slug: str, detail: str = "") -> None:
        super().__init__(detail or slug)
        self.slug = slug


class NotActive(Misuse):
    """A consent that is paused, withdrawn or over; the slug says which."""

    def __init__(self, slug: str, detail: str = "") -> None:
        super().__init__(detail or slug)
        self.slug = slug


class NotAMember(ProtocolViolation):
    """A node that the city has not admitted, or has removed."""

    slug = "not-a-member"


class KeyRevoked(NotAMember):
    """A key that its city has revoked: of a removed node, stolen, or long replaced."""

    slug = "key-revoked"


class MembershipExpired(Expired):
    """A membership after its end."""

    slug = "membership-expired"


class ConflictingRoot(UnknownKey):
    """A second root key for a city that is already known by another one."""
