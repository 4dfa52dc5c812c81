# SPDX-License-Identifier: Apache-2.0
"""What the demo shows and what it hands to programs: steps, checks, hops, times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from node.demo.canaries import Finding


@dataclass
class Line:
    """One thing that happened in a step.

    Attributes:
        text: what, in one line.
        good: it came out as it must.
        took_ms: how long, None where that says nothing.
        hops: brokers that carried it.
        code: problem code, where a refusal was expected.
        more: further lines, such as cause and remedy.
    """

    text: str
    good: bool
    took_ms: float | None = None
    hops: list[str] = field(default_factory=list)
    code: str | None = None
    more: list[str] = field(default_factory=list)


@dataclass
class Step:
    """One chapter of the story."""

    number: int
    title_en: str
    title_ja: str
    lines: list[Line] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Every line came out as it must, and there was one."""
        return bool(self.lines) and all(line.good for line in self.lines)


class Report:
    """Collects and prints."""

    def __init__(self, console: Console) -> None:
        """Print to `console`."""
        self.console = console
        self.steps: list[Step] = []
        self.figures: dict[str, float | int | str] = {}
        self.memory_kib: dict[str, int] = {}
        self.canaries: list[Finding] = []

    @property
    def good(self) -> bool:
        """Every step came out as it must."""
        learned = all(finding.allowed for finding in self.canaries)
        return bool(self.steps) and all(s.good for s in self.steps) and learned

    def note(self, text: str) -> None:
        """Print a line that is no check."""
        self.console.print(f"[dim]{escape(text)}[/dim]", highlight=False)

    def step(self, title_en: str, title_ja: str) -> Step:
        """Begin a step."""
        step = Step(len(self.steps) + 1, title_en, title_ja)
        self.steps.append(step)
        title = f"\n[bold]{step.number}. {escape(title_en)}[/bold]  {escape(title_ja)}"
        self.console.print(title, highlight=False)
        return step

    def line(self, step: Step, line: Line) -> Line:
        """Add a line to a step and print it."""
        step.lines.append(line)
        mark = "[green]✓[/green]" if line.good else "[red]✗[/red]"
        took = "" if line.took_ms is None else f"  [cyan]{line.took_ms:.1f} ms[/cyan]"
        code = "" if line.code is None else f"  [yellow]{line.code}[/yellow]"
        text = f"  {mark} {escape(line.text)}{code}{took}"
        self.console.print(text, highlight=False)
        if line.hops:
            way = " → ".join(line.hops)
            self.console.print(f"      [dim]via {escape(way)}[/dim]", highlight=False)
        for more in line.more:
            self.console.print(f"      [dim]{escape(more)}[/dim]", highlight=False)
        return line

    def table_of_learning(self, names: Sequence[str]) -> None:
        """Print who learned what.

        Args:
            names: canaries in order; the findings hold the rest.
        """
        table = Table(title="Who learned what  誰が何を知ったか", title_justify="left")
        table.add_column("party", no_wrap=True)
        for name in names:
            table.add_column(name.replace(" ", "\n"), justify="center")
        nodes = list(dict.fromkeys(f.node for f in self.canaries))
        found = {(f.node, f.canary): f for f in self.canaries}
        for node in nodes:
            table.add_row(node, *(_cell(found[node, name]) for name in names))
        self.console.print(table)
        self.note("R received in clear, S stored in clear, L logged; · nothing")

    def as_json(self) -> dict[str, Any]:
        """Return the whole result for programs."""
        return {
            "good": self.good,
            "steps": [{**asdict(s), "good": s.good} for s in self.steps],
            "figures": self.figures,
            "peak_memory_kib": self.memory_kib,
            "canaries": [asdict(f) for f in self.canaries],
        }


def _cell(finding: Finding) -> str:
    letters = "".join(
        letter
        for letter, found in (
            ("R", finding.received),
            ("S", finding.stored),
            ("L", finding.logged),
        )
        if found
    )
    if not letters:
        return "[dim]·[/dim]"
    return letters if finding.allowed else f"[red]{letters} !![/red]"
