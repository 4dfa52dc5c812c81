# SPDX-License-Identifier: Apache-2.0
"""How a request on a link ends when it does not end with an answer."""

from __future__ import annotations

from typing import Final

import orjson

from federation.ports import LinkError

_MAX_SLUG_CHARS: Final = 64
_MAX_RETRY_MS: Final = 86_400_000


class LinkLost(LinkError):
    """The link has ended. A request that waited may or may not have been done.

    Attributes:
        reason: `closed`, `peer-closed`, `pipe-closed`, `silent`, `malformed`,
            `overloaded`, `expired` or `internal`.
    """

    slug = "link-lost"

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"link lost: {reason} {detail}".rstrip())
        self.reason = reason


class DeadlinePassed(LinkError):
    """No answer came before the deadline of the request."""

    slug = "deadline-passed"


class LinkProblem(LinkError):
    """A request that a link refused, as opposed to the application behind it.

    Attributes:
        slug: `overloaded`, `too-large`, `internal`, or what a handler raised.
        retry_after_ms: when trying again makes sense; None when it does not.
    """

    def __init__(self, slug: str, retry_after_ms: int | None = None) -> None:
        super().__init__(slug)
        self.slug = slug
        self.retry_after_ms = retry_after_ms

    def encode(self) -> bytes:
        """Returns the payload of an ANSWER frame with the flag PROBLEM."""
        return orjson.dumps({"code": self.slug, "retry_after_ms": self.retry_after_ms})

    @classmethod
    def decode(cls, payload: bytes) -> LinkProblem:
        """Returns the problem that a peer stated; a garbled one counts as internal."""
        try:
            value = orjson.loads(payload)
        except orjson.JSONDecodeError:
            return cls("internal")
        if not isinstance(value, dict):
            return cls("internal")
        slug, retry = value.get("code"), value.get("retry_after_ms")
        if not isinstance(slug, str) or len(slug) > _MAX_SLUG_CHARS:
            slug = "internal"
        if not isinstance(retry, int) or not 0 <= retry <= _MAX_RETRY_MS:
            retry = None
        return cls(slug, retry)
