# SPDX-License-Identifier: Apache-2.0
"""One cell becomes one value, or a refusal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.canonical import Json
from protocol.ids import municipal_check_digit
from tests.protocol.published import published
from tests.vault.files import MY_NUMBER, one_column
from vault.formats import codes
from vault.formats.problems import BadValue, texts
from vault.formats.values import convert


def value_of(kind: str, cell: Json, **rest: Json) -> Json:
    """Convert a cell of a column of this type."""
    return convert(cell, one_column(kind, **rest).columns[0])


def refusal_of(kind: str, cell: Json, **rest: Json) -> str:
    """Return the code with which a cell is refused."""
    with pytest.raises(BadValue) as refusal:
        value_of(kind, cell, **rest)
    return refusal.value.code


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("1,234,567", 1234567),
        ("１，２３４．５", 1234.5),
        ("△1,200", -1200),
        ("▲5", -5),
        ("(300)", -300),
        ("−5", -5),
        ("¥2,980", 2980),
        ("2,980円", 2980),
        ("\\500", 500),
        ("162.0", 162.0),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("250 kWh", 250),
        (12.5, 12.5),
        ("", None),
        ("-", None),
        ("―", None),
        ("不明", None),
    ],
)
def test_numbers_are_read_as_people_write_them(cell: Json, expected: Json) -> None:
    """Commas, yen, full-width digits, the minus of accountants, and empty marks."""
    assert value_of("number", cell, unit="kWh") == expected


@pytest.mark.parametrize(
    ("kind", "cell", "code"),
    [
        ("number", "約300", "number-invalid"),
        ("number", "12,34", "number-invalid"),
        ("number", "1.2.3", "number-invalid"),
        ("number", "<5", "number-invalid"),
        ("number", "1e999", "number-too-large"),
        ("number", "9" * 30, "number-too-large"),
        ("number", True, "value-kind"),
        ("number", [1], "value-kind"),
        ("integer", "1.5", "integer-expected"),
        ("boolean", "たぶん", "boolean-invalid"),
        ("date", "2月30日", "date-invalid"),
        ("latitude", "51.5", "coordinate-invalid"),
        ("url", "javascript:alert(1)", "url-invalid"),
        ("email", "taro at example", "email-invalid"),
        ("postal-code", "12-345", "postal-code-invalid"),
        ("phone", "電話なし", "phone-invalid"),
        ("town-id", "丸の内", "town-id-invalid"),
        ("id", "4.90123E+12", "mangled-by-spreadsheet"),
        ("id", "x" * 201, "text-too-long"),
        ("id", MY_NUMBER, "my-number-refused"),
        ("id", "１２３４-５６７８-９０１８", "my-number-refused"),
        ("id-list", f"番号:{MY_NUMBER}", "my-number-refused"),
        ("id-list", ["x"], "value-kind"),
    ],
)
def test_a_cell_that_does_not_fit_is_refused(kind: str, cell: Json, code: str) -> None:
    """Every refusal has a stable code that is described in both languages."""
    assert refusal_of(kind, cell) == code
    assert code in texts()


@pytest.mark.parametrize(
    ("kind", "cell", "expected"),
    [
        ("text", "　山田　花子　", "山田　花子"),
        ("text", "=1+1", "=1+1"),
        ("id", '="0012"', "0012"),
        ("id", "'0012", "0012"),
        ("id", "12.0", "12"),
        ("id", "Ｍ－２００１", "M-2001"),
        ("boolean", "○", True),
        ("boolean", "無", False),
        ("boolean", "", None),
        ("flag", "", False),
        ("flag", "1", True),
        ("flag", "○", True),
        ("list", "月／火／水", ["月", "火", "水"]),
        ("list", ["a", " b "], ["a", "b"]),
        ("list", "", None),
        (
            "id-list",
            "住民番号:1;会員番号:2",
            [{"idType": "住民番号", "id": "1"}, {"idType": "会員番号", "id": "2"}],
        ),
        ("phone", "９０－１２３４－５６７８", "90-1234-5678"),
        ("phone", "9012345678", "09012345678"),
        ("phone", "(03)5253-5111 内線12", "(03)5253-5111 内線12"),
        ("postal-code", "〒100-0013", "1000013"),
        ("postal-code", "600001", "0600001"),
        ("town-id", "0008-001", "0008001"),
        ("latitude", "35度39分10秒", 35.65277778),
        ("longitude", "139.44.28.8", 139.74133333),
    ],
)
def test_cells_become_values(kind: str, cell: Json, expected: Json) -> None:
    """What spreadsheets and typists leave behind is taken off."""
    assert value_of(kind, cell, separator="/") == expected


def test_listed_values_are_compared_without_width_and_case() -> None:
    """A list of allowed words is closed."""
    listed: dict[str, Json] = {"有": "あり", "Yes": "あり", "無": "なし"}
    assert value_of("text", "ＹＥＳ", values=listed) == "あり"
    assert value_of("text", "", values=listed) is None
    assert refusal_of("text", "時々", values=listed) == "value-not-listed"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("092011", "092011"),
        ("92011", "092011"),
        ("09201", "092011"),
        ("9201", "092011"),
        ("13101-6", "131016"),
        ("１３１０１６", "131016"),
        ("131016.0", "131016"),
    ],
)
def test_a_municipal_code_is_completed_where_one_reading_is_left(
    text: str, expected: str
) -> None:
    """Spreadsheets drop the zero, some publishers the check digit."""
    assert codes.municipal_code(text) == expected


@pytest.mark.parametrize("text", ["131017", "99999", "999999", "13", "1310160", "東京"])
def test_a_wrong_municipal_code_is_reported_and_not_guessed(text: str) -> None:
    """Guessing would move the row to another city."""
    with pytest.raises(BadValue) as refusal:
        codes.municipal_code(text)
    assert refusal.value.code == "municipal-code-invalid"


def test_a_municipal_code_with_two_readings_is_refused() -> None:
    """Five digits can lack the zero in front or the check digit at the end."""
    both = [
        str(number)
        for number in range(10000, 47999)
        if municipal_check_digit("0" + str(number)[:4]) == str(number)[4]
    ]
    with pytest.raises(BadValue) as refusal:
        codes.municipal_code(both[0])
    assert refusal.value.code == "municipal-code-ambiguous"


def test_published_code_numbers_pass_and_their_faults_do_not() -> None:
    """The shared list of identifiers names sound and broken ones."""
    listed = published("data/identifiers.json")
    for code in listed["local_government_code"]["vectors"]:
        assert codes.municipal_code(code) == code
    for prefecture in listed["local_government_code"]["prefectures"]:
        assert codes.municipal_code(prefecture["code"]) == prefecture["code"]
    for number in listed["corporate_number"]["vectors"]:
        assert codes.corporate_number(number) == number
        with pytest.raises(BadValue):
            codes.corporate_number(number[:-1] + str((int(number[-1]) + 1) % 10))


KINDS = [
    "text",
    "id",
    "integer",
    "number",
    "boolean",
    "flag",
    "date",
    "datetime",
    "time",
    "latitude",
    "longitude",
    "municipal-code",
    "town-id",
    "corporate-number",
    "postal-code",
    "phone",
    "url",
    "email",
    "list",
    "id-list",
]


@given(
    st.sampled_from(KINDS),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=5,
    ),
)
def test_any_cell_is_a_value_or_a_refusal(kind: str, cell: Json) -> None:
    """No cell makes a reader fail in another way."""
    try:
        value_of(kind, cell)
    except BadValue as refusal:
        assert refusal.code in texts()
