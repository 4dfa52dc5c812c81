# SPDX-License-Identifier: Apache-2.0
"""Canonical JSON, strict JSON and strict base64url."""

import base64
import datetime
import json
import math
import random
import uuid
from typing import Any

import orjson
import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import Field

from protocol.canonical import (
    MAX_DEPTH,
    MAX_SAFE_INTEGER,
    Json,
    b64url,
    canonical,
    parse_canonical,
    parse_json,
    unb64url,
)
from protocol.errors import Malformed, TooLarge
from protocol.model import Document
from tests.protocol.published import published

SAFE_INTEGERS = st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.text(st.characters(max_codepoint=127), max_size=8)
PROFILE = st.recursive(
    st.none() | st.booleans() | SAFE_INTEGERS | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4)
    ),
    max_leaves=12,
)
OBJECTS = st.dictionaries(NAMES, PROFILE, max_size=5)


def accepted(data: bytes) -> bool:
    """Tell whether the strict parser takes the text."""
    try:
        parse_json(data)
    except (Malformed, TooLarge):
        return False
    return True


def random_value(chance: random.Random, depth: int) -> Json:
    """Return a value on the profile; control and astral characters are frequent."""
    kind = chance.randrange(6 if depth else 4)
    if kind == 0:
        return chance.choice([None, True, False])
    if kind == 1:
        return chance.randint(-(2 ** chance.randrange(53)), 2 ** chance.randrange(53))
    if kind < 4:
        highest = chance.choice([0x21, 0x80, 0x900, 0xD800, 0x10FFFF])
        points = (chance.randrange(highest) for _ in range(chance.randrange(9)))
        return "".join(chr(p) for p in points if not 0xD800 <= p < 0xE000)
    size = chance.randrange(5)
    if kind == 4:
        return [random_value(chance, depth - 1) for _ in range(size)]
    names = ("".join(chr(chance.randrange(128)) for _ in range(2)) for _ in range(size))
    return {name: random_value(chance, depth - 1) for name in names}


def nested(levels: int) -> bytes:
    """Return an object of so many levels."""
    return b'{"a":' * (levels - 1) + b"{}" + b"}" * (levels - 1)


@given(PROFILE)
def test_output_equals_another_implementation_of_rfc_8785(value: Json) -> None:
    """On the profile, sorted compact output is RFC 8785, byte for byte."""
    assert canonical(value) == rfc8785.dumps(value)


class _Card(Document):
    """A closed type: nothing but text and whole numbers fits."""

    count: int
    name: str


class _Bag(_Card):
    """An open one."""

    any: Any = None
    words: dict[str, str] = Field(default_factory=dict)


def test_ten_thousand_values_equal_the_other_implementation() -> None:
    """The same for many plain random values, quickly."""
    chance = random.Random(8785)
    for _ in range(10_000):
        value = random_value(chance, 4)
        assert canonical(value) == rfc8785.dumps(value)


@given(OBJECTS)
def test_own_output_is_read_back(value: dict[str, Any]) -> None:
    """What we sign, everybody accepts."""
    assert parse_canonical(canonical(value)) == value


@given(OBJECTS, st.integers(0, 3))
def test_any_other_spelling_is_refused(value: dict[str, Any], how: int) -> None:
    """One document has one spelling, so a digest names it."""
    spellings = (
        json.dumps(value, sort_keys=True).encode(),
        json.dumps(dict(sorted(value.items(), reverse=True))).encode(),
        orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS),
        canonical(value) + b"\n",
    )
    if spellings[how] != canonical(value):
        with pytest.raises(Malformed):
            parse_canonical(spellings[how])


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b'{"a":1.0}',
        b'{"a":1e2}',
        b'{"a":-0}',
        b'{"a":01}',
        b'{"a":NaN}',
        b'{"a":"\\u0041"}',
        b'{"a":"\\/"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b'{"a":9007199254740992}',
        b'{"a":18446744073709551616}',
        b'{"\xc3\xa9":1}',
        b'{"b":1,"a":2}',
        b'{"a":1} ',
        b'\xef\xbb\xbf{"a":1}',
        b"[]",
        b'"a"',
        b"null",
        b"",
    ],
)
def test_odd_document_is_refused(text: bytes) -> None:
    """Duplicates, floats, odd escapes, unsafe numbers, anything but an object."""
    with pytest.raises(Malformed):
        parse_canonical(text)


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1.5},
        {"a": math.nan},
        {"a": MAX_SAFE_INTEGER + 1},
        {"a": "\ud800"},
        {"é": 1},
        {1: "a"},
        {"a": b"bytes"},
        {"a": {1, 2}},
        {"a": datetime.date(2026, 1, 1)},
        {"a": uuid.UUID(int=1)},
        {"a": object()},
    ],
)
def test_value_outside_the_profile_is_not_signed(value: object) -> None:
    """Nobody could verify it, or two libraries would spell it differently."""
    with pytest.raises(Malformed):
        canonical(value)


