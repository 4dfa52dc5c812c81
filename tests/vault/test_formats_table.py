# SPDX-License-Identifier: Apache-2.0
"""CSV files: headers are found, rows become records."""

from __future__ import annotations

import json

import pytest

from protocol.canonical import Json
from protocol.errors import Misuse
from tests.protocol.published import published
from tests.vault.files import MY_NUMBER, codes, notices, one_column, read, table_profile
from vault.dataset_types import built_in_types
from vault.formats.binding import fitting
from vault.formats.profile import ProfileRefused, builtin_profiles, load_profile
from vault.formats.record import from_tokyo_datum
from vault.formats.rows import Limits
from vault.schema import compile_schema

USAGE = "お客様番号,使用開始日,検針日,種別,使用量,単位,供給地点特定番号"
ROW = "E-1,2024/4/3,令和6年5月2日,電気,254,kWh,0300000000000000000001"
SITES = "市区町村コード,NO,名称,緯度,経度,市区町村名,災害種別_洪水,災害種別_津波"


def test_a_row_becomes_a_record_of_the_profile_that_fits() -> None:
    """The profile is found by the header, whichever the encoding."""
    for encoding in ("utf-8", "utf-8-sig", "cp932"):
        rows, problems = read(f"{USAGE}\r\n{ROW}\r\n".encode(encoding), "csv")
        assert codes(problems) == []
        [row] = rows
        assert (row.number, row.dataset_type, row.subject) == (2, "energy.usage", "E-1")
        assert row.content["period_end"] == "2024-05-02"
        assert row.content["kind"] == "electricity"
        assert row.source_id == "E-1/0300000000000000000001/2024-05-02"


def test_headers_match_without_width_case_spaces_and_units() -> None:
    """The standard's names are typed in many ways."""
    header = (
        "お客様 番号, 使用開始日 ,検針日,種　別,使用量(ｋＷｈ),単位,供給地点_特定番号"
    )
    rows, problems = read(f"{header}\n{ROW}\n", "csv")
    assert len(rows) == 1
    assert "extra-columns" not in notices(problems)


def test_english_names_of_the_standard_match_as_well() -> None:
    """Each standard data set names its columns in both languages."""
    header = (
        "localGovernmentCode,identifier,name,latitude,longitude,typeOfDisasterFlood"
    )
    rows, _ = read(f"{header}\n131016,1,School,35.6,139.7,1\n", "csv")
    assert rows[0].dataset_type == "facility.evacuation"
    assert rows[0].content["typeOfDisasterFlood"] is True


def test_titles_above_and_empty_rows_between_are_passed_over() -> None:
    """Numbers stay those of the spreadsheet."""
    text = f"使用量一覧\n\n作成日,令和6年6月1日\n{USAGE}\n,,,,,,\n{ROW}\n\n"
    rows, problems = read(text, "csv")
    assert [row.number for row in rows] == [6]
    assert codes(problems) == []


def test_a_header_in_a_second_language_is_no_record() -> None:
    """Some cities publish both names one above the other."""
    text = (
        f"{USAGE}\ncustomer_id,period_start,period_end,kind,usage,unit,supply_point\n"
    )
    rows, problems = read(text + ROW, "csv")
    assert len(rows) == 1
    assert "header-repeated" in notices(problems)


def test_one_broken_row_never_stops_the_rest() -> None:
    """Each fault is told with row, code and field; the others are imported."""
    broken = [
        ROW.replace("254", "約300"),
        ROW.replace("2024/4/3", "24/4/3"),
        ROW.replace("E-1", ""),
        ROW.replace("E-1", MY_NUMBER),
        ROW + ",余分",
        ROW.replace("kWh", "馬力"),
        ROW.replace("電気", ""),
        ROW.replace("E-1", "E\x001"),
    ]
    rows, problems = read("\n".join([USAGE, *broken, ROW]), "csv")
    assert [row.number for row in rows] == [10]
    assert codes(problems) == [
        (2, "number-invalid", "usage"),
        (3, "date-ambiguous", "period_start"),
        (4, "subject-missing", None),
        (5, "my-number-refused", None),
        (6, "too-many-cells", None),
        (7, "value-not-listed", "unit"),
        (8, "value-missing", "kind"),
        (9, "control-character", None),
    ]


def test_every_fault_of_a_row_is_told_at_once() -> None:
    """Whoever mends the file does so in one go."""
    _, problems = read(f"{USAGE}\nE-1,x,y,電気,z,kWh,1\n", "csv")
    assert [p.field for p in problems if p.level == "row"] == [
        "period_start",
        "period_end",
        "usage",
    ]


def test_no_problem_repeats_a_value_or_a_name_of_the_file() -> None:
    """A file without a header has a person in its first row."""
    people = "山田花子,H-0001,1984年5月12日,hanako@example.jp\n"
    _, problems = read(people * 12, "csv")
    assert [p.code for p in problems] == ["header-not-recognized"]
    _, more = read(f"{USAGE},山田花子\n{ROW.replace('254', '秘密')},x\n", "csv")
    told = str([*problems, *more])
    assert not any(word in told for word in ("花子", "H-0001", "秘密", "hanako"))


