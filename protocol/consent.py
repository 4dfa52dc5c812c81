# SPDX-License-Identifier: Apache-2.0
"""Consent: the resident's signed statement, and the tickets that make it usable.

Fields follow ISO/IEC TS 27560:2023 where it has them (record id, PII principal, notice,
purposes, lawful basis, recipients, controller, event state). The home node issues and
signs; every change is a new signed version that names the digest of the one before.

A consent is read by several parties, so it names the person only by commitments
(`protocol.pseudonym`). Each party gets a *ticket* sealed to its own key that opens its
commitment: who is meant, in that party's own name for the person.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from protocol.canonical import b64url, unb64url
from protocol.errors import Malformed
from protocol.ids import DatasetTypeName, NodeId, PurposeName, RecordId
from protocol.membership import DataClass
from protocol.model import Claims, Digest, Document, Seconds, ShortText
from protocol.pseudonym import Handle, commitment
from protocol.sealed import Opener, SealingKey

CONSENT = "consent"
WITHDRAWAL = "withdrawal"
ACKNOWLEDGEMENT = "acknowledgement"
ANY = "any"
_TICKET_LABEL = "machikura ticket 1"


class Operation(StrEnum):
    """What the consent lets a recipient do."""

    STORE = "store"
    SHARE = "share"
    RE_PROVIDE = "re-provide"
    DERIVE = "derive"


class State(StrEnum):
    """Where in its life a consent is."""

    ACTIVE = "active"
    PAUSED = "paused"
    WITHDRAWN = "withdrawn"
    REFUSED = "refused"


class Scope(Document):
    """One dataset type, whole or in part.

    Attributes:
        dataset_type: which type.
        data_class: its class as shown to the resident.
        fields: only these fields; None means all that the purpose needs.
        records: only these records (requirement 23); None means all of the type.
    """

    dataset_type: DatasetTypeName
    data_class: DataClass
    fields: tuple[str, ...] | None = None
    records: tuple[RecordId, ...] | None = None


class Notice(Document):
    """The text that the resident saw."""

    digest: Digest
    language: ShortText
    version: ShortText


class Evidence(Document):
    """How the resident's will is proven (DESIGN section 7).

    Attributes:
        level: 3 passkey over the consent's hash, 2 home node after multi-factor
            sign-in, 1 assisted at a counter.
        method: such as `password+totp`, `counter`.
        officer: who assisted, for level 1.
    """

    level: Annotated[int, Field(ge=1, le=3)]
    method: ShortText
    officer: ShortText | None = None


class StatusReference(Document):
    """Where the consent's freshness is told: list number and index in it."""

    list: Annotated[int, Field(ge=0)]
    index: Annotated[int, Field(ge=0, lt=1024)]


class Consent(Claims):
    """A consent record. `iss` is the home node, `jti` the consent's id.

    Attributes:
        version: from 1; each change is a new version.
        previous: digest of the version before.
        state: as of this version; freshness proofs tell what became of it.
        recipients: who may receive.
        holders: who may release; `any` for whoever opens a commitment.
        subjects: commitments to (party, handle), one per holder and recipient.
        operations, scope, purposes, legal_basis, opt: what is agreed to.
        starts, ends: when; `ends` None means until withdrawn.
        retention_days: how long the recipient may keep what it received.
        hidden_holder: the recipient must not learn who the holder is.
    """

    schema_version: Literal["machikura-consent-1"] = "machikura-consent-1"
    version: Annotated[int, Field(ge=1)]
    previous: Digest | None = None
    state: State
    recipients: Annotated[tuple[NodeId, ...], Field(max_length=64)]
    holders: Annotated[
        tuple[NodeId | Literal["any"], ...], Field(min_length=1, max_length=64)
    ]
    subjects: Annotated[tuple[Digest, ...], Field(min_length=1, max_length=256)]
    operations: Annotated[tuple[Operation, ...], Field(min_length=1)]
    scope: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=64)]
    purposes: Annotated[tuple[PurposeName, ...], Field(min_length=1, max_length=32)]
    legal_basis: ShortText = "consent"
    opt: Literal["in", "out"] = "in"
    starts: Seconds
    ends: Seconds | None = None
    retention_days: Annotated[int, Field(ge=0, le=36500)] | None = None
    hidden_holder: bool = False
    notice: Notice
    evidence: Evidence
    status: StatusReference

    def scope_of(self, dataset_type: str) -> Scope | None:
        """Return the scope for a dataset type, None if the consent has none."""
        return next((s for s in self.scope if s.dataset_type == dataset_type), None)


def legal_limits(consent: Consent) -> str | None:
    """Return the slug of the legal limit that the consent breaks, None if none.

    Special-care data cannot be opt-out and needs recipients and an end (APPI article
    27, requirement 44). Closed data is never shared on consent.
    """
    if not consent.recipients:
        return "consent-no-recipient"
    for scope in consent.scope:
        if scope.data_class is DataClass.CLOSED:
            return "closed-outside-city"
        if scope.data_class is DataClass.SPECIAL_CARE:
            if consent.opt == "out":
                return "special-care-opt-out"
            if consent.ends is None:
                return "special-care-no-end"
    return None


class Ticket(Document):
    """Who is meant, for one party. Travels sealed to that party.

    Attributes:
        consent: the consent's id.
        party: for whom this ticket is.
        handle: the resident's handle there.
        salt: opens the commitment.
    """

    consent: ShortText
    party: NodeId
    handle: Handle
    salt: str

    def commitment(self) -> str:
        """Return the commitment that this ticket opens."""
        return commitment(unb64url(self.salt, length=16), self.party, self.handle)

    def seal(self, key: SealingKey) -> str:
        """Seal to the party, bound to the consent's id."""
        context = self.consent.encode("utf-8")
        return b64url(key.seal(_TICKET_LABEL, context, self.encode()))


def open_ticket(sealed: str, key: Opener, party: NodeId, consent: Consent) -> Ticket:
    """Open our ticket and hold it to the consent.

    Raises:
        CannotOpen: not sealed to us, or for another consent.
        Malformed: for another party, or it opens none of the consent's commitments
            (a recipient that swaps persons ends here).
    """
    context = consent.jti.encode("utf-8")
    ticket = Ticket.decode(key.open(_TICKET_LABEL, context, unb64url(sealed)))
    if ticket.consent != consent.jti or ticket.party != party:
        raise Malformed("the ticket is for another party or consent")
    if ticket.commitment() not in consent.subjects:
        raise Malformed("the ticket opens no commitment of the consent")
    return ticket


class Withdrawal(Claims):
    """The home node's word that a consent ended or paused. `aud` is the party told.

    Attributes:
        consent: the consent's id.
        version: the version that says so.
        state: withdrawn or paused.
        obligation: what a past recipient must do (DESIGN section 7).
    """

    consent: ShortText
    version: int
    state: State
    at: Seconds
    obligation: Literal["stop", "delete"] = "stop"


class Acknowledgement(Claims):
    """A party's signed answer to a withdrawal. `iss` is that party.

    Attributes:
        done: what it did: `stopped`, `deleted`, or `kept`.
        basis: the legal basis, where it kept the data.
    """

    consent: ShortText
    version: int
    done: Literal["stopped", "deleted", "kept"]
    basis: ShortText = ""
