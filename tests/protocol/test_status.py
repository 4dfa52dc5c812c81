# SPDX-License-Identifier: Apache-2.0
"""Status lists: two bits for each consent, packed as published."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.canonical import b64url, canonical, unb64url
from protocol.errors import Malformed
from protocol.status import BLOCK, Status, StatusList, pack, unpack
from tests.protocol.exchanges import status_list
from tests.protocol.published import published

RAW_BYTES = BLOCK * 2 // 8
STATES = st.dictionaries(st.integers(0, BLOCK - 1), st.sampled_from(Status), max_size=9)


def with_raw(raw: bytes) -> StatusList:
    """Return a list whose content is as given."""
    return status_list(lst=b64url(zlib.compress(raw)))


@given(STATES)
def test_states_are_read_back(states: dict[int, Status]) -> None:
    """What is not named is valid."""
    proof = status_list(states)
    for index in {0, 1, BLOCK - 1, *states}:
        assert proof.status(index) is states.get(index, Status.VALID)


@given(STATES)
def test_list_has_the_same_length_whatever_it_says(states: dict[int, Status]) -> None:
    """Unpacked it is always a full block."""
    assert len(unpack(unb64url(pack(states)), RAW_BYTES)) == RAW_BYTES


def test_neighbors_are_not_disturbed() -> None:
    """Four states share a byte."""
    states = dict(enumerate([Status.SUPERSEDED, Status.VALID, Status.PAUSED] * 3))
    proof = status_list(states)
    assert [proof.status(i) for i in range(9)] == list(states.values())
    assert proof.status(9) is Status.VALID


def test_published_lists_unpack_as_published() -> None:
    """IETF Token Status List, two bits: index, order of bits, compression."""
    used = 0
    for case in published("vectors/token_status_list_examples.json")["lists"]:
        if case["bits"] != 2:
            continue
        used += 1
        raw = unpack(unb64url(case["lst"]), case["entries"] // 4)
        # Shown through our own reader, one block at a time.
        for start in range(0, max(case["entries"], BLOCK), BLOCK):
            first = start // 4
            block = raw[first : first + RAW_BYTES].ljust(RAW_BYTES, b"\0")
            named = {
                int(i) - start: state
                for i, state in case["nonzero"].items()
                if start <= int(i) < start + BLOCK
            }
            if named or start == 0:
                proof = with_raw(block)
                found = {i: int(s) for i in range(BLOCK) if (s := proof.status(i))}
                assert found == named
    assert used == 2


def test_own_list_is_a_token_status_list() -> None:
    """Least significant bits first, zlib, base64url: readable by others."""
    lst = pack({0: Status.WITHDRAWN, 1: Status.PAUSED, 5: Status.SUPERSEDED})
    raw = zlib.decompress(unb64url(lst))
    assert raw == bytes([0b1001, 0b1100]) + bytes(RAW_BYTES - 2)


def test_zip_bomb_is_never_inflated() -> None:
    """A gigabyte of nothing in a few hundred bytes stops after one block."""
    deflater = zlib.compressobj(9)
    bomb = b"".join(deflater.compress(bytes(1 << 20)) for _ in range(64))
    bomb += deflater.flush()
    with pytest.raises(Malformed, match="length"):
        unpack(bomb, RAW_BYTES)
    small = b64url(zlib.compress(bytes(200_000), 9))
    assert len(small) <= 1024
    with pytest.raises(Malformed, match="length"):
        status_list(lst=small).status(0)


@pytest.mark.parametrize("size", [0, 1, RAW_BYTES - 1, RAW_BYTES + 1, 2 * RAW_BYTES])
def test_list_of_another_length_is_refused(size: int) -> None:
    """A shorter one would read as an error, a longer one as another block."""
    with pytest.raises(Malformed, match="length"):
        with_raw(bytes(size)).status(0)


def test_odd_stream_is_refused() -> None:
    """Truncated, without its checksum, with a tail, damaged, not zlib at all."""
    good = unb64url(pack({3: Status.PAUSED}))
    for odd in (
        b"",
        good[:-1],
        good[:-4],
        good + b"\0",
        good + good,
        good[:-1] + b"\xff",
        bytes(40),
        zlib.compress(bytes(RAW_BYTES))[2:-4],
    ):
        with pytest.raises(Malformed):
            unpack(odd, RAW_BYTES)


@given(st.binary(max_size=300), st.integers(0, 40))
def test_any_bytes_are_a_list_or_malformed(data: bytes, cut: int) -> None:
    """No error of the library comes through."""
    good = unb64url(pack({}))
    for odd in (data, good[:cut] + data):
        try:
            raw = unpack(odd, RAW_BYTES)
        except Malformed:
            continue
        assert len(raw) == RAW_BYTES


@pytest.mark.parametrize(
    "change",
    [{"bits": 1}, {"bits": 4}, {"lst": "A" * 1025}, {"list": -1}, {"epoch": "9"}],
)
def test_list_of_another_shape_is_refused(change: dict[str, object]) -> None:
    """Always two bits, always one block."""
    members = {**status_list().model_dump(mode="json"), **change}
    with pytest.raises(Malformed):
        StatusList.decode(canonical(members))
