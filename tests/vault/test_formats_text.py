# SPDX-License-Identifier: Apache-2.0
"""Bytes of unknown encoding become lines; lines become CSV records."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.formats.quoting import delimiter_of, records
from vault.formats.rows import Limits
from vault.formats.text import Unreadable, lines

SENTENCE = "星野市一番町、ﾎｼﾉ"


class Drip(io.BytesIO):
    """A stream that gives one byte at a time, as a slow connection does."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next byte."""
        return super().read(1)


def split(data: bytes, encoding: str | None = None, limit: int = 1000) -> list[str]:
    """Return all lines of a file."""
    return list(lines(io.BytesIO(data), encoding, limit))


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "cp932", "utf-16", "utf-16-le", "utf-16-be"]
)
def test_the_encoding_of_japanese_text_is_found_out(encoding: str) -> None:
    """Byte order marks are believed; else UTF-8 and cp932 are told apart."""
    mark = "\ufeff" if encoding.endswith(("le", "be")) else ""
    data = f"{mark}{SENTENCE}\r\n{SENTENCE}".encode(encoding)
    assert split(data) == [SENTENCE, SENTENCE]


@pytest.mark.parametrize("encoding", ["utf-8", "cp932"])
def test_japanese_far_behind_an_english_beginning_is_read(encoding: str) -> None:
    """The first piece of a large file may be ASCII throughout."""
    data = ("a,b\r\n" * 40_000).encode() + SENTENCE.encode(encoding)
    assert split(data)[-1] == SENTENCE
    assert len(split(data)) == 40_001


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_kind_of_line_end_counts_once(end: str) -> None:
    """A line end may also fall between two pieces of the stream."""
    data = end.join(["a", "b", "", SENTENCE]).encode("cp932")
    dripped = list(lines(Drip(data), None, 100))
    assert split(data) == dripped == ["a", "b", "", SENTENCE]


def test_a_damaged_byte_costs_a_character_and_not_the_file() -> None:
    """One bad byte in a UTF-8 file does not turn the rest into another encoding."""
    data = f"{SENTENCE}\n".encode() * 3 + b"\xff\n" + SENTENCE.encode()
    assert split(data) == [SENTENCE] * 3 + ["\ufffd", SENTENCE]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty-file"),
        (b"PK\x03\x04rest", "not-text"),
        (b"\xd0\xcf\x11\xe0rest", "not-text"),
        (b"a\x00b\x00", "not-text"),
        (b"\x80\xa0\xfd\xfe" * 20, "undecodable-file"),
        (b"x" * 1001, "line-too-large"),
        (("あ" * 1001).encode(), "line-too-large"),
    ],
)
def test_what_is_no_text_is_refused_as_a_whole(data: bytes, code: str) -> None:
    """A spreadsheet, a picture or a file without lines gets one clear answer."""
    with pytest.raises(Unreadable) as refusal:
        split(data)
    assert refusal.value.code == code


@given(st.binary(max_size=300), st.sampled_from([None, "utf-8", "cp932", "utf-16"]))
def test_any_bytes_are_lines_or_unreadable(data: bytes, encoding: str | None) -> None:
    """No bytes make decoding fail in another way."""
    try:
        split(data, encoding)
    except Unreadable as refusal:
        assert refusal.code


def cut(text: str, delimiter: str = ",", **limits: int) -> list[list[str] | None]:
    """Return the records of a CSV text."""
    source: Iterator[str] = iter(text.split("\n"))
    return list(records(source, delimiter, Limits(**limits)))


def test_quoted_commas_marks_and_line_ends_belong_to_the_cell() -> None:
    """RFC 4180, section 2."""
    assert cut('a,"b,c","d ""e""","f\ng",\nnext') == [
        ["a", "b,c", 'd "e"', "f\ng", ""],
        ["next"],
    ]


def test_a_mark_inside_a_bare_cell_is_a_character() -> None:
    """Inches and nicknames are written with it."""
    assert cut('19" display,x\n"a"b,c') == [['19" display', "x"], ["ab", "c"]]


def test_an_unclosed_mark_costs_one_line() -> None:
    """The rest of the file would otherwise be one cell."""
    text = 'a,b\nc,"d\n' + "\n".join(f"{n},x" for n in range(20))
    found = cut(text, max_record_lines=5)
    assert found[1] is None
    assert found[2:] == [[str(n), "x"] for n in range(20)]


def test_an_unclosed_mark_at_the_end_costs_one_line() -> None:
    """The lines after it are read again on their own."""
    assert cut('a\n"b\nc\nd') == [["a"], None, ["c"], ["d"]]


def test_a_record_without_end_stays_within_memory() -> None:
    """A cell of any size is given up at the limit."""
    found = cut('"' + "x\n" * 1000, max_line_bytes=100)
    assert found[0] is None


@pytest.mark.parametrize("mark", [",", "\t", ";", "|"])
def test_the_separator_is_the_one_that_stands_most_often(mark: str) -> None:
    """Tables come with tabs and semicolons as well."""
    assert delimiter_of([mark.join("abcdef"), "1,2"]) == mark


def test_a_table_with_one_column_is_read_with_commas() -> None:
    """Nothing to count means the usual separator."""
    assert delimiter_of(["a", "b"]) == ","


@given(
    st.lists(
        st.lists(
            st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"])),
            min_size=1,
        ),
        min_size=1,
    )
)
def test_what_is_written_quoted_is_read_back(table: list[list[str]]) -> None:
    """Any cells survive quoting."""
    text = "\n".join(
        ",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in table
    )
    assert cut(text) == table
