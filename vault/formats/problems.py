# SPDX-License-Identifier: Apache-2.0
"""The problems of files: stable code, what it cost, and a sentence in two languages.

Facts put into a sentence are numbers and names that a profile or a standard gives,
never a piece of the file.
"""

from __future__ import annotations

from typing import Final

from vault.formats.rows import Level, RowProblem

TEXTS: Final[dict[str, tuple[Level, str, str]]] = {
    # The file as a whole.
    "empty-file": ("file", "The file is empty.", "ファイルが空です。"),
    "not-text": (
        "file",
        "This is not a text file. Save a spreadsheet as CSV first.",
        "テキストファイルではありません。表計算ソフトのファイルはCSVで保存してください。",
    ),
    "undecodable-file": (
        "file",
        "The text is neither UTF-8 nor Shift_JIS (cp932), or is damaged.",
        "文字コードがUTF-8でもShift_JIS(cp932)でもないか、ファイルが壊れています。",
    ),
    "line-too-large": (
        "file",
        "A line is longer than {limit} bytes.",
        "1行が{limit}バイトを超えています。",
    ),
    "file-too-large": (
        "file",
        "The file is larger than {limit} bytes. Split it by person.",
        "ファイルが{limit}バイトを超えています。本人ごとに分割してください。",
    ),
    "not-json": (
        "file",
        "The file is not valid JSON, from character {place} on.",
        "{place}文字目から正しいJSONではありません。",
    ),
    "json-duplicate-member": (
        "file",
        "A JSON object has two members of the same name.",
        "JSONオブジェクトに同じ名前の項目が重複しています。",
    ),
    "json-too-deep": (
        "file",
        "The JSON is nested deeper than {limit} levels.",
        "JSONの入れ子が{limit}段を超えています。",
    ),
    "not-fhir": (
        "file",
        "This is JSON, but not a FHIR R4 bundle or resource.",
        "JSONですが、FHIR R4のバンドルやリソースではありません。",
    ),
    "too-many-columns": (
        "file",
        "The table has more than {limit} columns.",
        "列が{limit}を超えています。",
    ),
    "header-not-recognized": (
        "file",
        "No row among the first {rows} names the columns of a known table. Choose a"
        " profile, or check that the column names are there.",
        "先頭{rows}行に既知の表の列名がありません。プロファイルを指定するか、"
        "列名の行があるか確認してください。",
    ),
    "profile-ambiguous": (
        "file",
        "The header fits several profiles equally well: {profiles}. Choose one.",
        "見出しが複数のプロファイルに同じだけ一致します: {profiles}。1つ選んでください。",
    ),
    "profile-needed": (
        "file",
        "The objects do not name a dataset type and fit no known profile. Choose one.",
        "データセット種別がなく、既知のプロファイルにも一致しません。プロファイルを指定してください。",
    ),
    "required-columns-missing": (
        "file",
        "Columns that must be there are missing: {fields}.",
        "必須の列がありません: {fields}。",
    ),
    # A table's header: told once.
    "columns-missing": (
        "notice",
        "Columns of the profile that this file does not have: {fields}.",
        "プロファイルの列のうち、このファイルにないもの: {fields}。",
    ),
    "extra-columns": (
        "notice",
        "{count} columns are not in the profile and are left out (columns {places}).",
        "プロファイルにない{count}列は取り込みません(列番号 {places})。",
    ),
    "extra-members": (
        "notice",
        "{count} members are not in the profile and are left out.",
        "プロファイルにない{count}項目は取り込みません。",
    ),
    "column-repeated": (
        "notice",
        "Two columns stand for this field; the first is used.",
        "同じ項目の列が2つあります。最初の列を使います。",
    ),
    "header-repeated": (
        "notice",
        "The header is repeated here and left out.",
        "見出し行の繰り返しのため取り込みません。",
    ),
    # One record.
    "unclosed-quote": (
        "row",
        "A quotation mark is not closed.",
        '引用符(")が閉じられていません。',
    ),
    "too-many-cells": (
        "row",
        "The row has more cells than the header. Is a comma not quoted?",
        "列数が見出しより多いです。カンマを含む値が引用符で囲まれていない可能性があります。",
    ),
    "undecodable-text": (
        "row",
        "A character cannot be read in the file's encoding.",
        "ファイルの文字コードで読めない文字があります。",
    ),
    "control-character": (
        "row",
        "The text has a control character.",
        "制御文字が含まれています。",
    ),
    "lone-surrogate": (
        "row",
        "The text has half a surrogate pair, which is not a character.",
        "文字として不完全なサロゲートが含まれています。",
    ),
    "line-not-json": (
        "row",
        "The line is not valid JSON: bad syntax, UTF-8, or a member twice.",
        "正しいJSONの行ではありません(構文、UTF-8、項目名の重複)。",
    ),
    "not-an-object": (
        "row",
        "The line is not a JSON object.",
        "JSONオブジェクトの行ではありません。",
    ),
    "members-wrong": (
        "row",
        "The object needs dataset_type, subject (text or null) and content.",
        "dataset_type、subject(文字列またはnull)、contentが必要です。",
    ),
    "nested-too-deep": (
        "row",
        "The record is nested too deeply.",
        "入れ子が深すぎます。",
    ),
    "subject-missing": (
        "row",
        "The row does not say whose it is.",
        "誰のデータか分かりません(本人の番号がありません)。",
    ),
    "subject-invalid": (
        "row",
        "The person's number is too long or not a number or text.",
        "本人の番号が長すぎるか、文字列・数字ではありません。",
    ),
    "content-empty": (
        "row",
        "The row has nothing to import.",
        "取り込む内容がありません。",
    ),
    "my-number-refused": (
        "row",
        "This looks like a My Number (個人番号). It must not be stored here.",
        "個人番号(マイナンバー)とみられる値があります。ここには保存できません。",
    ),
    # One value.
    "value-missing": ("row", "The value must not be empty.", "値が必要です。"),
    "value-kind": (
        "row",
        "The value has another kind than this field takes.",
        "この項目に使えない種類の値です。",
    ),
    "value-not-listed": (
        "row",
        "The value is none of those this field takes.",
        "この項目で使える値の一覧にありません。",
    ),
    "text-too-long": (
        "row",
        "The text is longer than {limit} characters.",
        "{limit}文字を超えています。",
    ),
    "number-invalid": ("row", "This is not a number.", "数値ではありません。"),
    "number-too-large": (
        "row",
        "The number is too large to be kept exactly.",
        "正確に保持できない大きさの数値です。",
    ),
    "integer-expected": (
        "row",
        "The number must be whole.",
        "整数で入力してください。",
    ),
    "boolean-invalid": (
        "row",
        "This is neither a yes nor a no.",
        "有無(はい・いいえ)として読めません。",
    ),
    "date-invalid": (
        "row",
        "This is not a date of the calendar.",
        "日付として読めません。",
    ),
    "date-incomplete": (
        "row",
        "The date has no day or no month.",
        "日付に月または日がありません。",
    ),
    "date-ambiguous": (
        "row",
        "The date can be read in two ways. Write the year with four digits or the era.",
        "日付が2通りに読めます。西暦4桁か元号で書いてください。",
    ),
    "date-outside-era": (
        "row",
        "The date lies before its era began.",
        "元号の始まりより前の日付です。",
    ),
    "time-invalid": ("row", "This is not a time of day.", "時刻として読めません。"),
    "coordinate-invalid": (
        "row",
        "The coordinate is not in or near Japan.",
        "日本付近の緯度・経度ではありません。",
    ),
    "municipal-code-invalid": (
        "row",
        "This is not a municipal code with its check digit.",
        "検査数字を含む全国地方公共団体コードではありません。",
    ),
    "municipal-code-ambiguous": (
        "row",
        "The municipal code can be completed in two ways.",
        "全国地方公共団体コードが2通りに補えます。",
    ),
    "town-id-invalid": (
        "row",
        "A town id (町字ID) has seven digits.",
        "町字IDは7桁の数字です。",
    ),
    "corporate-number-invalid": (
        "row",
        "This is not a corporate number: 13 digits with a check digit.",
        "法人番号(検査数字を含む13桁)ではありません。",
    ),
    "postal-code-invalid": (
        "row",
        "A postal code has seven digits.",
        "郵便番号は7桁の数字です。",
    ),
    "phone-invalid": (
        "row",
        "This is not a telephone number.",
        "電話番号として読めません。",
    ),
    "url-invalid": ("row", "This is not a web address.", "URLではありません。"),
    "email-invalid": (
        "row",
        "This is not an e-mail address.",
        "メールアドレスではありません。",
    ),
    "mangled-by-spreadsheet": (
        "row",
        "A spreadsheet turned this number into a rounded one (such as 4.9E+12).",
        "表計算ソフトで丸められた番号です(4.9E+12など)。",
    ),
    # Repairs.
    "field-left-out": (
        "notice",
        "The value could not be used and is left out; the row is kept.",
        "値が使えないため、この項目だけ除いて取り込みます。",
    ),
    "coordinates-swapped": (
        "notice",
        "Latitude and longitude were swapped and have been put right.",
        "緯度と経度が逆だったため入れ替えました。",
    ),
    "coordinates-zero": (
        "notice",
        "Latitude and longitude were zero and are left out.",
        "緯度・経度が0のため除きました。",
    ),
    "address-in-city-column": (
        "notice",
        "The whole address stood in the city's column and has been moved.",
        "市区町村の列に住所全体が入っていたため移しました。",
    ),
    # FHIR.
    "entry-without-resource": (
        "row",
        "The entry has no resource.",
        "リソースのないエントリです。",
    ),
    "resource-type-missing": (
        "row",
        "The resource does not say its type.",
        "リソースの種類(resourceType)がありません。",
    ),
    "resource-not-imported": (
        "notice",
        "Resources of this kind ({kind}) are not imported.",
        "この種類のリソース({kind})は取り込みません。",
    ),
    "patient-unknown": (
        "row",
        "The patient that the resource refers to is not in the file.",
        "参照先の患者がファイルにありません。",
    ),
    "patient-ambiguous": (
        "row",
        "Two patients in the file go by the same reference.",
        "同じ参照で呼ばれる患者がファイルに2人います。",
    ),
    "modifier-not-understood": (
        "row",
        "An extension changes the meaning of the resource and is not understood.",
        "意味を変える拡張(modifierExtension)に対応していません。",
    ),
    "entered-in-error": (
        "notice",
        "The source withdrew this entry (entered in error, refuted or a draft).",
        "元のシステムで取り消し・誤入力・下書きとされています。",
    ),
    "not-done": (
        "notice",
        "The source says that this was not done.",
        "元のシステムで「実施せず」とされています。",
    ),
    "code-missing": (
        "row",
        "The resource has neither a code nor a name.",
        "コードも名称もありません。",
    ),
    "no-value": (
        "notice",
        "The observation has no value.",
        "検査値がありません。",
    ),
    "nothing-to-import": (
        "notice",
        "The resource only groups others and has no text of its own.",
        "他のリソースをまとめるだけで、取り込む内容がありません。",
    ),
    "unit-not-understood": (
        "row",
        "The value's unit is not one this item is measured in.",
        "この項目で使えない単位です。",
    ),
    "value-with-comparator": (
        "row",
        "The value is a bound (such as less than), not a measurement.",
        "「未満」「以上」などの値は測定値として取り込めません。",
    ),
    "observation-repeated": (
        "notice",
        "The item was measured again on this day; the later value is used.",
        "同じ日に同じ項目が再度測定されています。後の値を使います。",
    ),
    "component-not-imported": (
        "notice",
        "A component of the observation is not imported.",
        "検査の一部の要素は取り込みません。",
    ),
}
"""Code → (what it cost, English, Japanese)."""


class BadValue(Exception):
    """A value that its field cannot take; caught by whoever reads the row."""

    def __init__(self, code: str, **facts: int | str) -> None:
        super().__init__(code)
        self.code = code
        self.facts = facts


def problem(
    number: int, code: str, field: str | None = None, **facts: int | str
) -> RowProblem:
    """Describe what is wrong at `number`.

    Args:
        number: row, line or entry, counted from 1; 0 for the file.
        code: a key of `TEXTS`.
        field: the record's field, never a name found only in the file.
        facts: limits, counts and known names that the sentence holds.
    """
    level, english, japanese = TEXTS[code]
    return RowProblem(
        number,
        code,
        field,
        english.format_map(facts),
        japanese.format_map(facts),
        level,
    )
