# SPDX-License-Identifier: Apache-2.0
"""An agreement as two operators read it before they sign."""

from __future__ import annotations

from typing import Any

from identity.root import fingerprint
from node.commands.output import columns, day
from protocol.agreement import Agreement, Party, Terms


def document(agreement: Agreement) -> dict[str, Any]:
    """Return the agreement for a script."""
    body = agreement.body
    return {
        "id": body.id,
        "version": body.version,
        "complete": agreement.complete,
        "signed_by": list(agreement.signed_by),
        "starts": body.starts,
        "ends": body.ends,
        "parties": [_party(agreement, party) for party in (body.a, body.b)],
        "terms": {
            f"{body.a.city}>{body.b.city}": body.a_to_b.model_dump(mode="json"),
            f"{body.b.city}>{body.a.city}": body.b_to_a.model_dump(mode="json"),
        },
    }


def _party(agreement: Agreement, party: Party) -> dict[str, Any]:
    return {
        "city": party.city,
        "title": dict(party.title),
        "fingerprint": fingerprint(party.root_key()),
        "links": list(party.links),
        "contact": party.contact,
        "signed": party.city in agreement.signed_by,
    }


def text(agreement: Agreement) -> str:
    """Return the agreement for people."""
    body = agreement.body
    state = "agreement 協定" if agreement.complete else "proposal 協定案"
    lines = [
        f"{state} {body.id}, version {body.version}",
        f"  from {day(body.starts)} to {day(body.ends)}  有効期間",
    ]
    for party in (body.a, body.b):
        signed = (
            "✓ signed 署名済" if party.city in agreement.signed_by else "not signed"
        )
        rows = [
            ("fingerprint 指紋", fingerprint(party.root_key())),
            ("brokers", " ".join(party.links)),
            ("contact 連絡先", party.contact),
        ]
        names = " / ".join(party.title.values())
        lines.append(f"{party.city} {names}  {signed}\n{columns(rows, indent='  ')}")
    for asking, asked, terms in (
        (body.a.city, body.b.city, body.a_to_b),
        (body.b.city, body.a.city, body.b_to_a),
    ):
        lines.append(f"{asking} may ask of {asked}:\n{_terms(terms)}")
    return "\n".join(lines)


def _terms(terms: Terms) -> str:
    rows = [
        ("dataset types", " ".join(terms.dataset_types)),
        ("purposes 利用目的", " ".join(terms.purposes)),
        ("data classes 区分", " ".join(terms.data_classes)),
        ("transit 中継", "yes" if terms.transit else "no"),
        ("hop limit 中継上限", terms.hop_limit),
    ]
    return columns(rows, indent="  ")