def test_tuple_is_written_as_a_list() -> None:
    """Frozen models hold tuples; the profile holds inside them too."""
    assert canonical({"a": (1, "b", (None,))}) == b'{"a":[1,"b",[null]]}'
    with pytest.raises(Malformed):
        canonical({"a": (1, (1.5,))})


def test_value_that_holds_itself_is_refused() -> None:
    """A cycle ends in an error, not in a crash."""
    value: dict[str, object] = {}
    value["a"] = value
    with pytest.raises(Malformed):
        canonical(value)


def test_depth_is_bounded_both_ways() -> None:
    """A reader must not meet more levels than a writer may write."""
    deepest = parse_canonical(nested(MAX_DEPTH))
    assert canonical(deepest) == nested(MAX_DEPTH)
    with pytest.raises(Malformed, match="deep"):
        parse_canonical(nested(MAX_DEPTH + 1))
    with pytest.raises(Malformed, match="deep"):
        canonical({"a": deepest})
    with pytest.raises(Malformed, match="deep"):
        parse_canonical(b'{"a":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}")


def test_size_is_bounded_before_parsing() -> None:
    """Nobody parses a document longer than the limit."""
    with pytest.raises(TooLarge):
        parse_canonical(b"{" * 101, max_bytes=100)
    assert parse_json(b" " * 99 + b"1", max_bytes=100) == 1
    with pytest.raises(TooLarge):
        parse_json(b" " * 100 + b"1", max_bytes=100)


def test_hostile_depth_is_refused_quickly() -> None:
    """A million brackets cost neither stack nor minutes."""
    for text in (b"[" * 1_000_000, b'{"a":' * 200_000, b"[{" * 500_000):
        with pytest.raises((Malformed, TooLarge)):
            parse_canonical(text)
        with pytest.raises(TooLarge):
            parse_json(text)


def test_brackets_inside_strings_do_not_count_as_depth() -> None:
    """Text may hold any number of brackets, and escaped quotation marks."""
    text = b'["' + b'\\"[{' * 100 + b'"]'
    assert parse_json(text) == ['"[{' * 100]


@pytest.mark.parametrize("levels", [31, 32, 33, 34])
def test_strict_json_has_the_same_depth_limit(levels: int) -> None:
    """The quick count of brackets is only a short cut for the exact one."""
    wide = b"[" * levels + b"]" * levels
    assert accepted(wide) == (levels <= MAX_DEPTH)
    assert accepted(b"[[]," + wide[1:]) == (levels <= MAX_DEPTH)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":1}',
        b'[{"b":{"a":1,"a":2}}]',
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1e400",
        b"[-1e400]",
        b'"\\ud800"',
        b'{"\\udc00":1}',
        b'"\x01"',
        b'"\xff"',
        b"\xef\xbb\xbf1",
        b"1" * 5000,
        b"01",
        b"[1,]",
        b"",
        b" ",
    ],
)
def test_strict_json_refuses_what_parsers_disagree_on(text: bytes) -> None:
    """Python's own parser takes the first eight."""
    with pytest.raises(Malformed):
        parse_json(text)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | SAFE_INTEGERS
        | TEXTS
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner),
    )
)
def test_strict_json_takes_every_valid_value(value: Json) -> None:
    """Strict is not narrow: any JSON of the outside world passes."""
    assert parse_json(json.dumps(value).encode()) == value
    assert parse_json(json.dumps(value, ensure_ascii=False, indent=1).encode()) == value


def test_published_json_texts_are_judged_as_expected() -> None:
    """JSONTestSuite; a duplicate member is valid there and refused here (I-JSON)."""
    differs = []
    for case in published("vectors/json_parsing_a.json"):
        if "data_b64" in case:
            text = base64.b64decode(case["data_b64"])
        else:
            text = base64.b64decode(case["repeat_b64"]) * case["count"]
            text += base64.b64decode(case.get("tail_b64", ""))
        if accepted(text) != (case["expect"] == "accept"):
            differs.append(case["name"])
    assert differs == ["y_object_duplicated_key_and_value.json"]


