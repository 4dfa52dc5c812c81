# SPDX-License-Identifier: Apache-2.0
"""The story of the demo: one resident's data, located and read with consent.

Seven steps, each shown as it happens with who asked whom, through which brokers, in how
many milliseconds. Every line is a check: the demo exits 0 only if all come out as they
must.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from identity.totp import code_at
from node.demo.acts import HALL, Stage
from node.demo.acts_consent import refusals, withdrawal
from node.demo.acts_data import (
    HANAKO_PASSWORD,
    fill_vaults,
    read_hidden,
    read_with_consent,
    where_is_my_data,
)
from node.demo.cities import CLOCK, EPOCH_S, MAX_AGE_S, Cities
from node.demo.learned import who_learned_what
from node.demo.report import Report
from protocol.suites import Suite


def main(
    *, once: bool, json_file: Path | None, suite: Suite, folder: Path | None
) -> int:
    """Play the demo.

    Args:
        once: end after the story; without a terminal this is always so.
        json_file: write the whole result there.
        suite: algorithms of all cities.
        folder: where the cities keep their data; None takes a temporary one.

    Returns:
        Exit status: 0 if every step came out as it must.
    """
    console = Console()
    report = Report(console)
    started = CLOCK.monotonic()
    place = folder or Path(tempfile.mkdtemp(prefix="machikura-"))
    cities = Cities(place, suite)
    console.print(
        "[bold]Machikura 街蔵[/bold]  three cities, every node a process of its own\n"
        f"[dim]data in {place}; suite {suite}; freshness bound T = {MAX_AGE_S} s, "
        f"epoch {EPOCH_S} s (real cities: 60 s and 20 s)[/dim]",
        highlight=False,
    )
    cities.found()
    stay = not once and console.is_terminal
    try:
        asyncio.run(_play(cities, report, started, stay))
    except KeyboardInterrupt:
        report.note("stopped")
    finally:
        report.figures["total_s"] = round(CLOCK.monotonic() - started, 1)
        if json_file is not None:
            text = json.dumps(report.as_json(), ensure_ascii=False, indent=2)
            json_file.write_text(text + "\n", encoding="utf-8")
        if folder is None:
            shutil.rmtree(place, ignore_errors=True)
    console.print(
        "\n[bold green]Every step came out as it must.[/bold green]"
        if report.good
        else "\n[bold red]Something did not come out as it must.[/bold red]"
    )
    return 0 if report.good else 1


async def _play(cities: Cities, report: Report, started: float, stay: bool) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    try:
        report.note("starting 3 brokers, 3 city halls and 9 vault nodes …")
        await cities.start()
        ready_s = CLOCK.monotonic() - started
        report.figures["ready_s"] = round(ready_s, 1)
        report.note(f"all {len(cities.nodes)} nodes are ready after {ready_s:.1f} s")
        stage = Stage(cities, report, started)
        for act in (
            fill_vaults,
            where_is_my_data,
            read_with_consent,
            read_hidden,
            refusals,
            withdrawal,
        ):
            await act(stage)
        who_learned_what(stage)
        for name, node in cities.nodes.items():
            report.memory_kib[name] = node.sample_memory()
        peak = max(report.memory_kib.values()) // 1024
        report.note(f"largest peak memory of a process: {peak} MB")
        if stay:
            await _stay(stage, report, stop)
    finally:
        await cities.stop()


async def _stay(stage: Stage, report: Report, stop: asyncio.Event) -> None:
    """Keep the cities up until Ctrl-C, with the addresses to try."""
    cities = stage.cities
    report.console.print("\n[bold]The cities stay up until Ctrl-C.[/bold] Try:")
    for name, settings in cities.settings.items():
        url = f"http://127.0.0.1:{settings.api.port}"
        report.console.print(
            f"  {name:18} {url}/openapi.json  {url}/metrics", highlight=False
        )
    hall = cities.settings["hoshino/hall"].data_dir / "node.toml"
    report.console.print(f"  machikura status --config {hall}", highlight=False)
    portal = f"http://127.0.0.1:{cities.settings[HALL].api.port}/portal"
    report.console.print(
        f"\n[bold]The resident's pages:[/bold] {portal}\n"
        f"  login name hanako, password {HANAKO_PASSWORD}, and the code below",
        highlight=False,
    )
    with report.console.status("") as line:
        while not stop.is_set():
            line.update(f"code now: {code_at(stage.totp, stage.now())}")
            with suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await stop.wait()
