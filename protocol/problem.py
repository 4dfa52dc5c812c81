# SPDX-License-Identifier: Apache-2.0
"""Problem documents: what went wrong, why, and how to mend it (RFC 9457).

Every code is stable and stands in `CATALOG` (`protocol.problem_catalog`) with title and
remedy in English and Japanese. A problem inside the federation is signed by the party
that refused, so a broker cannot invent a holder's refusal.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.model import Claims, Digest, Document, Millis, ShortText
from protocol.problem_catalog import CATALOG, Entry

PROBLEM = "problem"


class ProblemBody(Document):
    """A problem as it travels: the code, and what happened here.

    Attributes:
        code: stable slug.
        detail: this case, in English, free of personal data.
        retry_after_ms: when asking again may help.
    """

    code: ShortText
    detail: ShortText = ""
    retry_after_ms: Millis | None = None


class SignedProblem(Claims):
    """A broker's signed refusal. `jti` is the exchange id, `aud` the asker."""

    request: Digest
    problem: ProblemBody


@dataclass(frozen=True)
class Refusal:
    """A refusal or failure as the asker sees it: a value, not an exception.

    Attributes:
        code: stable slug.
        detail: this case.
        by: node that refused, `None` when it is our own finding (a timeout), or the
            city in a hidden read.
        signed: the refusal's signature was verified.
        retry_after_ms: when asking again may help.
    """

    code: str
    detail: str = ""
    by: str | None = None
    signed: bool = False
    retry_after_ms: int | None = None


def describe(code: str) -> Entry:
    """Return title and remedy; codes of newer peers get general words."""
    return CATALOG.get(code) or CATALOG["unknown-problem"]
