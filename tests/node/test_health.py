# SPDX-License-Identifier: Apache-2.0
"""Checks: each can fail, says how to mend it, and can turn green again."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from node.database import InlineDatabase
from node.health import (
    Check,
    Checks,
    Severity,
    Trouble,
    database_writable,
    disk_space,
    private_folder,
)
from node.metrics import Metrics
from tests.node.test_metrics import figures

TROUBLE = Trouble("It broke.", "壊れました。", "Mend it.", "直してください。")


async def well() -> Trouble | None:
    """Find nothing."""
    return None


async def ill() -> Trouble | None:
    """Find trouble."""
    return TROUBLE


async def broken() -> Trouble | None:
    """Fail to look."""
    raise RuntimeError("星野花子")


async def silent() -> Trouble | None:
    """Never come back."""
    await asyncio.Event().wait()
    return None


def checks(*probes: tuple[Severity, object]) -> Checks:
    """Return a register with these probes."""
    register = Checks(timeout_s=0.01)
    for number, (severity, probe) in enumerate(probes):
        assert callable(probe)
        register.add(Check(f"check-{number}", severity, probe, "Title", "題"))
    return register


async def test_node_is_ready_when_no_error_is_found() -> None:
    """Warnings are for people, not for the load balancer."""
    register = checks((Severity.ERROR, well), (Severity.WARNING, ill))
    report = await register.run()
    assert report.ready
    assert [f.ok for f in report.findings] == [True, False]
    assert report.findings[1].trouble == TROUBLE


@pytest.mark.parametrize("probe", [ill, broken, silent])
async def test_error_makes_the_node_not_ready(probe: object) -> None:
    """So does a check that fails to run, or never answers."""
    report = await checks((Severity.ERROR, well), (Severity.ERROR, probe)).run()
    assert not report.ready
    trouble = report.findings[1].trouble
    assert trouble is not None
    assert all((trouble.cause_en, trouble.cause_ja, trouble.remedy_en))
    assert "星野花子" not in repr(trouble)


async def test_outcome_is_shown_in_the_figures() -> None:
    """Prometheus alerts from the same register."""
    metrics = Metrics()
    register = checks((Severity.ERROR, well), (Severity.WARNING, ill))
    register.show_in(metrics)
    await register.run()
    found = figures(metrics)
    assert found["machikura_check_ok,check-0,error"] == 1
    assert found["machikura_check_ok,check-1,warning"] == 0


def test_two_checks_of_one_id_are_a_mistake() -> None:
    """Operators and alerts know a check by its id."""
    register = checks((Severity.ERROR, well))
    with pytest.raises(ValueError, match="check-0"):
        register.add(Check("check-0", Severity.ERROR, well, "", ""))


async def test_open_data_folder_is_found_and_the_printed_command_mends_it(
    tmp_path: Path,
) -> None:
    """chmod, as the remedy says."""
    os.chmod(tmp_path, 0o755)  # noqa: PTH101, S103  (blocking is fine here)
    probe = private_folder(tmp_path).probe
    trouble = await probe()
    assert trouble is not None
    _, mode, folder = trouble.remedy_en.split()
    os.chmod(folder, int(mode, 8))  # noqa: PTH101  (blocking is fine here)
    assert await probe() is None


async def test_full_disk_is_found_before_it_is_full(tmp_path: Path) -> None:
    """With the bound as an argument."""
    assert await disk_space(tmp_path, min_free_bytes=1).probe() is None
    trouble = await disk_space(tmp_path, min_free_bytes=2**62).probe()
    assert trouble is not None
    assert "MB are free" in trouble.cause_en


async def test_failed_commit_is_found_until_a_write_succeeds(
    database: InlineDatabase,
) -> None:
    """The check itself tries, so a node without traffic recovers too."""
    probe = database_writable(database, database.counters).probe
    assert await probe() is None
    database.counters.last_failure = "database or disk is full"
    assert await probe() is None
    await database.close()
    database.counters.last_failure = "database or disk is full"
    trouble = await probe()
    assert trouble is not None
    assert "does not take writes" in trouble.cause_en