def test_a_row_shorter_than_the_header_lacks_its_last_cells() -> None:
    """Spreadsheets leave out separators where a column stays empty."""
    rows, problems = read(f"{USAGE}\n{ROW.rpartition(',')[0]}\nE-1,2024/4/3\n", "csv")
    assert [row.number for row in rows] == [2]
    assert {code for _, code, _ in codes(problems)} == {"value-missing"}


def test_a_damaged_character_costs_its_row() -> None:
    """A record with a replacement character would be wrong for ever."""
    data = f"{USAGE},備考\n{ROW},".encode("cp932") + b"\x81\n" + ROW.encode("cp932")
    rows, problems = read(data, "csv")
    assert [row.number for row in rows] == [3]
    assert codes(problems) == [(2, "undecodable-text", "note")]


def test_columns_that_are_missing_or_unknown_are_told_once() -> None:
    """By field and by place, not by a name that may be anything."""
    rows, problems = read(f"{USAGE},謎\n{ROW},1\n{ROW},2\n", "csv")
    assert len(rows) == 2
    told = [p for p in problems if p.code == "extra-columns"]
    assert len(told) == 1
    assert "8" in told[0].detail_en
    assert any(p.code == "columns-missing" for p in problems)


def test_a_column_of_my_numbers_refuses_its_rows() -> None:
    """Also where the profile would have left the column out."""
    text = f"{USAGE},個人番号\n{ROW},\n{ROW},{MY_NUMBER}\n{ROW},なし\n"
    rows, problems = read(text, "csv")
    assert [row.number for row in rows] == [2, 4]
    assert codes(problems) == [(3, "my-number-refused", None)]


def test_coordinates_are_put_right_or_left_out() -> None:
    """Swapped and zero coordinates are among the faults of published files."""
    text = (
        f"{SITES}\n131016,1,甲,139.7,35.6,千代田区,1,\n131016,2,乙,0,0,千代田区,,1\n"
        "131016,3,丙,35.6,36.1,千代田区,,\n131016,4,丁,51.5,0.1,千代田区,,\n"
    )
    rows, problems = read(text, "csv")
    assert (rows[0].content["latitude"], rows[0].content["longitude"]) == (35.6, 139.7)
    assert all("latitude" not in row.content for row in rows[1:])
    assert {"coordinates-swapped", "coordinates-zero"} <= notices(problems)


def test_a_whole_address_in_the_column_of_the_city_is_moved() -> None:
    """A known fault of published files."""
    text = f"{SITES}\n131016,1,甲,35.6,139.7,東京都千代田区丸の内1-1,1,\n"
    rows, problems = read(text, "csv")
    assert rows[0].content["fullAddress"] == "東京都千代田区丸の内1-1"
    assert "city" not in rows[0].content
    assert "address-in-city-column" in notices(problems)


def test_the_tokyo_datum_is_brought_up_to_date() -> None:
    """Old coordinates lie some 400 m to the south-east of the place."""
    north, east = from_tokyo_datum(35.0, 135.0)
    assert (round(north, 4), round(east, 4)) == (35.0032, 134.9972)
    profile = table_profile(
        {"names": ["緯度"], "field": "lat", "type": "latitude", "datum": "tokyo"},
        {"names": ["経度"], "field": "lon", "type": "longitude"},
    )
    rows, _ = read("緯度,経度\n35.0,135.0\n", "csv", profile)
    assert rows[0].content == {"lat": north, "lon": east}


def test_a_profile_of_ones_own_imports_any_table() -> None:
    """An operator writes it as JSON or TOML; constants and lists included."""
    profile = load_profile(
        """
        name = "gym"
        dataset_type = "energy.usage"
        subject = ["会員"]
        source_id = ["day"]
        ignore = ["店"]
        [constants]
        supplier_name = "Gym"
        [[columns]]
        names = ["日"]
        field = "day"
        type = "date"
        required = true
        [[columns]]
        names = ["種目"]
        field = "sports"
        type = "list"
        separator = "・"
        """.encode(),
        syntax="toml",
    )
    rows, problems = read("会員;店;日;種目\nG-7;A;R6.1.2;水泳・ヨガ\n", "csv", profile)
    assert problems == []
    assert rows[0].content == {
        "day": "2024-01-02",
        "sports": ["水泳", "ヨガ"],
        "supplier_name": "Gym",
    }
    assert (rows[0].subject, rows[0].source_id) == ("G-7", "G-7/2024-01-02")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dataset_type": "No Type"}, "dataset_type"),
        ({"dataset_type": None}, "needs a dataset type"),
        ({"columns": []}, "needs a dataset type"),
        ({"source_id": ["x"]}, "source_id"),
        ({"constants": {"v": 1}}, "constant"),
        ({"typo": 1}, "typo"),
        ({"encoding": "utf-7"}, "encoding"),
    ],
)
def test_a_profile_with_a_fault_is_refused_with_its_place(
    change: dict[str, Json], words: str
) -> None:
    """Silence would lose columns."""
    document: dict[str, Json] = {
        "name": "p",
        "dataset_type": "energy.usage",
        "columns": [{"names": ["v"], "field": "v"}],
        **change,
    }
    with pytest.raises(ProfileRefused, match=words):
        load_profile(json.dumps(document).encode())


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"name":"a","name":"b"}', b"\xff"]
)
def test_what_is_no_profile_is_refused(data: bytes) -> None:
    """JSON and TOML are read strictly."""
    with pytest.raises(ProfileRefused):
        load_profile(data)
    with pytest.raises(ProfileRefused):
        load_profile(data, syntax="toml")


