# SPDX-License-Identifier: Apache-2.0
"""Sealed bodies as version 1 of the envelope has them.

The whole body is HPKE to the holder's key: canonical JSON with the asker's credentials,
the response key and the query, its warrant inside. Version 2 seals in a session
(`protocol.session`), which says the same at a tenth of the cost. Both are answered;
asked is in version 1 only who refuses version 2.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from protocol.canonical import b64url, unb64url
from protocol.envelope import Envelope, RoutingHeader
from protocol.membership import Credentials
from protocol.model import Document
from protocol.request import Body, Query
from protocol.sealed import RESPONSE_KEY_BYTES, Opener, SealingKey
from protocol.suites import Signer

FIRST: Final = 1
"""The version of the envelope."""

_LABEL: Final = "machikura body 1"


class _FirstBody(Document):
    """What is sealed.

    Attributes:
        sender: credentials of the sender.
        response_key: 32 fresh bytes, base64url; the answer is sealed under it.
        query: what is asked.
    """

    sender: Credentials
    response_key: Annotated[str, Field(min_length=43, max_length=43)]
    query: Query


_FirstBody.model_rebuild()


def seal_first(
    header: RoutingHeader,
    body: Body,
    sender: Credentials,
    key: SealingKey,
    signer: Signer,
) -> Envelope:
    """Seal a body to `key` under `header`, and sign the header."""
    document = _FirstBody(
        sender=sender, response_key=b64url(body.response_key), query=body.query
    )
    payload = header.encode()
    sealed = key.seal(_LABEL, payload, document.encode())
    return Envelope.around(sealed, header, payload, signer, version=FIRST)


def open_first(
    envelope: Envelope, key: Opener, max_bytes: int
) -> tuple[bytes, Credentials, Body]:
    """Open a body; the seal binds it to the exact bytes of the header.

    Returns:
        The plaintext, the credentials shown in it, which are not verified here, and
        what is asked.

    Raises:
        CannotOpen: not for this key, altered, or moved under another header.
        Malformed, UnsupportedVersion: it is none.
    """
    opened = key.open(_LABEL, envelope.received.payload, envelope.body)
    body = _FirstBody.decode(opened, max_bytes)
    response_key = unb64url(body.response_key, length=RESPONSE_KEY_BYTES)
    return opened, body.sender, Body(response_key, body.query)
