# SPDX-License-Identifier: Apache-2.0
"""Vectors of what two cities sign."""

import json
from collections.abc import Iterable, Mapping

from protocol.agreement import Agreement
from protocol.canonical import b64url, canonical
from protocol.membership import OPERATING
from protocol.signature import typ_of
from protocol.suites import SigningKey
from tests.protocol.cities import (
    HOSHINO,
    MINATO,
    NOW,
    YAMANAMI,
    agreement_body,
    resign,
)
from tests.vectors.cases import Case, fails, passes


def agreements() -> Iterable[Case]:
    """Yield proposals and agreements as files."""
    proposal = Agreement.propose(agreement_body(), HOSHINO.id, HOSHINO.root)
    signed = proposal.countersign(MINATO.id, MINATO.root)
    wire = json.loads(signed.wire)
    text = json.loads(agreement_body().encode())

    def given(changed: Mapping[str, object] | bytes, now: int = NOW) -> Case:
        file = changed if isinstance(changed, bytes) else canonical(changed)
        return {"file": file.decode(), "now": now}

    def signature(payload: str, root: SigningKey, **changes: object) -> Case:
        key = root.public
        members = {
            "alg": key.suite.algorithm,
            "kid": key.kid,
            "typ": typ_of("agreement"),
        }
        protected = b64url(canonical({**members, **changes}))
        made = root.sign(f"{protected}.{payload}".encode())
        return {"protected": protected, "signature": b64url(made)}

    def forged(changed: Mapping[str, object], *roots: SigningKey) -> Case:
        payload = b64url(canonical({**text, **changed}))
        return given(
            {"payload": payload, "signatures": [signature(payload, r) for r in roots]}
        )

    both = {"signed_by": ["hoshino", "minato"], "in_force": True}
    yield passes("valid", given(signed.wire), both)
    yield passes(
        "over", given(signed.wire, NOW + 1_000_000), {**both, "in_force": False}
    )
    yield passes(
        "not begun", given(signed.wire, NOW - 1001), {**both, "in_force": False}
    )
    yield passes(
        "one signature",
        given(proposal.wire),
        {"signed_by": ["hoshino"], "in_force": False},
    )
    payload, (one, two) = wire["payload"], wire["signatures"]
    foreign = signature(payload, YAMANAMI.root)
    for name, signatures, failure in (
        ("one root twice", [one, one], "bad-signature"),
        ("foreign root", [one, foreign], "bad-signature"),
        (
            "foreign root under the name of the right one",
            [one, signature(payload, YAMANAMI.root, kid=MINATO.root.public.kid)],
            "bad-signature",
        ),
        ("operating key", [one, signature(payload, MINATO.operating)], "bad-signature"),
        ("three signatures", [one, two, foreign], "malformed"),
        ("no signature", [], "malformed"),
        (
            "algorithm of the other suite",
            [one, signature(payload, MINATO.root, alg="ES256")],
            "bad-signature",
        ),
        (
            "signature of another kind",
            [one, signature(payload, MINATO.root, typ=typ_of(OPERATING))],
            "wrong-type",
        ),
        (
            "header with crit",
            [signature(payload, MINATO.root, crit=["b64"])],
            "malformed",
        ),
    ):
        yield fails(
            name, given({"payload": payload, "signatures": signatures}), failure
        )
    swapped = {"a_to_b": text["b_to_a"], "b_to_a": text["a_to_b"]}
    for name, changed in (
        ("swapped terms", swapped),
        ("longer life", {"ends": NOW + 9_999_999}),
    ):
        altered = b64url(canonical({**text, **changed}))
        yield fails(name, given({**wire, "payload": altered}), "bad-signature")
    roots = (HOSHINO.root, MINATO.root)
    yield fails("ends before it starts", forged({"ends": 0}, *roots), "malformed")
    same = {"b": {**text["b"], "city": "hoshino"}}
    yield fails("one city", forged(same, *roots), "malformed")
    theirs = {"b": {**text["b"], "operating": YAMANAMI.certificate()}}
    yield fails(
        "operating certificate of another city", forged(theirs, *roots), "unknown-key"
    )
    bent = resign(MINATO.certificate(), OPERATING, MINATO.root, sub="yamanami")
    yield fails(
        "operating certificate for another city",
        forged({"b": {**text["b"], "operating": bent}}, *roots),
        "malformed",
    )
    weak = {"b": {**text["b"], "root": {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43}}}
    yield fails("low-order root key", forged(weak, *roots), "bad-key")
