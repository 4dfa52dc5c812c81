# SPDX-License-Identifier: Apache-2.0
"""Identifiers: one grammar for every reader, check digits, no My Number."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from protocol.errors import Malformed
from protocol.ids import (
    CityId,
    DatasetTypeName,
    ExchangeId,
    Identifier,
    MunicipalCode,
    NodeId,
    PurposeName,
    RecordId,
    looks_like_my_number,
    municipal_check_digit,
    uuid7,
)
from tests.protocol.published import published

UUID = "0197aaaa-bbbb-7ccc-8ddd-eeeeffff0001"
KINDS: tuple[type[Identifier], ...] = (
    CityId,
    NodeId,
    DatasetTypeName,
    PurposeName,
    ExchangeId,
    RecordId,
    MunicipalCode,
)
VALID = {
    CityId: ["a", "hoshino", "st-1", "a" * 32],
    NodeId: ["hoshino/clinic", "a/b"],
    DatasetTypeName: ["health.checkup", "a.b", "a-1.b-2.3.d"],
    PurposeName: ["treatment", "a", "a" * 61],
    ExchangeId: [UUID],
    RecordId: [f"urn:machikura:hoshino:clinic:{UUID}", f"urn:machikura:a::{UUID}"],
    MunicipalCode: ["131016", "011002"],
}
INVALID = {
    CityId: ["", "A", "1a", "-a", "a-", "a" * 33, "a b", "a\n", "ä", "a/b", "星野"],
    NodeId: ["hoshino", "a/", "/b", "a/b/c", "a//b", "a/B", "a/b\n", "../etc", "a/."],
    DatasetTypeName: ["health", "health.", ".a", "a..b", "A.b", "*", "a.b.c.d.e"],
    PurposeName: ["", "*", "Treatment", "a.b", "a" * 62, "a\x00"],
    ExchangeId: ["", UUID.upper(), UUID[:-1], UUID + "0", f"{{{UUID}}}", " " + UUID],
    RecordId: [UUID, f"urn:machikura:a:b:{UUID.upper()}", f"urn:machikura::b:{UUID}"],
    MunicipalCode: ["131017", "99999", "1310160", "13101x", "１３１０１６", ""],
}


@pytest.mark.parametrize(
    ("kind", "text"), [(k, text) for k, texts in VALID.items() for text in texts]
)
def test_valid_identifier_is_taken(kind: type[Identifier], text: str) -> None:
    """Directly and as a member of a document."""
    assert kind(text) == text
    assert type(TypeAdapter(kind).validate_python(text)) is kind


@pytest.mark.parametrize(
    ("kind", "text"), [(k, text) for k, texts in INVALID.items() for text in texts]
)
def test_invalid_identifier_cannot_exist(kind: type[Identifier], text: str) -> None:
    """Neither directly nor as a member of a document."""
    with pytest.raises(Malformed):
        kind(text)
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(text)


@pytest.mark.parametrize("kind", KINDS)
@given(
    st.text(st.sampled_from("abzZ019-./:\n\x00é１ "), max_size=12)
    | st.from_regex(r"[a-z][a-z0-9./:-]{0,40}\n?", fullmatch=True)
    | st.from_regex(r"[0-9]{5,7}\n?", fullmatch=True)
)
def test_both_ways_in_judge_alike(kind: type[Identifier], text: str) -> None:
    """Two regular expression engines read one grammar."""
    try:
        direct = kind(text) is not None
    except Malformed:
        direct = False
    try:
        in_document = TypeAdapter(kind).validate_python(text) is not None
    except ValidationError:
        in_document = False
    assert direct == in_document


def test_node_knows_its_city() -> None:
    """A node cannot be named without the city that admitted it."""
    node = NodeId("hoshino/clinic")
    assert (node.city, node.label) == ("hoshino", "clinic")
    assert type(node.city) is CityId


def test_record_knows_city_and_holder() -> None:
    """Requirement 46: the record id carries both."""
    record = RecordId.of(NodeId("hoshino/clinic"), uuid.UUID(UUID))
    assert (record.city, record.node) == ("hoshino", "hoshino/clinic")


def test_hidden_record_knows_its_city_only() -> None:
    """Requirement 7: a pairwise id must not name the holder."""
    record = RecordId(f"urn:machikura:hoshino::{UUID}")
    assert (record.city, record.node) == ("hoshino", None)


def test_uuid7_equals_the_example_of_the_rfc() -> None:
    """RFC 9562, appendix A.6."""
    random = (0xCC3 << 64 | 0x18C4DC0C0C07398F).to_bytes(10, "big")
    value = uuid7(0x017F22E279B0, random)
    assert str(value) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_uuid7_is_well_formed_and_in_order(now_ms: int, random: bytes) -> None:
    """Version and variant are right, and later ids sort later."""
    value = uuid7(now_ms, random)
    assert (value.version, value.variant) == (7, uuid.RFC_4122)
    assert value.int >> 80 == now_ms
    assert ExchangeId(str(value)) == str(value)


def test_published_municipal_codes_check() -> None:
    """All prefectures and the sample of cities, and the two bad ones."""
    codes = published("data/identifiers.json")["local_government_code"]
    good = [*codes["vectors"], *(p["code"] for p in codes["prefectures"])]
    assert [MunicipalCode(code) for code in good] == good
    for code in codes["bad_vectors"]:
        with pytest.raises(Malformed):
            MunicipalCode(code)


@given(st.from_regex(r"[0-9]{5}", fullmatch=True), st.integers(0, 9))
def test_one_check_digit_fits_five_digits(five: str, digit: int) -> None:
    """Nine of ten sixth digits are refused."""
    fits = municipal_check_digit(five) == str(digit)
    if fits:
        assert MunicipalCode(f"{five}{digit}").endswith(str(digit))
    else:
        with pytest.raises(Malformed):
            MunicipalCode(f"{five}{digit}")


def my_number(eleven: str) -> str:
    """Add the check digit by the rule of the ministry, written another way."""
    weights = [6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]
    rest = sum(int(d) * w for d, w in zip(eleven, weights, strict=True)) % 11
    return eleven + str(0 if rest <= 1 else 11 - rest)


@given(st.from_regex(r"[0-9]{11}", fullmatch=True), st.sampled_from(["", "-", " "]))
def test_my_number_is_found_in_any_grouping(eleven: str, between: str) -> None:
    """With hyphens, with spaces, without."""
    number = my_number(eleven)
    assert looks_like_my_number(between.join((number[:4], number[4:8], number[8:])))


@given(st.from_regex(r"[0-9]{11}", fullmatch=True), st.integers(1, 9))
def test_number_with_another_check_digit_is_not_taken_for_one(
    eleven: str, off: int
) -> None:
    """So ten of eleven ordinary 12-digit numbers pass as identifiers."""
    number = my_number(eleven)
    other = (int(number[11]) + off) % 10
    assert not looks_like_my_number(f"{eleven}{other}")


@pytest.mark.parametrize(
    "text",
    ["", "12345678901", "1234567890188", "12345678901a", "１２３４５６７８９０１８"],
)
def test_text_of_another_shape_is_no_my_number(text: str) -> None:
    """Twelve ASCII digits, nothing else; callers normalize wide ones (NFKC)."""
    assert not looks_like_my_number(text)
