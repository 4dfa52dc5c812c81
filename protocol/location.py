# SPDX-License-Identifier: Apache-2.0
"""Location entries, grants, and opaque location tokens: where data is, never content.

* A *location grant* lets a holder register under a resident's locator; the home node
  issues it when the resident links the holder.
* A *location entry* is what the directory keeps: this node holds records of this
  dataset type for this locator.
* A *location token* addresses a node of another city without naming it to anybody in
  between: sealed to a key that the destination city's brokers have. For hidden reads
  the home node makes it, bound to the consent, together with a member key
  (requirement 7).
"""

from __future__ import annotations

from typing import Annotated, Protocol

from pydantic import Field

from protocol.canonical import b64url, unb64url
from protocol.errors import Expired, Malformed
from protocol.ids import CityId, DatasetTypeName, NodeId
from protocol.membership import Credentials
from protocol.model import Claims, Document, Seconds, ShortText
from protocol.pseudonym import Handle, Locator
from protocol.sealed import SealingKey

LOCATION_GRANT = "location-grant"
_TOKEN_LABEL = "machikura location token 1"


class LocationGrant(Claims):
    """The home node's leave to register. `iss` is the home node, `aud` the city.

    Attributes:
        holder: who may register.
        locator: the resident's name in that city's directory.
    """

    holder: NodeId
    locator: Locator


class LinkGrant(Document):
    """What a holder gets when a resident links it: its handle and a location grant.

    Attributes:
        credentials: of the home node, so that directories can verify the grant.
    """

    home: NodeId
    handle: Handle
    grant: str
    credentials: Credentials | None = None


class LocationEntry(Document):
    """What the directory keeps, and tells the home node that granted it."""

    node: NodeId
    dataset_type: DatasetTypeName
    since: Seconds


class TokenBody(Document):
    """Inside of a location token: for the destination broker alone.

    Attributes:
        node: whom to hand the exchange to.
        exp: until when the token may be used.
        consent: digest of the consent it is bound to; empty for plain routing.
        nonce: makes two tokens for one node differ.
    """

    node: NodeId
    exp: Seconds
    consent: ShortText = ""
    nonce: Annotated[str, Field(max_length=64)]

    def seal(self, city: CityId, broker: SealingKey) -> str:
        """Seal to the brokers of the destination city."""
        sealed = broker.seal(_TOKEN_LABEL, city.encode("ascii"), self.encode())
        return b64url(sealed)


class Opener(Protocol):
    """What opens sealed bytes: one key, or several of which one fits."""

    def open(self, label: str, context: bytes, sealed: bytes) -> bytes:
        """Return the content, or raise `CannotOpen`."""


def open_token(token: str, city: CityId, key: Opener, now: int) -> TokenBody:
    """Open a token addressed to our city.

    Raises:
        CannotOpen: made for another broker key or city.
        Expired: used too late.
        Malformed: names a node of another city.
    """
    body = TokenBody.decode(key.open(_TOKEN_LABEL, city.encode(), unb64url(token)))
    if body.node.city != city:
        raise Malformed("a location token names a node of its own city")
    if body.exp <= now:
        raise Expired("the location token is no longer valid")
    return body
