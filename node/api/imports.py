# SPDX-License-Identifier: Apache-2.0
"""File import: FHIR R4, CSV, NDJSON in; a report of every row out.

The body is spooled to a temporary file of bounded size (memory first), read row by row
and stored in batches. A broken row is reported and the rest is kept.
"""

from __future__ import annotations

import asyncio
import tempfile
from functools import partial
from typing import BinaryIO, cast

from aiohttp import web

from node.api.registry import Registry
from node.clients import Scope
from node.core import Core
from protocol.errors import Misuse, TooLarge
from protocol.model import Request, ShortText
from vault.formats.profile import Profile, builtin_profiles, load_profile
from vault.formats.reader import Format, read_rows
from vault.formats.rows import Limits
from vault.importing import ImportReport, batches

_BATCH = 500
_SPOOL_BYTES = 4 * 1024 * 1024
_MAX_FILE_BYTES = 1024 * 1024 * 1024


class ImportParameters(Request):
    """What the file is.

    Attributes:
        profile: name of a built-in profile; empty chooses by the header.
        mapping: a profile of your own, as JSON text.
    """

    format: Format
    profile: ShortText = ""
    mapping: str = ""


class ImportProblem(Request):
    """What is wrong with one row; never its content."""

    row: int
    code: str
    field: str | None
    level: str
    detail_en: str
    detail_ja: str


class ImportResult(Request):
    """What became of the file."""

    rows: int
    stored: int
    known: int
    updated: int
    refused: int
    by_type: dict[str, int]
    problems: list[ImportProblem]
    left_out: int
    registered: int


def register(registry: Registry, *, core: Core) -> None:
    """Describe the endpoint."""

    @registry.route(
        "POST",
        "/v1/import",
        scope=Scope.RECORDS_WRITE,
        summary=("Import a file", "ファイルの取り込み"),
        tag="records",
        returns=ImportResult,
        problems=("too-large", "invalid-input"),
    )
    async def import_file(
        request: web.Request, params: ImportParameters
    ) -> ImportResult:
        profile = _profile(params)
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as spool:
            file = cast(BinaryIO, spool)
            await _receive(request, file)
            report = await _import(core, file, params.format, profile)
        registered = 0
        if core.parts.locations is not None:
            registered = await core.parts.locations.refresh()
        return _result(report, registered)


async def _receive(request: web.Request, file: BinaryIO) -> None:
    size = 0
    async for chunk in request.content.iter_chunked(65536):
        size += len(chunk)
        if size > _MAX_FILE_BYTES:
            raise TooLarge(f"a file may have {_MAX_FILE_BYTES} bytes")
        file.write(chunk)
    file.seek(0)


async def _import(
    core: Core, file: BinaryIO, form: Format, profile: Profile | None
) -> ImportReport:
    parts = core.parts
    rows = batches(
        read_rows(file, format=form, profile=profile, limits=Limits()), _BATCH
    )
    report = ImportReport()
    while True:
        # Parsing is work too: off the loop, one batch at a time.
        batch = await asyncio.to_thread(next, rows, None)
        if batch is None:
            return report
        store = partial(
            parts.vault.importer.import_rows,
            rows=batch,
            now_ms=parts.world.clock.now_ms(),
        )
        report = report + await parts.database.bulk(store)


def _profile(params: ImportParameters) -> Profile | None:
    if params.mapping:
        return load_profile(params.mapping.encode())
    if not params.profile:
        return None
    for profile in builtin_profiles():
        if profile.name == params.profile:
            return profile
    names = ", ".join(sorted(p.name for p in builtin_profiles()))
    raise Misuse(f"no such profile; there are: {names}")


def _result(report: ImportReport, registered: int) -> ImportResult:
    return ImportResult(
        rows=report.rows,
        stored=report.stored,
        known=report.known,
        updated=report.updated,
        refused=report.refused,
        by_type=dict(report.by_type),
        problems=[
            ImportProblem(
                row=p.number,
                code=p.code,
                field=p.field,
                level=p.level,
                detail_en=p.detail_en,
                detail_ja=p.detail_ja,
            )
            for p in report.problems
        ],
        left_out=report.left_out,
        registered=registered,
    )
