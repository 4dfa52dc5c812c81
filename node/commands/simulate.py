# SPDX-License-Identifier: Apache-2.0
"""`machikura simulate`: a whole federation under faults, and what it must keep."""

from __future__ import annotations

import logging
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from node.builder import Builder
from node.commands.output import AsJson, show
from node.simulate.campaign import Campaign, Failure, Scale, Summary
from node.simulate.events import Event, Group, read_event
from node.simulate.nursery import Played
from node.simulate.planner import FAULTS
from node.simulate.plants import PLANTS
from node.system import SystemClock
from protocol.canonical import parse_json
from protocol.errors import MachikuraError, Misuse

_MOST_EVENTS_BYTES = 1 << 22


def simulate(
    seeds: Annotated[
        str, typer.Option(help="Seeds, such as 1..200. シードの範囲。")
    ] = "1..20",
    seed: Annotated[
        int | None, typer.Option(help="Replay this one seed. 一つのシードを再現。")
    ] = None,
    cities: Annotated[int, typer.Option(help="Number of cities. 都市の数。")] = 5,
    nodes: Annotated[
        int, typer.Option(help="Nodes per city. 都市ごとのノード数。")
    ] = 20,
    faults: Annotated[
        str,
        typer.Option(
            help="all, none, or of: " + ",".join(FAULTS) + ". 起こす障害の種類。"
        ),
    ] = "all",
    seconds: Annotated[
        int, typer.Option(min=10, help="Length of a story. 一話の長さ(仮想秒)。")
    ] = 120,
    jobs: Annotated[
        int, typer.Option(min=1, help="Processes. 並列数。")
    ] = os.cpu_count() or 1,
    shrink: Annotated[
        int, typer.Option(min=0, help="Attempts to shorten a failure. 短縮の試行数。")
    ] = 200,
    events: Annotated[
        Path | None,
        typer.Option(help="Play these events (JSON). イベントのファイル。"),
    ] = None,
    plant: Annotated[
        str | None,
        typer.Option(help="Put a fault into every node, to see it found. 故意の欠陥。"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Play a federation under faults.

    障害の下で連携全体を模擬します。

    Each seed is a story of its own, whose promises are checked after every step.
    Ends with 1 if one was broken, and prints the shortest story that breaks it.
    """
    logging.disable(logging.WARNING)
    scale = Scale(cities, nodes, seconds, _groups(faults))
    chosen = [seed] if seed is not None else _seeds(seeds)
    campaign = Campaign(
        scale,
        jobs=jobs,
        monotonic=SystemClock().monotonic,
        shrink_most=0 if seed is not None or events is not None else shrink,
        kind=Builder if plant is None else _plant(plant),
        on_played=_Progress(len(chosen)),
    )
    began_s = campaign.monotonic()
    if events is not None:
        summary = campaign.run_events(chosen[0], _events(events))
    else:
        summary = campaign.run(chosen)
    wall_s = campaign.monotonic() - began_s
    replay = _replay(scale, plant)
    show(
        _document(scale, summary, wall_s, replay),
        _text(summary, wall_s, replay),
        as_json=as_json,
    )
    if summary.failures:
        raise typer.Exit(1)


class _Progress:
    """One line on standard error that is written anew for each seed."""

    def __init__(self, seeds: int) -> None:
        self._seeds = seeds

    def __call__(self, played: Played, summary: Summary) -> None:
        """Show how far it is; a seed that fails keeps its line."""
        line = (
            f"{summary.seeds}/{self._seeds} seeds, "
            f"{summary.cpu_s / summary.seeds:.1f} s of processor each"
        )
        end = "\r" if sys.stderr.isatty() else "\n"
        for violation in played.outcome.violations[:1]:
            what = f"{violation.rule}: {violation.detail}"
            sys.stderr.write(f"✗ seed {played.story.seed}: {what}\n")
        if sys.stderr.isatty() or summary.seeds % 10 == 0:
            sys.stderr.write(line + end)
        sys.stderr.flush()


def _seeds(text: str) -> list[int]:
    match = re.fullmatch(r"(\d{1,9})(?:\.\.(\d{1,9}))?", text)
    if match is None:
        raise typer.BadParameter("seeds are written as 1..200")
    first = int(match[1])
    last = int(match[2] or first)
    if last < first:
        raise typer.BadParameter("the last seed comes before the first")
    return list(range(first, last + 1))


def _groups(text: str) -> tuple[Group, ...]:
    if text in ("all", "none"):
        return FAULTS if text == "all" else ()
    names = text.split(",")
    unknown = sorted(set(names) - set(FAULTS))
    if unknown:
        known = ", ".join(FAULTS)
        raise typer.BadParameter(f"no such faults: {', '.join(unknown)}; {known}")
    return tuple(group for group in FAULTS if group in names)


def _plant(name: str) -> type[Builder]:
    if name not in PLANTS:
        raise typer.BadParameter(f"one of: {', '.join(PLANTS)}")
    return PLANTS[name]


def _events(path: Path) -> list[Event]:
    """Read a story, as `--json` prints it for a failing seed.

    Raises:
        typer.BadParameter: it is none.
    """
    try:
        found = parse_json(path.read_bytes(), max_bytes=_MOST_EVENTS_BYTES)
        if not isinstance(found, list):
            raise Misuse("a story is a list of events")
        return [read_event(one) for one in found if isinstance(one, dict)]
    except (OSError, MachikuraError, TypeError) as error:
        raise typer.BadParameter(str(error)) from error


def _replay(scale: Scale, plant: str | None) -> str:
    """Return the command that plays one seed again, but for its number."""
    faults = ",".join(scale.groups) if scale.groups != FAULTS else "all"
    words = (
        f"machikura simulate --cities {scale.cities} --nodes {scale.nodes} "
        f"--seconds {scale.seconds} --faults {faults or 'none'}"
    )
    return words if plant is None else f"{words} --plant {plant}"


def _document(
    scale: Scale, summary: Summary, wall_s: float, replay: str
) -> dict[str, Any]:
    return {
        "cities": scale.cities,
        "nodes": scale.nodes,
        "seconds": scale.seconds,
        "faults": list(scale.groups),
        "seeds": summary.seeds,
        "failed": [
            {**one.document(), "replay": f"{replay} --seed {one.seed}"}
            for one in summary.failures
        ],
        "packets": summary.packets,
        "virtual_s": round(summary.virtual_s, 1),
        "cpu_s": round(summary.cpu_s, 1),
        "wall_s": round(wall_s, 1),
        "memory_mb": round(summary.memory_mb, 1),
        "events": dict(sorted(summary.counts.items())),
        "fingerprints": {str(s): f for s, f in sorted(summary.fingerprints.items())},
    }


def _text(summary: Summary, wall_s: float, replay: str) -> str:
    lines = [_failed(failure, replay) for failure in summary.failures]
    mark = "✗" if summary.failures else "✓"
    events = sum(summary.counts.values())
    lines.append(
        f"{mark} {summary.seeds} seeds, {len(summary.failures)} failed; "
        f"{events:,} events, {summary.packets:,} packets, "
        f"{summary.virtual_s / 3600:.1f} virtual hours in {wall_s:.0f} s "
        f"({summary.cpu_s:.0f} s of processor)"
    )
    return "\n".join(lines)


def _failed(failure: Failure, replay: str) -> str:
    found = failure.violation
    shortest = "the shortest story" if failure.minimal else "a story"
    return "\n".join(
        [
            f"✗ seed {failure.seed}: {found.rule}: {found.detail}",
            f"  at {found.at_ms / 1000:.3f} s; {shortest} that breaks it has "
            f"{len(failure.events)} of {failure.planned} events:",
            *(f"    {line}" for line in map(Event.line, failure.events)),
            "  how they ended:",
            *(f"    {line}" for line in failure.lines),
            f"  replay: {replay} --seed {failure.seed}",
        ]
    )


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("simulate")(simulate)
