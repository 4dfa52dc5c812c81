# SPDX-License-Identifier: Apache-2.0
"""Notices: one-way messages on a link, by kind.

    route     broker to neighbor city      token: a route announcement; operating: the
                                           certificate of the key that signed it
    withdraw  broker to neighbor city      origin: we no longer lead there
    trust     broker to its own city       token: the trust bundle
    brief     authority to relay           token: the brief
    announce  authority to relay           tell `neighbor` this: token
    retract   authority to relay           tell `neighbor` to forget `origin`
    keys      authority to relay           there are member keys that it does not know
    present   broker to sibling            up, down, whole; url: where it listens
    heard     broker to sibling            `neighbor` announced: token; operating: the
                                           certificate of the key that signed it
    lost      broker to sibling            `neighbor` withdrew `origin`
    membership  authority to member        token: its new membership; operating: the
                                           certificate that vouches for it

Each token is signed and judged by itself. What is not signed counts for little: a
withdrawal for what that same neighbor had announced, the word of a sibling for the link
that it came on.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from federation.presence import MAX_NODES
from protocol.ids import CityId, NodeId
from protocol.model import Document, ShortText
from protocol.request import Token
from protocol.route import MAX_BUNDLE_BYTES

MAX_NOTICE_BYTES = MAX_BUNDLE_BYTES + 1024

_Nodes = Annotated[tuple[NodeId, ...], Field(max_length=MAX_NODES)]


class Notice(Document):
    """One notice on a link."""

    kind: Literal[
        "route",
        "withdraw",
        "trust",
        "brief",
        "announce",
        "retract",
        "keys",
        "present",
        "heard",
        "lost",
        "membership",
    ]
    token: Annotated[str, Field(max_length=MAX_BUNDLE_BYTES)] | None = None
    origin: CityId | None = None
    neighbor: CityId | None = None
    operating: Token | None = None
    up: _Nodes | None = None
    down: _Nodes | None = None
    whole: bool | None = None
    url: ShortText | None = None
