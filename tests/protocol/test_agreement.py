# SPDX-License-Identifier: Apache-2.0
"""Federation agreements: two roots over the same bytes, or no trust at all."""

import json
from typing import Any

import pytest

from protocol.agreement import KIND, Agreement, AgreementBody, Terms
from protocol.canonical import b64url, canonical, parse_json, unb64url
from protocol.errors import (
    BadKey,
    BadSignature,
    Malformed,
    ProtocolViolation,
    TooLarge,
    UnknownKey,
    UnsupportedSuite,
    WrongAudience,
    WrongIssuer,
    WrongType,
)
from protocol.ids import CityId, DatasetTypeName
from protocol.membership import OPERATING, DataClass
from protocol.signature import typ_of
from protocol.suites import Signer, Suite
from tests.protocol.cities import (
    HOSHINO,
    MINATO,
    NOW,
    STRICT_CITY,
    YAMANAMI,
    City,
    agreement_body,
    resign,
    signing,
)

PROPOSAL = Agreement.propose(agreement_body(), HOSHINO.id, HOSHINO.root)
SIGNED = PROPOSAL.countersign(MINATO.id, MINATO.root)


def wire(agreement: Agreement = SIGNED) -> dict[str, Any]:
    """Return the JWS JSON serialization, to be changed."""
    parsed: dict[str, Any] = json.loads(agreement.wire)
    return parsed


def parse(changed: dict[str, Any]) -> Agreement:
    """Read a changed serialization."""
    return Agreement.parse(json.dumps(changed).encode())


def signature(payload: str, root: Signer, **header: object) -> dict[str, str]:
    """Return one signature, by whom and with which header one likes."""
    key = root.public
    members = {"alg": key.suite.algorithm, "kid": key.kid, "typ": typ_of(KIND)}
    protected = b64url(canonical({**members, **header}))
    signed = root.sign(f"{protected}.{payload}".encode())
    return {"protected": protected, "signature": b64url(signed)}


def forged(body: dict[str, Any], *roots: Signer) -> Agreement:
    """Read a text of our own making, signed by these roots."""
    payload = b64url(canonical(body))
    return parse(
        {"payload": payload, "signatures": [signature(payload, r) for r in roots]}
    )


def members(**changes: object) -> dict[str, Any]:
    """Return the text as members, with changes."""
    body = agreement_body().model_dump(mode="json", exclude_none=True)
    return {**body, **changes}


@pytest.mark.parametrize("other", [MINATO, STRICT_CITY], ids=lambda c: c.name)
def test_agreement_of_two_roots_is_in_force(other: City) -> None:
    """Proposed by one, countersigned by the other, of whichever suite."""
    proposal = Agreement.propose(
        agreement_body(HOSHINO, other), HOSHINO.id, HOSHINO.root
    )
    agreement = Agreement.parse(proposal.wire).countersign(other.id, other.root)
    assert Agreement.parse(agreement.wire) == agreement
    assert agreement.complete
    assert agreement.in_force(NOW)


def test_either_city_can_begin() -> None:
    """The order of the signatures does not matter."""
    proposal = Agreement.propose(agreement_body(), MINATO.id, MINATO.root)
    assert proposal.countersign(HOSHINO.id, HOSHINO.root).in_force(NOW)


def test_proposal_is_not_in_force() -> None:
    """An agreement with one signature binds nobody."""
    assert PROPOSAL.signed_by == ("hoshino",)
    assert not PROPOSAL.complete
    assert not PROPOSAL.in_force(NOW)


def test_agreement_has_a_beginning_and_an_end() -> None:
    """From its start until the second before its end."""
    assert not SIGNED.in_force(SIGNED.body.starts - 1)
    assert SIGNED.in_force(SIGNED.body.starts)
    assert SIGNED.in_force(SIGNED.body.ends - 1)
    assert not SIGNED.in_force(SIGNED.body.ends)


def test_one_root_cannot_sign_twice() -> None:
    """Two signatures of the proposer are no agreement."""
    changed = wire(PROPOSAL)
    changed["signatures"] *= 2
    with pytest.raises(BadSignature):
        parse(changed)
    with pytest.raises(WrongAudience):
        PROPOSAL.countersign(HOSHINO.id, HOSHINO.root)


def test_foreign_root_cannot_sign() -> None:
    """Neither a third city's, nor an operating key in its city's name."""
    payload = wire()["payload"]
    first = wire()["signatures"][0]
    for root in (YAMANAMI.root, MINATO.operating):
        with pytest.raises(BadSignature):
            parse({"payload": payload, "signatures": [first, signature(payload, root)]})
    with pytest.raises(WrongAudience):
        PROPOSAL.countersign(YAMANAMI.id, YAMANAMI.root)
    with pytest.raises(BadSignature, match="not the one the text names"):
        PROPOSAL.countersign(MINATO.id, YAMANAMI.root)
    with pytest.raises(BadSignature, match="not the one the text names"):
        Agreement.propose(agreement_body(), YAMANAMI.id, MINATO.root)


