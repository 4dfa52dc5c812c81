# SPDX-License-Identifier: Apache-2.0
"""Freshness proofs: a home node's signed status list, one per 1,024 consents.

Encoding follows the IETF Token Status List: two bits per consent, least significant
first, zlib, base64url. The list is signed anew each epoch and lives at most T (default
60 s). A holder accepts a consent only with a list that is younger than T, so a
withdrawal takes effect everywhere within T plus clock skew, even under partition.
"""

from __future__ import annotations

import zlib
from enum import IntEnum
from functools import lru_cache
from typing import Annotated

from pydantic import Field

from protocol.canonical import b64url, unb64url
from protocol.errors import Malformed
from protocol.model import Claims

STATUS_LIST = "status-list"
BLOCK = 1024
_RAW_BYTES = BLOCK * 2 // 8


class Status(IntEnum):
    """Two bits: what became of a consent."""

    VALID = 0
    WITHDRAWN = 1
    PAUSED = 2
    SUPERSEDED = 3


class StatusList(Claims):
    """The states of one block of consents. `iss` is the home node.

    Attributes:
        list: number of the block.
        epoch: counts signings; never goes back.
        bits: always 2.
        lst: packed states, zlib, base64url.
    """

    list: Annotated[int, Field(ge=0)]
    epoch: Annotated[int, Field(ge=0)]
    bits: Annotated[int, Field(ge=2, le=2)] = 2
    lst: Annotated[str, Field(max_length=1024)]

    def status(self, index: int) -> Status:
        """Return the state of the consent at `index` (0 to 1,023)."""
        raw = _states(self.lst)
        return Status(raw[index // 4] >> 2 * (index % 4) & 3)


@lru_cache(maxsize=256)
def _states(lst: str) -> bytes:
    # One list serves a thousand consents for a whole epoch.
    return unpack(unb64url(lst), _RAW_BYTES)


def pack(states: dict[int, Status]) -> str:
    """Pack the states of one block; consents that are not named are valid."""
    raw = bytearray(_RAW_BYTES)
    for index, state in states.items():
        raw[index // 4] |= state << 2 * (index % 4)
    return b64url(zlib.compress(bytes(raw), 9))


def unpack(packed: bytes, length: int) -> bytes:
    """Unpack a zlib stream of exactly `length` bytes; a longer one is never inflated.

    Raises:
        Malformed: not zlib, or another length.
    """
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(packed, length + 1)
    except zlib.error as error:
        raise Malformed("status list is not zlib") from error
    if len(raw) != length or not inflater.eof or inflater.unused_data:
        raise Malformed("status list of another length")
    return raw
