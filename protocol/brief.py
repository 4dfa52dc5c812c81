# SPDX-License-Identifier: Apache-2.0
"""What a city's authority tells a further broker, so that it can stand in for a while.

A city may have several brokers. One of them is its *authority*: it has the operating
key, the register and the agreements. The others are *relays*: members with the role
broker and keys of their own. A relay carries exchanges by what the authority signed for
it: the trust bundle (`protocol.route`) and a *brief*. Each has an end, so a relay that
is cut off stops by itself.

The location tokens of a city are sealed to one key that all its brokers have. A brief
brings its private half, sealed to the one relay that the brief is for.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from protocol.canonical import b64url, unb64url
from protocol.errors import Malformed, WrongAudience
from protocol.ids import CityId, NodeId
from protocol.model import Claims, Document
from protocol.request import Token
from protocol.route import MAX_BUNDLE_BYTES
from protocol.sealed import SEALING_SEED_BYTES, Opener, OpeningKey, SealingKey
from protocol.signature import Received, Signed, SingleKey
from protocol.suites import Suite, VerifyingKey

BRIEF = "brief"
_LABEL = "machikura token key 1"


class Brief(Claims):
    """The authority's word to one relay. `iss` is the city, `aud` the relay.

    Attributes:
        authority: the node that has the operating key.
        agreements: those in force, as both cities signed them.
        tokens: the private halves that open location tokens, the newest first, each
            sealed to the relay (`seal_token_key`).
    """

    authority: NodeId
    agreements: Annotated[tuple[Token, ...], Field(max_length=1024)] = ()
    tokens: Annotated[tuple[Token, ...], Field(max_length=4)] = ()


class _TokenKey(Document):
    suite: Suite
    seed: str


def seal_token_key(key: OpeningKey, relay: NodeId, sealing: SealingKey) -> str:
    """Seal a token key's private half to one relay."""
    content = _TokenKey(suite=key.suite, seed=b64url(key.seed)).encode()
    return b64url(sealing.seal(_LABEL, relay.encode("ascii"), content))


def open_token_key(sealed: str, relay: NodeId, key: Opener) -> OpeningKey:
    """Open a token key that was sealed to us.

    Raises:
        CannotOpen: sealed to another relay, or altered.
        Malformed: it is no key.
    """
    opened = key.open(_LABEL, relay.encode("ascii"), unb64url(sealed))
    content = _TokenKey.decode(opened)
    seed = unb64url(content.seed, length=SEALING_SEED_BYTES)
    return OpeningKey(content.suite, seed)


def verify_brief(
    token: str, relay: NodeId, operating: VerifyingKey, now: int, skew_s: int
) -> Signed[Brief]:
    """Check a brief against our city's operating key.

    Raises:
        ProtocolViolation: any fault.
    """
    received = Received.parse(token, BRIEF, max_bytes=MAX_BUNDLE_BYTES)
    city = CityId(relay.city)
    signed = received.verify(Brief, SingleKey(city, operating))
    signed.body.check_times(now, skew_s)
    if signed.body.aud != relay:
        raise WrongAudience("the brief is for another broker")
    if signed.body.authority.city != city:
        raise Malformed("the authority of a city is one of its own nodes")
    return signed
