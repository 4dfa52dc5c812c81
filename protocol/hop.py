# SPDX-License-Identifier: Apache-2.0
"""Hop records: which brokers carried an exchange, when, and what they decided.

Each broker appends one record to the request and gives the same record back with the
answer, so both ends hold the route. A record names the SHA-256 of the one before (the
first names the header's digest): dropping, reordering or changing one shows. Records
are framed one per line, canonical JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from protocol.errors import Malformed, TooLarge
from protocol.ids import CityId, NodeId
from protocol.model import Digest, Document, Millis, ShortText
from protocol.signature import digest_of

MAX_HOPS = 16
FORWARD = "forward"
"""Decision of a broker that hands on."""
MEMBER = "member"
"""In place of the next city: a node of the broker's own, which is not named."""


class HopRecord(Document):
    """One broker's word.

    Attributes:
        by: the broker.
        next: city or `member` it forwarded to; a member is not named here.
        at_ms: when.
        decision: `forward`, or the slug of the refusal.
        prev: digest of the record before, or of the routing header.
    """

    by: NodeId
    next: ShortText
    at_ms: Millis
    decision: ShortText
    prev: Digest
    kind: Literal["hop"] = "hop"


def line(record: HopRecord) -> bytes:
    """Return the record as it stands in a chain."""
    return record.encode() + b"\n"


def append(hops: bytes, record: HopRecord) -> bytes:
    """Return `hops` with one more line."""
    return hops + line(record)


def count(hops: bytes) -> int:
    """Return how many brokers have carried it."""
    return hops.count(b"\n")


def last_digest(hops: bytes, header_digest: str) -> str:
    """Return what the next record must name as `prev`."""
    if not hops:
        return header_digest
    return digest_of(hops[hops.rfind(b"\n", 0, -1) + 1 :])


def last_record(hops: bytes) -> HopRecord:
    """Return the youngest record, without checking the chain.

    Raises:
        Malformed: it is no hop record.
    """
    return HopRecord.decode(hops[hops.rfind(b"\n", 0, -1) + 1 : -1])


def parse(hops: bytes, header_digest: str) -> tuple[HopRecord, ...]:
    """Read and check a whole chain.

    Raises:
        TooLarge: more than `MAX_HOPS` records.
        Malformed: a record is missing, altered, out of order, or repeated.
    """
    if count(hops) > MAX_HOPS or len(hops) > MAX_HOPS * 1024:
        raise TooLarge("too many hop records")
    records: list[HopRecord] = []
    expected = header_digest
    for line in hops.splitlines(keepends=True):
        record = HopRecord.decode(line.removesuffix(b"\n"))
        if record.prev != expected or not line.endswith(b"\n"):
            raise Malformed("the chain of hop records is broken")
        records.append(record)
        expected = digest_of(line)
    if len({r.by for r in records}) != len(records):
        raise Malformed("a broker stands twice in the chain")
    return tuple(records)


def check_route(records: Sequence[HopRecord], start: CityId, end: CityId) -> None:
    """Hold the records of a delivered exchange to each other: who handed on to whom.

    A chain can be made anew by its last writer. What it cannot do is to leave out the
    city of the sender, or a city that the record before names as next.

    Args:
        records: the chain, checked by `parse`. None at all leads nowhere, and is for
            the caller to judge: two ends may be linked without a broker.
        start: the sender's city.
        end: the receiver's city.

    Raises:
        Malformed: a record is missing, out of place, or of a broker that refused.
    """
    place: str = start
    for record in records:
        if record.by.city != place or record.decision != FORWARD:
            raise Malformed("the hop records do not follow each other")
        place = record.next
    if not records:
        return
    if place not in (MEMBER, end) or records[-1].by.city != end:
        raise Malformed("the hop records do not lead from sender to receiver")


HopCount = Annotated[int, Field(ge=1, le=MAX_HOPS)]
