# SPDX-License-Identifier: Apache-2.0
"""What two ends of a link agree to speak: a version, a suite, capabilities (pure).

Each side offers all it has, the best first; the listener chooses:

1. The *version* is the highest that both speak; with none in common there is no link.
2. The *suite* is the first of the listener's that the dialer accepts.
3. *Capabilities* are optional features by name. Those that both have are in force on
   the link, others are ignored: an unknown name is a feature of a newer peer. What a
   peer cannot do without is a new version, not a capability.

Both sides sign the offer and the choice as sent (`federation.handshake`), so nobody
between them can take a version or a capability away. There is no second try with less
after a refusal, whose code is not signed: that would be the way to force one down.

Version 1 has no capabilities. Version 2 has.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from federation.ports import LinkError

VERSIONS: Final = (1, 2)
"""Versions of the link protocol that this code speaks."""

EVIDENCE: Final = "evidence"
"""Signed batches of what was carried are exchanged over the link."""

CAPABILITIES: Final[frozenset[str]] = frozenset({EVIDENCE})
"""Optional features of links that this code has."""

MAX_OFFERS: Final = 16
"""The most versions or suites that one side may name."""

MAX_CAPABILITIES: Final = 64
"""The most capabilities that one side may name."""

_WITH_CAPABILITIES: Final = 2
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")


class HandshakeRefused(LinkError):
    """A handshake that did not lead to a link.

    Attributes:
        slug: `malformed`, `too-large`, `unsupported-version`, `unsupported-suite`,
            `bad-signature`, `loop` (the peer is ourselves), `wrong-peer` (not whom we
            dialed), `link-busy`, `timeout`, or what judging the credentials raised.
        by_peer: whether the peer refused us. Its word is not authenticated.
        versions: what the side that refused the versions speaks.
    """

    def __init__(
        self,
        slug: str,
        detail: str = "",
        *,
        by_peer: bool = False,
        versions: Sequence[int] = (),
    ) -> None:
        super().__init__(detail or slug)
        self.slug = slug
        self.by_peer = by_peer
        self.versions = tuple(versions)


@dataclass(frozen=True)
class LinkTerms:
    """What is spoken on one link.

    Attributes:
        version: of the link protocol.
        capabilities: optional features that both sides have.
    """

    version: int = 1
    capabilities: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Abilities:
    """What one side can speak.

    Attributes:
        suites: signature suites that it accepts, the preferred first.
        versions: of the link protocol.
        capabilities: optional features, used with peers that have them too.
    """

    suites: tuple[str, ...]
    versions: tuple[int, ...] = VERSIONS
    capabilities: frozenset[str] = CAPABILITIES

    @property
    def offers_capabilities(self) -> bool:
        """Whether this side speaks a version that has capabilities."""
        return max(self.versions) >= _WITH_CAPABILITIES

    def choose_version(self, offered: object) -> int:
        """Return the highest version that both sides speak.

        Raises:
            HandshakeRefused: there is none, or the offer is not one.
        """
        common = [v for v in self.versions if v in _offers(offered, "versions")]
        if not common:
            detail = f"the peer speaks {_brief(offered)}, this side {self.versions}"
            raise HandshakeRefused(
                "unsupported-version", detail, versions=self.versions
            )
        return max(common)

    def choose_suite(self, offered: object) -> str:
        """Return the first of our suites that the peer accepts as well.

        Raises:
            HandshakeRefused: there is none, or the offer is not one.
        """
        theirs = _offers(offered, "suites")
        for suite in self.suites:
            if suite in theirs:
                return suite
        raise HandshakeRefused("unsupported-suite")

    def agree(self, version: int, offered: object) -> LinkTerms:
        """Return what is in force under a version with a peer that offers this.

        Raises:
            HandshakeRefused: the offer is not a list of names.
        """
        if version < _WITH_CAPABILITIES:
            return LinkTerms(version)
        return LinkTerms(version, self.capabilities & _names(offered))

    def confirm(self, version: object, suite: object, agreed: object) -> LinkTerms:
        """Return what the listener chose, held to what this side offered.

        Raises:
            HandshakeRefused: it chose what was not offered.
        """
        if type(version) is not int or version not in self.versions:
            detail = f"the peer chose {_brief(version)}, this side {self.versions}"
            raise HandshakeRefused(
                "unsupported-version", detail, versions=self.versions
            )
        if suite not in self.suites:
            raise HandshakeRefused("unsupported-suite")
        if version < _WITH_CAPABILITIES:
            return LinkTerms(version)
        names = _names(agreed)
        if not names <= self.capabilities:
            raise HandshakeRefused("malformed", "capabilities that were not offered")
        return LinkTerms(version, names)


def _offers(offered: object, name: str) -> Collection[object]:
    """Return an offer that is a list of a sensible length."""
    if not isinstance(offered, list) or len(offered) > MAX_OFFERS:
        raise HandshakeRefused("malformed", name)
    # `true` is 1 to Python and no version to anybody.
    return [entry for entry in offered if not isinstance(entry, bool)]


def _names(offered: object) -> frozenset[str]:
    """Return the capabilities in an offer; absent means none."""
    if offered is None:
        return frozenset()
    if not isinstance(offered, list) or len(offered) > MAX_CAPABILITIES:
        raise HandshakeRefused("malformed", "capabilities")
    if not all(isinstance(name, str) and _NAME.fullmatch(name) for name in offered):
        raise HandshakeRefused("malformed", "capabilities")
    return frozenset(offered)


def _brief(offered: object) -> str:
    """Return what a peer named, short enough for a log."""
    return repr(offered)[:64]
