# SPDX-License-Identifier: Apache-2.0
"""Saves a long answer of the node in a file, and goes on where it broke off.

A broken connection, a restarted node, a killed command: the next attempt asks from the
last whole chunk that is on disk. Within one call attempts follow each other while the
node makes progress, and for `patience_s` without any.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from node.commands.api_client import ApiClient, NodeProblem, NodeUnreachable
from node.commands.partial_file import PartialFile, Whole
from node.commands.progress import shown
from node.system import SystemClock
from protocol.errors import Malformed

_PIECE_BYTES = 1 << 20
_PAUSE_S = 1.0
_PASSING = frozenset(
    {"timeout", "peer-unreachable", "overloaded", "rate-limited", "not-ready"}
)
"""Problems that may be over at the next attempt."""

Call = Callable[[int], tuple[str, str, object]]
"""Takes the offset; returns method, path and body of the call."""


@dataclass(frozen=True)
class Saved:
    """What was saved.

    Attributes:
        size: bytes of the whole.
        sha256: of the whole, hexadecimal.
        resumed_at: what an earlier command had left.
        attempts: how many calls it took.
        took_s: seconds of this command.
    """

    size: int
    sha256: str
    resumed_at: int
    attempts: int
    took_s: float


class _Broken(Exception):
    """The node or the connection broke off; ask again."""


def save(
    client: ApiClient,
    call: Call,
    attachment: str,
    path: Path,
    *,
    patience_s: float,
    as_json: bool,
) -> Saved:
    """Save the content of an attachment.

    Raises:
        NodeProblem: refused, or failing for longer than `patience_s`.
        NodeUnreachable: the node does not run for that long.
        WrongDigest: as named.
    """
    file, clock = PartialFile(path), SystemClock()
    started = heard = clock.monotonic()
    resumed_at, attempts = file.kept(attachment), 0
    reached = resumed_at
    while True:
        attempts += 1
        try:
            whole = _attempt(
                client, call(file.kept(attachment)), file, attachment, as_json
            )
            break
        except (_Broken, NodeUnreachable) as error:
            failure: Exception = error
        except NodeProblem as error:
            if error.slug not in _PASSING:
                raise
            failure = error
        if file.position > reached:
            reached, heard = file.position, clock.monotonic()
        if clock.monotonic() - heard > patience_s:
            if isinstance(failure, _Broken):
                raise NodeUnreachable("the node broke off again and again") from failure
            raise failure
        asyncio.run(clock.sleep(_PAUSE_S))
    took_s = clock.monotonic() - started
    return Saved(whole.size, whole.sha256.hex(), resumed_at, attempts, took_s)


def _attempt(
    client: ApiClient,
    call: tuple[str, str, object],
    file: PartialFile,
    attachment: str,
    as_json: bool,
) -> Whole:
    """Ask once and write what comes; return when the file is whole.

    Raises:
        _Broken: it is not.
    """
    method, path, body = call
    position = file.kept(attachment)
    try:
        with client.download(method, path, body=body) as answer:
            left = int(answer.getheader("Content-Length") or 0)
            digest = _digest(answer.getheader("Repr-Digest"))
            whole = Whole(attachment, position + left, digest)
            if not file.begin(whole, position):
                raise _Broken("what was left is of other content")
            with shown(file.name, whole.size, position, as_json=as_json) as tell:
                while file.position < whole.size:
                    piece = answer.read1(_PIECE_BYTES)
                    if not piece:
                        raise _Broken("cut off")
                    file.write(piece)
                    tell(file.position)
    except (OSError, http.client.HTTPException) as error:
        raise _Broken("cut off") from error
    finally:
        file.pause()
    file.finish()
    return whole


def _digest(header: str | None) -> bytes:
    found = re.search(r"sha-256=:([A-Za-z0-9+/]{43}=):", header or "")
    if found is None:
        raise Malformed("the answer has no digest")
    return base64.b64decode(found[1])
