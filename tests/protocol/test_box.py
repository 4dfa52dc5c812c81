# SPDX-License-Identifier: Apache-2.0
"""Encryption at rest: bound to its place, found without being read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.box import KEY_BYTES, NONCE_BYTES, Box, blind_index
from protocol.errors import CannotOpen
from tests.protocol.cities import seed
from tests.protocol.published import wycheproof

KEY = seed("box", KEY_BYTES)
NONCE = seed("nonce", NONCE_BYTES)
WORDS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5))


@given(st.binary(max_size=100), WORDS)
def test_sealed_data_opens_in_its_own_place(data: bytes, words: list[str]) -> None:
    """The round trip, with any number of words of context."""
    box = Box(KEY)
    assert box.open(box.seal(NONCE, data, *words), *words) == data


@given(WORDS, WORDS)
def test_sealed_data_opens_nowhere_else(one: list[str], other: list[str]) -> None:
    """No two contexts are framed alike, also not `a, bc` and `ab, c`."""
    sealed = Box(KEY).seal(NONCE, b"data", *one)
    if one != other:
        with pytest.raises(CannotOpen):
            Box(KEY).open(sealed, *other)


@pytest.mark.parametrize(
    "place",
    [("record", "1", "4"), ("record", "14"), ("record1", "3"), ("1:r", "3"), ()],
)
def test_row_moved_to_another_place_does_not_open(place: tuple[str, ...]) -> None:
    """Another version, another row, another table."""
    sealed = Box(KEY).seal(NONCE, b"data", "record", "1", "3")
    with pytest.raises(CannotOpen):
        Box(KEY).open(sealed, *place)


def test_another_key_does_not_open() -> None:
    """What erasing a key relies on."""
    with pytest.raises(CannotOpen):
        Box(seed("other", KEY_BYTES)).open(Box(KEY).seal(NONCE, b"data"))


@given(st.integers(0, 40), st.integers(1, 255))
def test_altered_data_does_not_open(position: int, change: int) -> None:
    """Nonce, ciphertext or tag."""
    sealed = bytearray(Box(KEY).seal(NONCE, b"thirteen data", "a"))
    sealed[position] ^= change
    with pytest.raises(CannotOpen):
        Box(KEY).open(bytes(sealed), "a")


@pytest.mark.parametrize("size", range(29))
def test_truncated_data_does_not_open(size: int) -> None:
    """Down to nothing at all, always with our own error."""
    with pytest.raises(CannotOpen):
        Box(KEY).open(Box(KEY).seal(NONCE, b"x")[:size])


def test_nonce_stands_in_front() -> None:
    """The stored form is nonce, ciphertext, tag."""
    sealed = Box(KEY).seal(NONCE, b"data")
    assert sealed[:NONCE_BYTES] == NONCE
    assert len(sealed) == NONCE_BYTES + 4 + 16


def test_published_aes_gcm_cases_without_context_open_as_published() -> None:
    """Wycheproof: 256-bit keys, 96-bit nonces, no associated data."""
    used, wrong = 0, []
    for group, case in wycheproof("aes_gcm_test"):
        if group["keySize"] != 256 or group["ivSize"] != 96 or case["aad"]:
            continue
        used += 1
        try:
            opened = Box(bytes.fromhex(case["key"])).open(
                bytes.fromhex(case["iv"] + case["ct"] + case["tag"])
            )
        except CannotOpen:
            opened = None
        expected = bytes.fromhex(case["msg"]) if case["result"] == "valid" else None
        if opened != expected:
            wrong.append(case["tcId"])
    assert wrong == []
    assert used > 20


def test_blind_index_finds_equal_values() -> None:
    """Equal value, use and key: equal index of 16 bytes."""
    index = blind_index(KEY, "handle", "value")
    assert index == blind_index(KEY, "handle", "value")
    assert len(index) == 16


@pytest.mark.parametrize(
    ("key", "use", "value"),
    [
        (KEY, "handle", "valuf"),
        (KEY, "locator", "value"),
        (seed("other", KEY_BYTES), "handle", "value"),
        (KEY, "handl", "evalue"),
    ],
)
def test_blind_index_differs_otherwise(key: bytes, use: str, value: str) -> None:
    """Two columns, or two nodes, cannot be joined by it."""
    assert blind_index(key, use, value) != blind_index(KEY, "handle", "value")
