# SPDX-License-Identifier: Apache-2.0
"""Consent: its shape, its legal limits, and tickets that cannot be swapped."""

from typing import Any

import pytest

from protocol.canonical import b64url, canonical
from protocol.consent import (
    CONSENT,
    Acknowledgement,
    Consent,
    Scope,
    State,
    Ticket,
    Withdrawal,
    legal_limits,
    open_ticket,
)
from protocol.errors import CannotOpen, Malformed
from protocol.ids import DatasetTypeName
from protocol.membership import DataClass
from protocol.pseudonym import handle
from protocol.signature import Received, SingleKey
from tests.protocol.cities import HOSHINO, NOW, opening, seed, signing
from tests.protocol.exchanges import (
    CHECKUP,
    HOLDER,
    HOME,
    RECIPIENT,
    RESIDENT_KEY,
    consent,
    consent_token,
    ticket,
)

HOLDER_KEY = opening(HOLDER)
LABEL = "machikura ticket 1"


def members(**changes: object) -> dict[str, Any]:
    """Return the consent's members, with changes."""
    return {**consent().model_dump(mode="json", exclude_none=True), **changes}


def scope(data_class: DataClass) -> Scope:
    """Return a scope of that class."""
    return Scope(dataset_type=DatasetTypeName("a.b"), data_class=data_class)


def test_consent_is_read_back() -> None:
    """As the home node signed it."""
    keys = SingleKey(HOME, signing(HOME).public)
    read = Received.parse(consent_token(), CONSENT).verify(Consent, keys)
    assert read.body == consent()


def test_consent_does_not_name_the_person() -> None:
    """Its readers see commitments; handles are in the tickets."""
    text = consent().encode()
    assert handle(RESIDENT_KEY, HOLDER).encode() not in text
    assert handle(RESIDENT_KEY, RECIPIENT).encode() not in text


@pytest.mark.parametrize(
    "change",
    [
        {"version": 0},
        {"state": "expired"},
        {"recipients": ["any"]},
        {"recipients": ["hoshino/*"]},
        {"recipients": [f"city/n{i}" for i in range(65)]},
        {"holders": []},
        {"holders": ["*"]},
        {"subjects": []},
        {"subjects": ["short"]},
        {"operations": []},
        {"operations": ["sell"]},
        {"scope": []},
        {"scope": [{"dataset_type": "*", "data_class": "personal"}]},
        {"purposes": []},
        {"purposes": ["*"]},
        {"opt": "maybe"},
        {"starts": "2026-01-01"},
        {"ends": -1},
        {"retention_days": 36501},
        {"hidden_holder": 1},
        {"evidence": {"level": 0, "method": "a"}},
        {"evidence": {"level": 4, "method": "a"}},
        {"status": {"list": 0, "index": 1024}},
        {"status": {"list": 0, "index": -1}},
        {"previous": "none"},
    ],
)
def test_consent_of_an_odd_shape_is_refused(change: dict[str, object]) -> None:
    """Empty clauses, wildcards, unknown words, numbers out of range."""
    with pytest.raises(Malformed, match="Consent"):
        Consent.decode(canonical(members(**change)))


def test_scope_is_found_by_dataset_type() -> None:
    """Only types that the consent names have one."""
    found = consent().scope_of(CHECKUP)
    assert found is not None
    assert found.data_class is DataClass.SPECIAL_CARE
    assert consent().scope_of("health.visit") is None


def test_lawful_consent_breaks_no_limit() -> None:
    """Special care: opt-in, recipients, an end."""
    assert legal_limits(consent()) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"recipients": ()}, "consent-no-recipient"),
        ({"opt": "out"}, "special-care-opt-out"),
        ({"ends": None}, "special-care-no-end"),
        ({"scope": (scope(DataClass.CLOSED),)}, "closed-outside-city"),
        (
            {"scope": (scope(DataClass.PERSONAL), scope(DataClass.CLOSED))},
            "closed-outside-city",
        ),
        (
            {
                "scope": (scope(DataClass.OPEN), scope(DataClass.SPECIAL_CARE)),
                "opt": "out",
            },
            "special-care-opt-out",
        ),
    ],
)
def test_legal_limit_is_named(change: dict[str, object], reason: str) -> None:
    """APPI article 27, requirement 44; each scope counts."""
    assert legal_limits(consent(**change)) == reason


def test_personal_data_may_be_opt_out_and_open_ended() -> None:
    """The strict limits are those of special-care data."""
    plain = {"scope": (scope(DataClass.PERSONAL),), "opt": "out", "ends": None}
    assert legal_limits(consent(**plain)) is None