def test_two_columns_of_one_name_or_field_are_refused() -> None:
    """Which of them counts would be chance."""
    one: dict[str, Json] = {"names": ["a"], "field": "x"}
    same_name: dict[str, Json] = {"names": ["Ａ"], "field": "y"}
    same_field: dict[str, Json] = {"names": ["b"], "field": "x"}
    for other in (same_name, same_field):
        with pytest.raises(ProfileRefused, match="two columns"):
            table_profile(one, other)


def test_a_named_profile_says_which_columns_are_missing() -> None:
    """The file is refused before its rows."""
    profile = next(p for p in builtin_profiles() if p.name == "energy-usage")
    rows, problems = read("お客様番号,検針日\nE-1,2024/5/2\n", "csv", profile)
    assert rows == []
    assert [(p.code, p.level) for p in problems] == [
        ("required-columns-missing", "file")
    ]
    assert "period_start" in problems[0].detail_ja


def test_a_tie_between_profiles_is_for_the_operator() -> None:
    """Both names are told."""
    one = one_column("text")
    other = one.model_copy(update={"name": "other"})
    found = fitting(["v"], [one, other])
    assert {binding.profile.name for binding in found} == {"test", "other"}


def test_a_profile_for_another_format_is_a_misuse() -> None:
    """Told to the caller before the file is opened."""
    fhir = load_profile(b'{"name": "f", "format": "fhir"}')
    with pytest.raises(Misuse):
        read("", "csv", fhir)
    with pytest.raises(Misuse):
        read("", "fhir", one_column("text"))
    with pytest.raises(Misuse):
        read("", "xlsx")  # type: ignore[arg-type]  # the point of the test


def test_a_table_of_too_many_columns_is_refused() -> None:
    """A header of a million cells is no header."""
    rows, problems = read("a," * 2000, "csv", None, Limits(max_columns=100))
    assert [p.code for p in problems] == ["too-many-columns"]
    assert rows == []


def test_every_published_layout_finds_its_profile() -> None:
    """Three generations of the standard data sets lead to one type each."""
    expected = {
        "public_facility": "public",
        "12_公共施設一覧": "public",
        "aed": "aed",
        "01_AED設置箇所一覧": "aed",
        "evacuation_space": "evacuation",
        "10_指定緊急避難場所一覧": "evacuation",
        "childcare_facility": "childcare",
        "preschool": "childcare",
        "13_子育て施設一覧": "childcare",
        "public_wifi": "wifi",
        "public_wireless_lan": "wifi",
        "07_公衆無線LANアクセスポイント一覧": "wifi",
        "medical_institution": "medical",
        "03_医療機関一覧": "medical",
        "user": "user",
        "local_points": "points",
    }
    for name in ("area-standard", "legacy-recommended"):
        for key, layout in published(f"data/{name}-datasets.json")["datasets"].items():
            _check_layout(expected.get(key), layout)
    for key, layout in published("data/municipal-open-data.json")["datasets"].items():
        _check_layout(expected.get(key), layout)


def _check_layout(
    expected: str | None, layout: dict[str, list[dict[str, str]]]
) -> None:
    if expected is None or "fields" not in layout:
        return
    header = [field["name_ja"] for field in layout["fields"]]
    found = [binding.profile.name for binding in fitting(header, builtin_profiles())]
    assert found == [f"standard-{expected}"]


def test_real_files_of_a_city_are_imported_whole() -> None:
    """Open data of Yaizu (焼津市), in each encoding that cities use."""
    schemas = {t.name: compile_schema(t.json_schema) for t in built_in_types()}
    for table in published("vectors/yaizu_open_data.json"):
        text = "\r\n".join(
            ",".join('"' + cell.replace('"', '""') + '"' for cell in cells)
            for cells in [table["header"], *table["rows"]]
        )
        for encoding in ("utf-8", "utf-8-sig", "cp932"):
            rows, problems = read(text.encode(encoding), "csv")
            assert len(rows) == len(table["rows"])
            assert codes(problems) == []
            for row in rows:
                assert row.subject is None
                kind = next(name for name in schemas if name == row.dataset_type)
                assert schemas[kind].problems(row.content) == []
