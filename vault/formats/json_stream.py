# SPDX-License-Identifier: Apache-2.0
"""A large JSON text is walked entry by entry, as strictly as a small one.

Only one entry is held as objects at a time. Refused as in `protocol.canonical`:
duplicate members, NaN, deep nesting, anything after the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final, NoReturn

from protocol.canonical import Json

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_STRING: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_NOT_BRACKET: Final = re.compile(r"[^\[\]{}]++")


class BadJson(Exception):
    """The text is not JSON as we accept it.

    Attributes:
        code: a key of `vault/formats/problems.json`.
        place: character near which it was noticed, counted from 1.
    """

    def __init__(self, code: str, place: int = 0) -> None:
        super().__init__(code)
        self.code = code
        self.place = place


def members(text: str, unfold: str, max_depth: int) -> Iterator[tuple[str, Json]]:
    """Yield the members of the object that the text is, in their order.

    An array under the name `unfold` comes one element at a time, each under that name.
    A text that is no object comes as one value under the empty name.

    Raises:
        BadJson: where the text stops being acceptable; what stands before has been
            yielded by then.
    """
    if _is_deeper(text, max_depth):
        raise BadJson("json-too-deep")
    walk = _Walk(text)
    if walk.peek() != "{":
        yield "", walk.value()
    else:
        seen: set[str] = set()
        for _ in walk.items("{", "}"):
            name = walk.value()
            if not isinstance(name, str):
                raise BadJson("not-json", walk.place + 1)
            if name in seen:
                raise BadJson("json-duplicate-member")
            seen.add(name)
            walk.expect(":")
            if name == unfold and walk.peek() == "[":
                for _ in walk.items("[", "]"):
                    yield name, walk.value()
            else:
                yield name, walk.value()
    if walk.peek():
        raise BadJson("not-json", walk.place + 1)


class _Walk:
    """A place in a JSON text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.place = 0
        self._decoder = json.JSONDecoder(
            object_pairs_hook=_object, parse_constant=_constant
        )

    def peek(self) -> str:
        """Return the next character that is no space; empty at the end."""
        found = _SPACE.match(self._text, self.place)
        self.place = found.end() if found else self.place
        return self._text[self.place : self.place + 1]

    def expect(self, mark: str) -> None:
        """Step over a mark that must come next."""
        if self.peek() != mark:
            raise BadJson("not-json", self.place + 1)
        self.place += 1

    def value(self) -> Json:
        """Read a whole value."""
        self.peek()
        try:
            value: Json
            value, self.place = self._decoder.raw_decode(self._text, self.place)
        except RecursionError as error:
            raise BadJson("json-too-deep") from error
        except ValueError as error:
            raise BadJson("not-json", self.place + 1) from error
        return value

    def items(self, opening: str, closing: str) -> Iterator[None]:
        """Stop at each item between the brackets; the caller reads it."""
        self.expect(opening)
        if self.peek() == closing:
            self.place += 1
            return
        yield
        while self.peek() == ",":
            self.place += 1
            yield
        self.expect(closing)


def _is_deeper(text: str, limit: int) -> bool:
    """Tell whether brackets are nested deeper, before a recursive parser sees them.

    Takes the innermost pairs away level by level, which runs at the speed of
    `str.replace`. Brackets that do not match are left to the parser.
    """
    left = _NOT_BRACKET.sub("", _STRING.sub("", text))
    for _ in range(limit):
        fewer = left.replace("[]", "").replace("{}", "")
        if not fewer or fewer == left:
            return False
        left = fewer
    return True


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadJson("json-duplicate-member")
    return found


def _constant(name: str) -> NoReturn:
    raise BadJson("not-json")