def test_published_jcs_files_come_out_as_published() -> None:
    """Those of RFC 8785 that are on the profile; the others are refused."""
    refused = []
    for case in published("vectors/jcs_rfc8785_files.json"):
        value = json.loads(base64.b64decode(case["input_b64"]))
        try:
            assert canonical(value).hex() == case["canonical_hex"]
        except Malformed:
            refused.append(case["name"])
    assert refused == ["french.json", "structures.json", "values.json", "weird.json"]


def test_published_canonical_json_of_matrix_comes_out_as_published() -> None:
    """Foreign member names and floats aside, which the profile refuses."""
    refused = 0
    for case in published("vectors/matrix_canonical_signing.json")["canonical"]:
        try:
            assert canonical(json.loads(case["input"])) == case["canonical"].encode()
        except Malformed:
            refused += 1
    assert refused == 2


def test_naughty_strings_survive_unchanged() -> None:
    """Text is carried as it is, whatever it looks like."""
    texts = published("vectors/naughty_strings_odd.json")
    value = {"texts": texts}
    assert parse_canonical(canonical(value)) == value
    assert canonical(value) == rfc8785.dumps(value)
    assert parse_json(canonical(value)) == value


@given(st.binary(max_size=200))
def test_base64url_round_trip(data: bytes) -> None:
    """Any bytes, without padding, from text or bytes."""
    text = b64url(data)
    assert "=" not in text
    assert unb64url(text) == unb64url(text.encode("ascii")) == data


@given(st.text(max_size=40) | st.text('AQgw-_=+/ \n\\"u0', max_size=12))
@example("AB")
@example("AAB")
def test_base64url_has_one_spelling(text: str) -> None:
    """Whatever is accepted is what the encoder would have written."""
    try:
        data = unb64url(text)
    except Malformed:
        return
    assert b64url(data) == text


@pytest.mark.parametrize(
    "text",
    [
        *("A", "AB", "AAB", "AA==", "AA=", "A+AA", "A/AA", "A A", "AA\n", "ÀA"),
        *("\ud800A", "\\u0041AAA", "\\/AAA", 'AAA"', '"AAA', 'AA","AA', "AAAA\0"),
    ],
)
def test_odd_base64url_is_refused(text: str) -> None:
    """Padding, stray bits, another alphabet, white space, escapes, quotation marks."""
    with pytest.raises(Malformed):
        unb64url(text)


def test_base64url_of_another_length_is_refused() -> None:
    """Keys, digests and salts have exactly one length."""
    assert unb64url(b64url(bytes(32)), length=32) == bytes(32)
    for size in (0, 31, 33):
        with pytest.raises(Malformed, match="expected 32"):
            unb64url(b64url(bytes(size)), length=32)


def test_document_with_unknown_members_is_read_when_canonical() -> None:
    """What is not written by our own model is looked at closely."""
    assert _Card.decode(b'{"count":1,"extra":[true,null,"x"],"name":"a"}').count == 1


@pytest.mark.parametrize(
    "data",
    [
        b'{"name":"a","count":1}',
        b'{"count":1,"name":"a" }',
        b'{"count":1,"name":"a","name":"a"}',
        b'{"count":1,"count":1,"name":"a"}',
        b'{"count":1,"name":"\\u0061"}',
        b'{"count":1,"extra":1.5,"name":"a"}',
        b'{"count":1,"extra":9007199254740992,"name":"a"}',
        b'{"count":9007199254740992,"name":"a"}',
        '{"count":1,"name":"a","é":1}'.encode(),
        b'{"count":1,"extra":' + b"[" * 40 + b"]" * 40 + b',"name":"a"}',
        b'{"any":1.5,"count":1,"name":"a"}',
        '{"count":1,"name":"a","words":{"é":"x"}}'.encode(),
    ],
)
def test_document_outside_the_profile_is_refused(data: bytes) -> None:
    """Known members or not: order, spelling, numbers, names, depth."""
    with pytest.raises(Malformed):
        (_Bag if b"any" in data or b"words" in data else _Card).decode(data)


def test_own_document_outside_the_profile_is_not_written() -> None:
    """Whether its type is closed or lets anything in."""
    with pytest.raises(Malformed):
        _Card(count=2**53, name="a").encode()
    with pytest.raises(Malformed):
        _Bag(count=1, name="a", any=1.5).encode()
    with pytest.raises(Malformed):
        _Bag(count=1, name="a", words={"é": "x"}).encode()
    with pytest.raises(Malformed):
        _Card(count=1, name="\ud800").encode()