def test_signature_under_the_name_of_the_other_root_is_refused() -> None:
    """The header says Minato's key, the bytes were signed by another."""
    payload = wire()["payload"]
    lie = signature(payload, YAMANAMI.root, kid=MINATO.root.public.kid)
    with pytest.raises(BadSignature):
        parse({"payload": payload, "signatures": [wire()["signatures"][0], lie]})


def test_swapped_terms_break_both_signatures() -> None:
    """Nobody takes the wider side after signing."""
    body = members(a_to_b=members()["b_to_a"], b_to_a=members()["a_to_b"])
    with pytest.raises(BadSignature):
        parse({**wire(), "payload": b64url(canonical(body))})


@pytest.mark.parametrize(
    ("member", "value"), [("ends", NOW + 9_999_999), ("id", "other"), ("version", 2)]
)
def test_altered_text_breaks_both_signatures(member: str, value: object) -> None:
    """A longer life, another name, a newer version."""
    body = members(**{member: value})
    with pytest.raises(BadSignature):
        parse({**wire(), "payload": b64url(canonical(body))})


def test_signature_from_another_agreement_does_not_fit() -> None:
    """The countersignature of an earlier version."""
    newer = agreement_body().model_copy(update={"version": 2})
    other = Agreement.propose(newer, HOSHINO.id, HOSHINO.root)
    changed = wire(other)
    changed["signatures"].append(wire()["signatures"][1])
    with pytest.raises(BadSignature):
        parse(changed)


def test_algorithm_of_the_other_suite_is_refused() -> None:
    """Header and key must agree, here as everywhere."""
    payload = wire()["payload"]
    wrong = signature(payload, HOSHINO.root, alg="ES256")
    with pytest.raises(BadSignature, match="algorithm"):
        parse({"payload": payload, "signatures": [wrong]})
    unknown = signature(payload, HOSHINO.root, alg="none")
    with pytest.raises(UnsupportedSuite):
        parse({"payload": payload, "signatures": [unknown]})


def test_signature_of_another_kind_is_refused() -> None:
    """A root signs operating certificates as well."""
    payload = wire()["payload"]
    wrong = signature(payload, HOSHINO.root, typ=typ_of(OPERATING))
    with pytest.raises(WrongType):
        parse({"payload": payload, "signatures": [wrong]})


@pytest.mark.parametrize("extra", [{"crit": ["b64"], "b64": False}, {"jwk": {}}])
def test_further_header_member_is_refused(extra: dict[str, object]) -> None:
    """Such as one that changes what was signed."""
    payload = wire()["payload"]
    with pytest.raises(Malformed):
        parse(
            {
                "payload": payload,
                "signatures": [signature(payload, HOSHINO.root, **extra)],
            }
        )


@pytest.mark.parametrize(
    "change",
    [
        {"signatures": []},
        {"signatures": [{"protected": "a"}]},
        {"signatures": "a"},
        {"header": {"kid": "a"}},
        {"payload": 1},
        {"payload": ""},
        {"payload": "e30"},
        {"payload": "e30="},
    ],
)
def test_odd_serialization_is_refused(change: dict[str, Any]) -> None:
    """Unprotected headers, missing parts, another type."""
    with pytest.raises(ProtocolViolation):
        parse({**wire(), **change})


def test_third_signature_is_refused() -> None:
    """An agreement has two cities."""
    changed = wire()
    changed["signatures"].append(signature(changed["payload"], YAMANAMI.root))
    with pytest.raises(Malformed):
        parse(changed)


def test_file_with_duplicate_members_is_refused() -> None:
    """Readers that take the first and readers that take the last must agree."""
    text = SIGNED.wire.replace(b'{"payload":', b'{"payload":"e30","payload":', 1)
    with pytest.raises(Malformed):
        Agreement.parse(text)


def test_long_file_is_refused_unread() -> None:
    """64 KiB are plenty."""
    with pytest.raises(TooLarge):
        Agreement.parse(b" " * (64 * 1024 + 1))
    with pytest.raises(TooLarge):
        Agreement.parse(b"[" * 100)


def test_city_cannot_agree_with_itself() -> None:
    """Neither by name nor by key, also where one key is written in two ways."""
    party = members()["a"]
    with pytest.raises(Malformed, match="two different"):
        forged(members(b={**members()["b"], "city": "hoshino"}), HOSHINO.root)
    with pytest.raises(Malformed, match="two different"):
        forged(members(b={**party, "city": "minato"}), HOSHINO.root)
    again = {**party, "city": "minato", "root": {**party["root"], "use": "sig"}}
    with pytest.raises(Malformed, match="two different"):
        forged(members(b=again), HOSHINO.root)


