# SPDX-License-Identifier: Apache-2.0
"""Where my data is, as a picture: cities as boxes, in them organizations, and arrows.

Pure geometry: from what was found to rectangles and lines with whole coordinates. The
page draws them as SVG and repeats everything as a table, so the picture is for the eye
alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from protocol.ids import CityId, NodeId

CITY_WIDTH, NODE_HEIGHT, GAP, HEAD = 250, 52, 14, 34


@dataclass(frozen=True)
class Box:
    """A rectangle with its words.

    Attributes:
        x, y, width, height: in pixels.
        label, note: first and second line.
        kind: `holder`, `recipient` or `city`; the style sheet colors it.
    """

    x: int
    y: int
    width: int
    height: int
    label: str
    note: str
    kind: str


@dataclass(frozen=True)
class Arrow:
    """From a holder to a recipient, by as many releases."""

    path: str
    releases: int


@dataclass(frozen=True)
class Picture:
    """All that is drawn; empty when there is nothing to show."""

    width: int
    height: int
    cities: tuple[Box, ...]
    nodes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


def draw(
    holders: Mapping[NodeId, int],
    releases: Mapping[tuple[NodeId, NodeId], int],
    titles: Mapping[str, str],
    counted: str,
) -> Picture:
    """Lay everything out.

    Args:
        holders: records that each organization holds.
        releases: how often data went from a holder to a recipient.
        titles: names of nodes and cities; ids stand where there is none.
        counted: text for a number of records, with `{count}`.
    """
    nodes = {*holders, *(to for _, to in releases)}
    cities: list[Box] = []
    boxes: dict[NodeId, Box] = {}
    x = GAP
    for city in sorted({node.city for node in nodes}):
        members = sorted(node for node in nodes if node.city == city)
        for row, node in enumerate(members):
            count = holders.get(node)
            boxes[node] = Box(
                x + GAP,
                GAP + HEAD + row * (NODE_HEIGHT + GAP),
                CITY_WIDTH - 2 * GAP,
                NODE_HEIGHT,
                _shortened(titles.get(node, node)),
                "" if count is None else counted.format(count=count),
                "recipient" if count is None else "holder",
            )
        cities.append(_city(x, city, len(members), titles))
        x += CITY_WIDTH + 3 * GAP
    return Picture(
        max(0, x - 2 * GAP),
        max((box.y + box.height for box in cities), default=0) + GAP,
        tuple(cities),
        tuple(boxes[node] for node in sorted(boxes)),
        tuple(_arrows(releases, boxes)),
    )


def _city(x: int, city: CityId, members: int, titles: Mapping[str, str]) -> Box:
    height = HEAD + members * (NODE_HEIGHT + GAP) + GAP
    label = _shortened(titles.get(city, city))
    return Box(x, GAP, CITY_WIDTH, height, label, "", "city")


def _arrows(
    releases: Mapping[tuple[NodeId, NodeId], int], boxes: Mapping[NodeId, Box]
) -> Iterable[Arrow]:
    for (holder, recipient), count in sorted(releases.items()):
        start, end = boxes[holder], boxes[recipient]
        forward = start.x < end.x
        x1 = start.x + start.width if forward else start.x
        x2 = end.x if forward else end.x + end.width
        if start.x == end.x:
            x2 = x1 = start.x + start.width
        y1, y2 = start.y + start.height // 2, end.y + end.height // 2
        # Within one city the arrow leaves to the right and comes back.
        bend = x1 + 2 * GAP if start.x == end.x else (x1 + x2) // 2
        yield Arrow(f"M {x1} {y1} C {bend} {y1}, {bend} {y2}, {x2} {y2}", count)


def _shortened(words: str, longest: int = 24) -> str:
    return words if len(words) <= longest else f"{words[: longest - 1]}…"
