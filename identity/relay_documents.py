# SPDX-License-Identifier: Apache-2.0
"""What a relay keeps of its authority: the brief, and the city's word to each neighbor.

All of it is signed, and judged again by whoever relies on it: the relay verifies the
brief when it takes it up, a neighbor the announcements that it is told. Bounded by what
an authority announces; what has ended is dropped when it is loaded.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from identity.tables import trust_documents
from protocol.ids import CityId

_BRIEF = "brief"
_WORD = "word:"
_columns = trust_documents.c


def save_brief(connection: Connection, token: str, ends: int) -> None:
    """Keep the newest brief."""
    _put(connection, _BRIEF, token, ends)


def load_brief(connection: Connection) -> str | None:
    """Return the kept brief, unverified."""
    query = select(_columns.document).where(_columns.name == _BRIEF)
    found: str | None = connection.execute(query).scalar_one_or_none()
    return found


def save_word(
    connection: Connection, neighbor: CityId, origin: CityId, token: str, ends: int
) -> None:
    """Keep what our city announces to a neighbor about a city."""
    _put(connection, _name(neighbor, origin), token, ends)


def drop_word(connection: Connection, neighbor: CityId, origin: CityId) -> None:
    """Forget it: our city leads there no more."""
    name = _name(neighbor, origin)
    connection.execute(delete(trust_documents).where(_columns.name == name))


def load_words(
    connection: Connection, now: int
) -> list[tuple[CityId, CityId, str, int]]:
    """Return neighbor, origin, announcement and end of all that have not ended."""
    rows = connection.execute(
        select(_columns.name, _columns.document, _columns.ends).where(
            _columns.name.startswith(_WORD), _columns.ends > now
        )
    )
    found = []
    for name, document, ends in rows:
        neighbor, _, origin = name.removeprefix(_WORD).partition(" ")
        found.append((CityId(neighbor), CityId(origin), document, ends))
    return found


def _name(neighbor: CityId, origin: CityId) -> str:
    return f"{_WORD}{neighbor} {origin}"


def _put(connection: Connection, name: str, document: str, ends: int) -> None:
    connection.execute(delete(trust_documents).where(_columns.name == name))
    connection.execute(
        insert(trust_documents).values(name=name, document=document, ends=ends)
    )