def test_agreement_that_ends_before_it_starts_is_refused() -> None:
    """Or in the same second."""
    for ends in (NOW - 1000, 0):
        with pytest.raises(Malformed, match="ends before"):
            forged(members(ends=ends), HOSHINO.root)


def test_operating_certificate_of_another_city_is_refused() -> None:
    """Minato's party shows Yamanami's certificate."""
    party = {**members()["b"], "operating": YAMANAMI.certificate()}
    with pytest.raises(UnknownKey):
        forged(members(b=party), HOSHINO.root)


def test_operating_certificate_for_another_city_is_refused() -> None:
    """Minato's root signs a certificate for Yamanami, or in its name."""
    for change, error in (
        ({"sub": "yamanami"}, Malformed),
        ({"iss": "a"}, WrongIssuer),
    ):
        certificate = resign(MINATO.certificate(), OPERATING, MINATO.root, **change)
        party = {**members()["b"], "operating": certificate}
        with pytest.raises(error):
            forged(members(b=party), HOSHINO.root, MINATO.root)


def test_operating_certificate_by_the_operating_key_is_refused() -> None:
    """Only a root names an operating key."""
    certificate = resign(MINATO.certificate(), OPERATING, MINATO.operating)
    with pytest.raises(UnknownKey):
        forged(members(b={**members()["b"], "operating": certificate}), HOSHINO.root)


def test_root_key_that_must_not_be_used_is_refused() -> None:
    """A low-order root would verify anything in some libraries."""
    root = {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43}
    with pytest.raises(BadKey):
        forged(members(b={**members()["b"], "root": root}), HOSHINO.root)


def test_bytes_that_were_signed_travel_unchanged() -> None:
    """The second root signs the same payload, whatever else is in the file."""
    assert wire()["payload"] == wire(PROPOSAL)["payload"]
    assert AgreementBody.decode(unb64url(wire()["payload"])) == agreement_body()
    assert parse_json(SIGNED.wire, max_depth=4)


def test_root_of_either_suite_signs() -> None:
    """`alg` follows the key."""
    body = agreement_body(HOSHINO, STRICT_CITY)
    proposal = Agreement.propose(body, STRICT_CITY.id, STRICT_CITY.root)
    assert proposal.signed_by == ("kawabe",)
    assert signing("a", Suite.STRICT).public.suite.algorithm == "ES256"


def test_terms_go_by_who_asks() -> None:
    """What one may ask of the other, and the reverse."""
    body = agreement_body()
    assert body.terms(HOSHINO.id) == body.a_to_b
    assert body.terms(MINATO.id) == body.b_to_a
    assert body.other(HOSHINO.id) == body.b
    assert body.other(MINATO.id) == body.a
    assert body.concerns(MINATO.id)
    assert not body.concerns(YAMANAMI.id)


def test_stranger_may_ask_nothing() -> None:
    """A third city does not fall into the terms of one of the two."""
    terms = agreement_body().terms(CityId("yamanami"))
    assert terms == Terms()
    assert terms.refusal("health.checkup", "treatment", "personal") is not None


ALLOWED = Terms(
    dataset_types=(DatasetTypeName("health.checkup"),),
    purposes=("*",),
    data_classes=(DataClass.PERSONAL, DataClass.CLOSED),
)


@pytest.mark.parametrize(
    ("dataset_type", "data_class", "reason"),
    [
        ("health.checkup", "personal", None),
        ("health.checkup", "special-care", "agreement-data-class"),
        ("health.checkup", "closed", "agreement-data-class"),
        ("energy.usage", "personal", "agreement-dataset-type"),
        ("*", "personal", "agreement-dataset-type"),
        ("energy.usage", "closed", "agreement-data-class"),
    ],
)
def test_first_clause_that_forbids_is_named(
    dataset_type: str, data_class: str, reason: str | None
) -> None:
    """Closed data never passes, whatever two cities write."""
    assert ALLOWED.refusal(dataset_type, "treatment", data_class) == reason


def test_purpose_must_be_in_the_terms() -> None:
    """By name, unless any is allowed."""
    named = ALLOWED.model_copy(update={"purposes": ("treatment",)})
    assert named.refusal("health.checkup", "treatment", "personal") is None
    assert (
        named.refusal("health.checkup", "marketing", "personal") == "agreement-purpose"
    )


def test_wildcard_stands_for_any_name() -> None:
    """For dataset types and purposes; data classes are always named."""
    wide = ALLOWED.model_copy(update={"dataset_types": ("*",)})
    assert wide.refusal("energy.usage", "research", "personal") is None
    assert wide.refusal("energy.usage", "research", "open") == "agreement-data-class"


def test_empty_terms_allow_nothing() -> None:
    """Empty means nothing, in each clause alone."""
    for clause in ("dataset_types", "purposes", "data_classes"):
        less = ALLOWED.model_copy(update={clause: ()})
        assert less.refusal("health.checkup", "treatment", "personal") is not None
