# SPDX-License-Identifier: Apache-2.0
"""Base models: strict, frozen, and bounded in what they say of bad input."""

import pytest
from pydantic import ValidationError

from protocol.canonical import canonical
from protocol.errors import Expired, Malformed, NotYetValid, TooLarge
from protocol.model import Claims, Digest, Document, Millis, Request, Seconds
from tests.protocol.cities import NOW, SKEW


class Sample(Document):
    """A payload that somebody else signed."""

    number: int
    flag: bool = False
    text: str | None = None


class Order(Request):
    """Input to one of our own interfaces."""

    number: int


class Bounded(Document):
    """One member of each bounded kind."""

    at: Seconds = 0
    at_ms: Millis = 0
    digest: Digest = "A" * 43


def claims(iat: int, exp: int) -> Claims:
    """Return claims with these times."""
    return Claims(iss="a", aud="b", jti="c", iat=iat, exp=exp)


def test_unknown_member_of_a_signed_document_is_ignored() -> None:
    """Newer peers may say more; the signed bytes are kept as they came."""
    assert Sample.decode(b'{"number":1,"zeal":true}') == Sample(number=1)


def test_unknown_member_of_a_request_is_refused() -> None:
    """In input to ourselves it is a typing error."""
    with pytest.raises(ValidationError):
        Order.model_validate_json('{"number":1,"numbre":2}')


@pytest.mark.parametrize(
    "member",
    [b'"number":"1"', b'"number":true', b'"number":null', b'"flag":0,"number":1'],
)
def test_value_of_a_similar_type_is_refused(member: bytes) -> None:
    """The number 0 is never false, the text "1" is never a number."""
    with pytest.raises(Malformed, match="Sample"):
        Sample.decode(b"{" + member + b"}")


def test_missing_member_is_named() -> None:
    """The other side can find its mistake."""
    with pytest.raises(Malformed, match="Sample: number: Field required"):
        Sample.decode(b"{}")


def test_what_is_said_of_bad_input_is_short() -> None:
    """A peer's own words come back in the error, but not a book of them."""
    flood = canonical({"number": 1, "flag": {"x" * 100_000: 1}, "text": ["y" * 9999]})
    with pytest.raises(Malformed) as caught:
        Sample.decode(flood)
    assert len(caught.value.detail) < 400


def test_other_spelling_is_refused_before_any_member_is_read() -> None:
    """A document is its canonical bytes."""
    with pytest.raises(Malformed, match="canonical"):
        Sample.decode(b'{ "number":1}')


def test_size_is_limited() -> None:
    """The limit is the caller's."""
    assert Sample.decode(b'{"number":1}', 12).number == 1
    with pytest.raises(TooLarge):
        Sample.decode(b'{"number":1}', 11)


def test_members_that_are_none_are_left_out() -> None:
    """Absent and null would be two spellings of one document."""
    assert Sample(number=1).encode() == b'{"flag":false,"number":1}'


def test_document_cannot_be_changed() -> None:
    """What was verified stays as it was."""
    with pytest.raises(ValidationError):
        Sample(number=1).number = 2  # type: ignore[misc]  # what is tested


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("at", -1),
        ("at", 2**40 + 1),
        ("at_ms", -1),
        ("at_ms", 2**50 + 1),
        ("digest", "A" * 42),
        ("digest", "A" * 44),
        ("digest", "A" * 42 + "="),
        ("digest", "A" * 43 + "\n"),
        ("digest", "A" * 42 + "+"),
    ],
)
def test_value_out_of_range_is_refused(member: str, value: object) -> None:
    """Times stay within what every language computes with; a digest has one form."""
    with pytest.raises(Malformed):
        Bounded.decode(canonical({member: value}))


def test_document_in_its_time_passes() -> None:
    """From its issue, skew included, until the second before its end."""
    claims(NOW, NOW + 1).check_times(NOW, SKEW)
    claims(NOW + SKEW, NOW + 100).check_times(NOW, SKEW)


def test_document_at_its_end_has_expired() -> None:
    """Skew does not lengthen a life."""
    with pytest.raises(Expired):
        claims(NOW - 10, NOW).check_times(NOW, SKEW)


def test_document_from_the_future_is_refused() -> None:
    """Skew explains so much and not a second more."""
    with pytest.raises(NotYetValid):
        claims(NOW + SKEW + 1, NOW + 100).check_times(NOW, SKEW)
