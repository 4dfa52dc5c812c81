# SPDX-License-Identifier: Apache-2.0
"""One register of checks for `/readyz`, `machikura doctor` and the figures.

    checks.add(Check("disk-space", Severity.ERROR, disk_space(data_dir, …)))
    report = await checks.run()

A check says what is wrong, why, and how to mend it, in both languages. An `error` makes
the node not ready; a `warning` does not. Checks read; they never change anything.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from prometheus_client import Gauge
from sqlalchemy import text

from node.database import Database, WriteCounters
from node.metrics import Metrics

_log = logging.getLogger(__name__)


class Severity(StrEnum):
    """What it means if a check fails."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Trouble:
    """Why a check failed and what to do.

    Attributes:
        cause_en, cause_ja: what was found.
        remedy_en, remedy_ja: what mends it; a command where there is one.
    """

    cause_en: str
    cause_ja: str
    remedy_en: str
    remedy_ja: str


Probe: TypeAlias = Callable[[], Awaitable[Trouble | None]]


@dataclass(frozen=True)
class Check:
    """One thing that can be wrong with a node.

    Attributes:
        id: stable, kebab-case.
        severity: what it means if it fails.
        probe: returns the trouble, or None if all is well.
        title_en, title_ja: what is checked.
    """

    id: str
    severity: Severity
    probe: Probe
    title_en: str
    title_ja: str


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    check: Check
    trouble: Trouble | None

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return self.trouble is None


@dataclass(frozen=True)
class Report:
    """The outcome of all checks."""

    findings: tuple[Finding, ...]

    @property
    def ready(self) -> bool:
        """Whether no check of severity `error` failed."""
        return all(f.ok or f.check.severity is Severity.WARNING for f in self.findings)


class Checks:
    """The register."""

    def __init__(self, *, timeout_s: float = 5.0) -> None:
        self._timeout_s = timeout_s
        self._checks: dict[str, Check] = {}
        self._gauge: Gauge | None = None

    def add(self, check: Check) -> None:
        """Register a check; its id must be new."""
        if check.id in self._checks:
            raise ValueError(f"there is a check {check.id} already")
        self._checks[check.id] = check

    def show_in(self, metrics: Metrics) -> None:
        """Set a figure for each check, 1 for well, whenever the checks run."""
        self._gauge = metrics.labeled_gauge(
            "check_ok", "1 if the check passed.", ("check", "severity")
        )

    async def run(self) -> Report:
        """Run all checks at the same time; a silent or broken one has failed."""
        checks = self._checks.values()
        found = await asyncio.gather(*(self._run(check) for check in checks))
        if self._gauge is not None:
            for finding in found:
                labels = finding.check.id, str(finding.check.severity)
                self._gauge.labels(*labels).set(finding.ok)
        return Report(tuple(found))

    async def _run(self, check: Check) -> Finding:
        try:
            async with asyncio.timeout(self._timeout_s):
                return Finding(check, await check.probe())
        except TimeoutError:
            return Finding(check, _unknown("did not answer", "応答しません"))
        except Exception as error:  # a broken check must not hide the others
            _log.warning("the check %s failed to run", check.id, exc_info=error)
            return Finding(check, _unknown("failed to run", "実行できません"))


def _unknown(english: str, japanese: str) -> Trouble:
    return Trouble(
        f"The check itself {english}.",
        f"検査自体が{japanese}。",
        "See the node's log.",
        "ノードのログを確認してください。",
    )


def disk_space(folder: Path, *, min_free_bytes: int = 500_000_000) -> Check:
    """Fail before the disk is full: a full disk refuses every release."""

    async def probe() -> Trouble | None:
        free = shutil.disk_usage(folder).free
        if free >= min_free_bytes:
            return None
        return Trouble(
            f"Only {free // 1_000_000} MB are free in the data folder.",
            f"データフォルダの空きが {free // 1_000_000} MB しかありません。",
            "Free some space or move data_dir to a larger disk.",
            "空きを増やすか、data_dir を大きなディスクへ移してください。",
        )

    return Check(
        "disk-space", Severity.ERROR, probe, "Free disk space", "ディスクの空き"
    )


def private_folder(folder: Path) -> Check:
    """Fail where others on the machine can look into the data folder."""

    def look() -> Trouble | None:
        mode = stat.S_IMODE(folder.stat().st_mode)
        if os.name != "posix" or not mode & 0o077:
            return None
        return Trouble(
            f"The data folder has mode {mode:04o}.",
            f"データフォルダの権限が {mode:04o} です。",
            f"chmod 700 {folder}",
            f"chmod 700 {folder}",
        )

    async def probe() -> Trouble | None:
        return look()

    return Check(
        "data-folder-private",
        Severity.ERROR,
        probe,
        "Only we can read the data folder",
        "データフォルダは本人のみ読める",
    )


def database_writable(database: Database, counters: WriteCounters) -> Check:
    """Fail where the last commit failed; an empty write tells whether it is over."""

    async def probe() -> Trouble | None:
        if counters.last_failure:
            try:
                await database.write(lambda c: c.execute(text("SELECT 1")).scalar())
            except Exception as error:  # whatever it is, the next line reports it
                _log.debug("the empty write failed", exc_info=error)
        if not counters.last_failure:
            return None
        return Trouble(
            f"The database does not take writes: {counters.last_failure}.",
            f"データベースに書き込めません({counters.last_failure})。",
            "Check the disk; the node goes on by itself once it has space.",
            "ディスクを確認してください。空きができれば自動で再開します。",
        )

    return Check(
        "database-writable",
        Severity.ERROR,
        probe,
        "The database takes writes",
        "データベースに書き込める",
    )
