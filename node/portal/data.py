# SPDX-License-Identifier: Apache-2.0
"""Where my data is, as a page shows it: a picture, a table, and who was asked."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from node.locator import Party, Whereabouts
from node.portal.names import Names
from node.portal.picture import Picture, draw
from node.portal.texts import Language, day, moment, text
from protocol.ids import NodeId


@dataclass(frozen=True)
class Shared:
    """Releases to one recipient for one purpose."""

    recipient: str
    recipient_id: str
    purpose: str
    consent: str
    how_often: str


@dataclass(frozen=True)
class Row:
    """What one organization holds of one kind of data."""

    city: str
    holder: str
    holder_id: str
    dataset: str
    count: int
    period: str
    shared: tuple[Shared, ...]


@dataclass(frozen=True)
class DataView:
    """All that the page shows."""

    picture: Picture
    rows: tuple[Row, ...]
    asked: tuple[Party, ...]
    silent: int


def data_view(found: Whereabouts, names: Names, language: Language) -> DataView:
    """Put what was found into words.

    Args:
        found: the merged answer of all parties.
        names: finds titles.
        language: of the visitor.
    """
    holders: defaultdict[NodeId, int] = defaultdict(int)
    releases: defaultdict[tuple[NodeId, NodeId], int] = defaultdict(int)
    rows = []
    for located in found.found:
        holder, holding = located.holder, located.holding
        holders[holder] += holding.count
        for sharing in holding.sharing:
            releases[holder, sharing.recipient] += sharing.releases
        rows.append(
            Row(
                holder.city,
                names.node(holder, language),
                holder,
                names.dataset(holding.dataset_type, language),
                holding.count,
                _period(holding.first, holding.last, language),
                tuple(
                    Shared(
                        names.node(sharing.recipient, language),
                        sharing.recipient,
                        names.purpose(holding.dataset_type, sharing.purpose, language),
                        sharing.consent,
                        text(
                            "times",
                            language,
                            count=sharing.releases,
                            last=moment(sharing.last, language),
                        ),
                    )
                    for sharing in holding.sharing
                ),
            )
        )
    nodes = {*holders, *(to for _, to in releases)}
    counted = "{count}件" if language == "ja" else "{count} records"
    return DataView(
        draw(holders, releases, names.nodes(nodes, language), counted),
        tuple(rows),
        found.asked,
        sum(party.status != "answer" for party in found.asked),
    )


def _period(first: str | None, last: str | None, language: Language) -> str:
    if first is None or last is None:
        return ""
    begin, end = day(first, language), day(last, language)
    return begin if begin == end else f"{begin} – {end}"
