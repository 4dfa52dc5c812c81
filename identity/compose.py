# SPDX-License-Identifier: Apache-2.0
"""From a draft and a resident's will to the claims of a consent. Pure.

The consent names the person by salted commitments only, sorted, so that neither their
order nor their number per party says anything. Where the holder is to stay hidden, the
document says `any`: only a commitment that opens binds it to a holder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from identity.drafts import ConsentDraft
from identity.errors import EvidenceTooLow, LegalLimit
from identity.notice import notice_of
from protocol.canonical import unb64url
from protocol.consent import (
    Consent,
    Evidence,
    State,
    StatusReference,
    legal_limits,
)
from protocol.errors import Misuse
from protocol.ids import NodeId
from protocol.model import ANYONE
from protocol.pseudonym import SALT_BYTES, commitment


@dataclass(frozen=True)
class Names:
    """The resident's name at one party, and the salt that hides it.

    Attributes:
        handle: the pairwise pseudonym.
        salt: 16 random bytes, base64url.
    """

    handle: str
    salt: str

    def commitment(self, party: NodeId) -> str:
        """Return what the consent carries for the party."""
        return commitment(unb64url(self.salt, length=SALT_BYTES), party, self.handle)


def compose(
    *,
    home: NodeId,
    identifier: str,
    draft: ConsentDraft,
    evidence: Evidence,
    names: Mapping[NodeId, Names],
    status: StatusReference,
    longest_s: int,
    now: int,
) -> Consent:
    """Write the first version of a consent's content.

    Args:
        home: the home node.
        identifier: the consent's id.
        draft: what was shown.
        evidence: how the resident's will is proven.
        names: for each party of the draft.
        status: place in the status lists.
        longest_s: longest life of the signed document, in seconds.
        now: seconds since 1970.

    Raises:
        Misuse: a draft that makes no sense, or evidence that contradicts itself.
        EvidenceTooLow: weaker than the dataset types ask for.
        LegalLimit: the law does not allow it.
    """
    draft.check(now)
    check_evidence(draft, evidence)
    longest = now + longest_s
    holders: tuple[NodeId | Literal["any"], ...] = draft.holders
    if draft.hidden_holder:
        holders = ("any",)
    consent = Consent(
        iss=home,
        aud=ANYONE,
        jti=identifier,
        iat=now,
        exp=longest if draft.ends is None else min(draft.ends, longest),
        version=1,
        state=State.ACTIVE,
        recipients=draft.recipients,
        holders=holders,
        subjects=tuple(sorted(names[p].commitment(p) for p in draft.parties)),
        operations=draft.operations,
        scope=tuple(scope.scope() for scope in draft.scope),
        purposes=draft.purposes,
        opt=draft.opt,
        starts=draft.starts,
        ends=draft.ends,
        retention_days=draft.retention_days,
        hidden_holder=draft.hidden_holder,
        notice=notice_of(draft),
        evidence=evidence,
        status=status,
    )
    broken = legal_limits(consent)
    if broken is not None:
        raise LegalLimit(broken)
    return consent


def check_evidence(draft: ConsentDraft, evidence: Evidence) -> None:
    """Hold the evidence to what the dataset types ask for.

    Raises:
        EvidenceTooLow: too weak.
        Misuse: an officer without a counter, or a counter without an officer.
    """
    if (evidence.level == 1) != (evidence.officer is not None):
        raise Misuse("evidence of level 1, and no other, names the officer")
    if evidence.level < draft.evidence_level:
        raise EvidenceTooLow(
            f"this consent needs evidence level {draft.evidence_level}"
        )
