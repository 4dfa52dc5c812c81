# SPDX-License-Identifier: Apache-2.0
"""What one link may use, and what it has used."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LinkLimits:
    """The bounds of one link; above them it refuses, it never queues."""

    max_requests_out: int = 4_096
    """Requests of ours that wait for an answer at the same time."""
    max_requests_in: int = 1_024
    """Requests of the peer that are handled at the same time."""
    max_message_bytes: int = 16_777_216
    """Bytes of the longest request, answer or notice."""
    max_bytes_out: int = 67_108_864
    """Bytes of messages waiting to be sent."""
    max_bytes_in: int = 67_108_864
    """Bytes of the peer's messages in hand or announced."""
    max_notices: int = 4_096
    """Notices that wait for their handler; one more ends the link."""
    retry_after_ms: int = 200
    """Milliseconds that an overloaded side tells the other to wait."""
    heartbeat_s: float = 15.0
    """Seconds between pings; a ping must be answered before the next one."""
    probe_s: float = 2.5
    """Seconds without a byte of a peer that owes an answer: then it is pinged, and lost
    when as many more pass in silence. A path that went dead is found before the
    requests on it have run out of time."""
    doubt_s: float = 1.0
    """Seconds to answer a ping after another link to the same peer went silent."""
    close_grace_s: float = 1.0
    """Seconds that closing waits, each, for the last packet and for handlers."""


@dataclass(frozen=True)
class Paced:
    """What becomes of a request by its sender's rate: passed, delayed, or refused.

    Attributes:
        delay_ms: wait so long before going on.
        retry_ms: refuse, and say to wait so long; 0 lets it pass.
        curt: refuse without a signature: too many were refused already.
    """

    delay_ms: int = 0
    retry_ms: int = 0
    curt: bool = False


@dataclass
class LinkCounters:
    """What a link has carried so far, for metrics."""

    packets_in: int = 0
    packets_out: int = 0
    frames_in: int = 0
    frames_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    requests_in: int = 0
    requests_out: int = 0
    refused_in: int = 0
    """Requests of the peer that the link answered with a problem."""
    rtt_ms: float | None = None
    """Round trip of the last heartbeat; None before the first."""