def test_ticket_tells_its_party_who_is_meant() -> None:
    """In that party's own name for the person."""
    sealed = ticket().seal(HOLDER_KEY.public)
    opened = open_ticket(sealed, HOLDER_KEY, HOLDER, consent())
    assert opened.handle == handle(RESIDENT_KEY, HOLDER)


def test_ticket_of_another_person_is_refused() -> None:
    """A recipient that swaps persons ends here: the consent has no such commitment."""
    other = Ticket(
        consent="consent 1",
        party=HOLDER,
        handle=handle(seed("another resident", 32), HOLDER),
        salt=ticket().salt,
    )
    with pytest.raises(Malformed, match="no commitment"):
        open_ticket(other.seal(HOLDER_KEY.public), HOLDER_KEY, HOLDER, consent())


def test_ticket_with_another_salt_is_refused() -> None:
    """Salt, party and handle make one commitment together."""
    other = ticket().model_copy(update={"salt": b64url(seed("pepper", 16))})
    with pytest.raises(Malformed, match="no commitment"):
        open_ticket(other.seal(HOLDER_KEY.public), HOLDER_KEY, HOLDER, consent())


def test_ticket_of_another_party_is_refused() -> None:
    """The recipient's own ticket, sealed anew to the holder."""
    swapped = ticket(RECIPIENT).seal(HOLDER_KEY.public)
    with pytest.raises(Malformed, match="another party"):
        open_ticket(swapped, HOLDER_KEY, HOLDER, consent())
    with pytest.raises(Malformed, match="another party"):
        open_ticket(ticket().seal(HOLDER_KEY.public), HOLDER_KEY, RECIPIENT, consent())


def test_ticket_of_another_consent_does_not_open() -> None:
    """The seal is bound to the consent's id."""
    with pytest.raises(CannotOpen):
        open_ticket(
            ticket().seal(HOLDER_KEY.public),
            HOLDER_KEY,
            HOLDER,
            consent(jti="consent 2"),
        )


def test_ticket_that_names_another_consent_is_refused() -> None:
    """Sealed under the right id, but written for another consent."""
    other = ticket().model_copy(update={"consent": "consent 2"})
    sealed = HOLDER_KEY.public.seal(LABEL, b"consent 1", other.encode())
    with pytest.raises(Malformed, match="another party or consent"):
        open_ticket(b64url(sealed), HOLDER_KEY, HOLDER, consent())


def test_ticket_does_not_open_for_another_node() -> None:
    """Nobody on the way learns who is meant."""
    with pytest.raises(CannotOpen):
        open_ticket(
            ticket().seal(HOLDER_KEY.public),
            opening("hoshino/market"),
            HOSHINO.node("market"),
            consent(),
        )


@pytest.mark.parametrize(
    "salt", ["", "AAAA", b64url(bytes(15)), b64url(bytes(17)), "="]
)
def test_ticket_with_an_odd_salt_is_refused(salt: str) -> None:
    """Another length would move the border between salt and text."""
    odd = ticket().model_copy(update={"salt": salt})
    with pytest.raises(Malformed):
        open_ticket(odd.seal(HOLDER_KEY.public), HOLDER_KEY, HOLDER, consent())


def test_withdrawal_and_acknowledgement_are_read_back() -> None:
    """What a recipient is told, and what it answers."""
    common = {"jti": "w1", "iat": NOW, "exp": NOW + 9, "consent": "consent 1"}
    told = Withdrawal.model_validate(
        {
            **common,
            "iss": HOME,
            "aud": RECIPIENT,
            "version": 2,
            "state": State.WITHDRAWN,
            "at": NOW,
            "obligation": "delete",
        }
    )
    answered = Acknowledgement.model_validate(
        {**common, "iss": RECIPIENT, "aud": HOME, "version": 2, "done": "deleted"}
    )
    assert Withdrawal.decode(told.encode()) == told
    assert Acknowledgement.decode(answered.encode()) == answered


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (Withdrawal, {"obligation": "forget"}),
        (Withdrawal, {"state": "gone"}),
        (Acknowledgement, {"done": "maybe"}),
    ],
)
def test_unknown_word_is_refused(
    kind: type[Withdrawal | Acknowledgement], change: dict[str, object]
) -> None:
    """An obligation that we do not know cannot be met."""
    text = {
        "iss": "a/b",
        "aud": "c/d",
        "jti": "1",
        "iat": 1,
        "exp": 2,
        "consent": "c",
        "version": 2,
        "state": "withdrawn",
        "at": 1,
        "done": "stopped",
        **change,
    }
    with pytest.raises(Malformed):
        kind.decode(canonical(text))
