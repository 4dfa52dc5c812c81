# SPDX-License-Identifier: Apache-2.0
"""The report as tables."""

from __future__ import annotations

from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench import phases

Report = dict[str, Any]


def show(report: Report, console: Console) -> None:
    """Print every figure beside its yardstick and its goal."""
    for reads in report["reads"]:
        console.print(_reads(reads))
        console.print(_cpu(reads))
    console.print(_phases(report["phases_us"]))
    console.print(_nodes(report))
    console.print(_starts(report))


def _reads(reads: Report) -> Table:
    one = reads["in_flight"] == 1
    goal = "latency at most 1.5" if one else "throughput at least 1"
    table = _table(f"Federated read, {reads['in_flight']} in flight (goal: {goal})")
    for column in ("", "reads/s", "median ms", "p99 ms", "CPU of the four"):
        table.add_column(column, justify="right" if column else "left")
    for name, key in (("ours", "ours"), ("bare chain", "yardstick")):
        side = reads[key]
        table.add_row(
            name,
            f"{side['per_s']:.0f}",
            f"{side['median_ms']:.2f}",
            f"{side['p99_ms']:.2f}",
            f"{sum(_parties(side).values()):.0f} us",
        )
    table.add_row(
        "ratio",
        f"{reads['throughput_ratio']:.2f}",
        f"{reads['latency_ratio']:.2f}",
        "",
        f"{reads['cpu_ratio']:.2f}",
        style="bold",
    )
    return table


def _parties(side: Report) -> dict[str, float]:
    return {who: us for who, us in side["cpu_us"].items() if who != "client"}


def _cpu(reads: Report) -> Table:
    table = _table(f"CPU per read by process, us, {reads['in_flight']} in flight")
    for column in ("ours", "us", "bare chain", "us"):
        table.add_column(column, justify="right" if column == "us" else "left")
    both = (reads[side]["cpu_us"].items() for side in ("ours", "yardstick"))
    for (party, us), (hop, yardstick_us) in zip(*both, strict=True):
        table.add_row(party, f"{us:.0f}", hop, f"{yardstick_us:.0f}")
    return table


def _phases(measured: dict[str, dict[str, float]]) -> Table:
    table = _table(
        "CPU per read by phase, us: parties in one process, without links and HTTP"
    )
    table.add_column("")
    for name in (*phases.NAMES, "sum"):
        table.add_column(name, justify="right")
    for party, spent in measured.items():
        sums = [*(spent[name] for name in phases.NAMES), sum(spent.values())]
        table.add_row(party, *(f"{us:.0f}" for us in sums))
    table.add_section()
    for role, model in phases.COST_MODEL.items():
        us = [model.get(name, 0) for name in phases.NAMES]
        table.add_row(f"model: {role}", *(f"{u:.0f}" for u in (*us, sum(us))))
    return table


def _nodes(report: Report) -> Table:
    table = _table("Memory of a node, MiB (goal: idle at most 120 MB = 114 MiB)")
    for column in ("node", "idle", "highest"):
        table.add_column(column, justify="left" if column == "node" else "right")
    for node, idle in report["idle_mib"].items():
        table.add_row(node, f"{idle:.0f}", f"{report['peak_mib'][node]:.0f}")
    return table


def _starts(report: Report) -> Table:
    start = report["start_s"]
    table = _table("Start of a node, seconds, medians (goal: 2)")
    for column in ("", "measured"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("from its process to ready", f"{median(start['node']):.2f}")
    table.add_row("  the libraries alone", f"{median(start['interpreter']):.2f}")
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold")
