# SPDX-License-Identifier: Apache-2.0
"""The cells of one row become one record, or the list of what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from protocol.canonical import Json
from vault.formats import codes
from vault.formats.binding import Binding
from vault.formats.problems import BadValue, problem
from vault.formats.profile import SUBJECT, Column
from vault.formats.rows import Content, Row, RowProblem
from vault.formats.screen import content_problem, is_my_number, text_problem
from vault.formats.text import UNREADABLE
from vault.formats.values import convert, is_latitude, read_subject

_WHOLE_ADDRESS: Final = re.compile(
    r"(?:北海道|東京都|京都府|大阪府|.{2,3}県).*(?:\d|丁目|番)", re.DOTALL
)


def read_record(
    number: int, binding: Binding, cells: Sequence[Json]
) -> Iterator[Row | RowProblem]:
    """Yield the row, after remarks on repairs; or every problem that refuses it.

    A row shorter than the header is read as if empty cells followed: spreadsheets leave
    out trailing separators where a column is empty for a while.
    """
    found: list[RowProblem] = []
    content: Content = {}
    try:
        subject = _subject(binding, cells)
    except BadValue as error:
        yield problem(number, error.code, None, **error.facts)
        return
    for column in binding.profile.columns:
        place = binding.places.get(column.field)
        if place is None:
            continue
        cell = cells[place] if place < len(cells) else ""
        found.extend(_fill(number, column, cell, content))
    found.extend(_coordinates(number, binding, content))
    found.extend(_address(number, content))
    if not content:
        found.append(problem(number, "content-empty"))
    content.update(binding.profile.constants)
    if not _is_refused(found) and (wrong := content_problem(content)):
        found.append(problem(number, wrong[0], wrong[1]))
    yield from found
    dataset_type = binding.profile.dataset_type
    if not _is_refused(found) and dataset_type is not None:
        source_id = _source_id(binding, subject, content)
        yield Row(number, str(dataset_type), subject, content, source_id)


def _is_refused(problems: list[RowProblem]) -> bool:
    return any(found.level == "row" for found in problems)


def _subject(binding: Binding, cells: Sequence[Json]) -> str | None:
    """Return the person's number, after a look at columns that must not be there."""
    for index in binding.forbidden:
        if index < len(cells) and is_my_number(cells[index], named=True):
            raise BadValue("my-number-refused")
    if not binding.profile.subject:
        return None
    place = binding.subject
    if place is None or place >= len(cells):
        raise BadValue("subject-missing")
    cell = cells[place]
    for column in binding.profile.columns:
        if column.type == "id-list" and binding.places.get(column.field) == place:
            found = convert(cell, column)
            first = found[0] if isinstance(found, list) and found else None
            cell = first.get("id") if isinstance(first, dict) else None
    return read_subject(cell)


def _fill(
    number: int, column: Column, cell: Json, content: Content
) -> Iterator[RowProblem]:
    """Put the cell's value into the content, or tell why not."""
    try:
        if isinstance(cell, str) and UNREADABLE in cell:
            raise BadValue("undecodable-text")
        if isinstance(cell, str) and (code := text_problem(cell)):
            raise BadValue(code)
        value = convert(cell, column)
        if value is None and column.required:
            raise BadValue("value-missing")
    except BadValue as error:
        if column.on_error == "drop" and error.code != "my-number-refused":
            yield problem(number, "field-left-out", column.field, reason=error.code)
        else:
            yield problem(number, error.code, column.field, **error.facts)
        return
    if value is not None:
        content[column.field] = value


def _source_id(binding: Binding, subject: str | None, content: Content) -> str | None:
    """Name the record by its person and the fields that the profile says."""
    fields = binding.profile.source_id
    parts = [content.get(field) for field in fields if field != SUBJECT]
    if not fields or any(part is None for part in parts):
        return None
    owner = [] if subject is None else [subject]
    return "/".join(str(part) for part in (*owner, *parts))


def _coordinates(
    number: int, binding: Binding, content: Content
) -> Iterator[RowProblem]:
    """Put swapped coordinates right, leave zeros out, bring old datums up to date."""
    columns = {column.type: column for column in binding.profile.columns}
    north, east = columns.get("latitude"), columns.get("longitude")
    if north is None or east is None:
        return
    latitude, longitude = content.get(north.field), content.get(east.field)
    if not isinstance(latitude, float) or not isinstance(longitude, float):
        return
    if latitude == 0 or longitude == 0:
        del content[north.field], content[east.field]
        yield problem(number, "coordinates-zero", north.field)
        return
    if is_latitude(longitude) and not is_latitude(latitude):
        latitude, longitude = longitude, latitude
        yield problem(number, "coordinates-swapped", north.field)
    if not is_latitude(latitude) or is_latitude(longitude):
        del content[north.field], content[east.field]
        reason = "coordinate-invalid"
        code = "field-left-out" if north.on_error == "drop" else reason
        yield problem(number, code, north.field, reason=reason)
        return
    if north.datum == "tokyo":
        latitude, longitude = from_tokyo_datum(latitude, longitude)
    content[north.field], content[east.field] = latitude, longitude


def from_tokyo_datum(latitude: float, longitude: float) -> tuple[float, float]:
    """Bring degrees of the Tokyo datum to the world datum, within some ten metres.

    The usual linear approximation for the whole of Japan; a survey needs the grid of
    the Geospatial Information Authority instead.
    """
    north = latitude - 0.00010695 * latitude + 0.000017464 * longitude + 0.0046017
    east = longitude - 0.000046038 * latitude - 0.000083043 * longitude + 0.010040
    return round(north, 6), round(east, 6)


def _address(number: int, content: Content) -> Iterator[RowProblem]:
    """Move a whole address out of the city's column of the standard data sets."""
    city = content.get("city")
    if not isinstance(city, str) or not _WHOLE_ADDRESS.match(codes.narrow(city)):
        return
    content.setdefault("fullAddress", city)
    del content["city"]
    yield problem(number, "address-in-city-column", "fullAddress")
