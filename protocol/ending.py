# SPDX-License-Identifier: Apache-2.0
"""An agreement ends before its day: by one city with notice, or by both at any time.

    word = end_word(agreement, city, root, at=…)
    ending = Ending(words=(word,))         # one city: not before the notice is over
    judge_ending(ending, agreement, …)     # two cities, the same moment: as they say

What an agreement allows is changed by both signatures only. An end takes away; still
one city must not end it for the other from one day to the next, unless it says so to
its own brokers alone, which each city may at any time. The notice counts from when the
word arrives, not from when it says that it was signed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from protocol.agreement import AgreementBody
from protocol.errors import Malformed, ProtocolViolation, WrongAudience
from protocol.ids import CityId
from protocol.model import Claims, Document, Seconds, ShortText
from protocol.signature import MAX_TOKEN_BYTES, Received, SingleKey, sign
from protocol.suites import Signer, VerifyingKey

AGREEMENT_END = "agreement-end"
_DAY_S = 86_400


class OneSided(ProtocolViolation):
    """One city alone has signed what needs both, or more notice."""

    slug = "needs-both-cities"


class AgreementEnd(Claims):
    """One city's word. `iss` is that city, `aud` the other one.

    Attributes:
        agreement: id of the agreement.
        version: of it, and with it all versions before.
        at: it is in force until then.
    """

    agreement: ShortText
    version: Annotated[int, Field(ge=1)]
    at: Seconds


class Ending(Document):
    """The word of one city, or of both."""

    words: Annotated[
        tuple[Annotated[str, Field(max_length=MAX_TOKEN_BYTES)], ...],
        Field(min_length=1, max_length=2),
    ]


def end_word(
    body: AgreementBody,
    city: CityId,
    root: Signer,
    *,
    at: int,
    now: int,
    identifier: str,
) -> str:
    """Sign one city's word that an agreement ends.

    Args:
        body: the agreement.
        city: whose word it is.
        root: its root key.
        at: when it shall end, seconds since 1970.
        now: seconds since 1970.
        identifier: fresh id.

    Raises:
        WrongAudience: the city is no party.
    """
    if not body.concerns(city):
        raise WrongAudience("this city is no party of the agreement")
    claims = AgreementEnd(
        iss=city,
        aud=body.other(city).city,
        jti=identifier,
        iat=now,
        exp=max(body.ends, at) + 400 * _DAY_S,
        agreement=body.id,
        version=body.version,
        at=at,
    )
    return sign(root, AGREEMENT_END, claims).token


def judge_ending(
    ending: Ending,
    body: AgreementBody,
    accepts: Callable[[CityId, VerifyingKey, VerifyingKey], bool],
    root_named: Callable[[CityId, VerifyingKey, str], VerifyingKey],
    now: int,
    skew_s: int,
) -> int:
    """Return when an agreement ends by these words.

    Args:
        ending: one word or two.
        body: the agreement, in force or to come.
        accepts: whether what a root signed counts for a city whose root is in the text.
        root_named: the root of a city by its name.
        now: seconds since 1970.
        skew_s: how far two clocks may differ.

    Raises:
        OneSided: one city alone, and sooner than the notice that was agreed.
        ProtocolViolation: any other fault.
    """
    moments: dict[str, int] = {}
    for token in ending.words:
        received = Received.parse(token, AGREEMENT_END)
        claimed = CityId(received.peek(AgreementEnd).iss)
        if not body.concerns(claimed):
            raise WrongAudience("ended by a city that is no party")
        party = body.a if body.a.city == claimed else body.b
        root = root_named(claimed, party.root_key(), received.kid)
        if not accepts(claimed, party.root_key(), root):
            raise Malformed("ended under a root that was replaced")
        said = received.verify(AgreementEnd, SingleKey(claimed, root)).body
        said.check_times(now, skew_s)
        if said.agreement != body.id or said.version < body.version:
            raise WrongAudience("the word is about another agreement, or an older one")
        moments[said.iss] = said.at
    if len(set(moments.values())) != 1 or len(moments) != len(ending.words):
        raise Malformed("the two cities name different days, or one has signed twice")
    at = next(iter(moments.values()))
    if len(moments) == 1 and at < now + body.notice_s - skew_s:
        raise OneSided(f"one city alone must give {body.notice_s // _DAY_S} days")
    return at
