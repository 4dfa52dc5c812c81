# SPDX-License-Identifier: Apache-2.0
"""The resources of a FHIR file, one at a time: bundle, single resource, or NDJSON.

The bytes are held whole, since a reference may point anywhere in the file; the objects
are not. A file is gone through twice: once to learn who is who, once to import.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from protocol.canonical import Json, parse_json
from protocol.errors import MachikuraError
from vault.formats import json_stream
from vault.formats.fhir import elements as e
from vault.formats.fhir.elements import Element
from vault.formats.json_stream import BadJson
from vault.formats.rows import Limits
from vault.formats.text import NOT_TEXT

_PIECE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """A resource with its place in the file, or the code of why there is none.

    Attributes:
        document: which bundle it stands in; 0 is the file itself.
    """

    number: int
    full_url: str
    resource: Element
    code: str = ""
    document: int = 0


class FhirFile:
    """A FHIR file in memory."""

    def __init__(self, stream: BinaryIO, limits: Limits) -> None:
        """Read the file.

        Raises:
            BadJson: empty-file, file-too-large, not-text, undecodable-file.
        """
        data = _read(stream, limits.max_document_bytes)
        if not data.strip():
            raise BadJson("empty-file")
        if data.startswith(NOT_TEXT):
            raise BadJson("not-text")
        try:
            self._text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise BadJson("undecodable-file") from error
        self._limits = limits
        self._is_bulk = self._looks_like_ndjson()

    def _looks_like_ndjson(self) -> bool:
        """Tell NDJSON by its first line being a whole object with more to follow."""
        first, _, rest = self._text.lstrip().partition("\n")
        if not rest.strip() or not first.rstrip().endswith("}"):
            return False
        return isinstance(self._line(first), dict)

    def _line(self, line: str) -> Json:
        try:
            return parse_json(
                line.encode("utf-8", "replace"),
                max_bytes=self._limits.max_document_bytes,
                max_depth=self._limits.max_depth,
            )
        except MachikuraError:
            return None

    def entries(self) -> Iterator[Entry]:
        """Yield every resource; resources of bundles in bundles under one number.

        Raises:
            BadJson: the file is not JSON, or not FHIR.
        """
        if self._is_bulk:
            yield from self._bulk()
            return
        top: dict[str, Json] = {}
        documents = itertools.count(1)
        number = 0
        for name, value in json_stream.members(
            self._text, "entry", self._limits.max_depth
        ):
            if name != "entry":
                top[name] = value
            elif isinstance(value, dict):
                number += 1
                yield from _unfold(number, value, documents, 0)
            else:
                number += 1
                yield Entry(number, "", e.NOTHING, "entry-without-resource")
        kind = top.get("resourceType")
        if not isinstance(kind, str):
            raise BadJson("not-fhir")
        if kind != "Bundle":
            yield Entry(1, "", top)

    def _bulk(self) -> Iterator[Entry]:
        documents = itertools.count(1)
        start = number = 0
        while start < len(self._text):
            end = self._text.find("\n", start)
            end = len(self._text) if end < 0 else end
            line, start = self._text[start:end], end + 1
            number += 1
            if not line.strip():
                continue
            value = self._line(line)
            if isinstance(value, dict):
                yield from _unfold(number, {"resource": value}, documents, 0)
            else:
                yield Entry(number, "", e.NOTHING, "line-not-json")


def _unfold(
    number: int, entry: Element, documents: Iterator[int], document: int, depth: int = 4
) -> Iterator[Entry]:
    """Yield the entry's resource, or those of the bundle that it is."""
    resource = e.member(entry, "resource")
    kind = e.text(resource, "resourceType")
    if not resource:
        yield Entry(number, "", e.NOTHING, "entry-without-resource")
    elif not kind:
        yield Entry(number, "", e.NOTHING, "resource-type-missing")
    elif kind == "Bundle" and depth:
        own = next(documents)
        for inner in e.members(resource, "entry"):
            yield from _unfold(number, inner, documents, own, depth - 1)
    else:
        yield Entry(number, e.text(entry, "fullUrl"), resource, "", document)


def _read(stream: BinaryIO, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while piece := stream.read(_PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise BadJson("file-too-large")
    return b"".join(pieces)
