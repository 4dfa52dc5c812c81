# SPDX-License-Identifier: Apache-2.0
"""Any process of the running cities is killed and started again: nothing is lost."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest
from rich.console import Console

from node.commands.api_client import NodeProblem
from node.demo.acts import CHECKUP, CLINIC, FAR_CLINIC, HALL, Read, Stage
from node.demo.acts_data import fill_vaults
from node.demo.cities import CLOCK, Cities
from node.demo.report import Report
from protocol.suites import Suite

ROLES = (
    "yamanami/broker",
    "minato/broker",
    "hoshino/broker",
    "hoshino/clinic",
    "yamanami/clinic",
    "hoshino/hall",
)


async def until_read(stage: Stage, consent: str, seconds: float = 60) -> Read:
    """Read again and again, as an application would, until it succeeds."""
    end = CLOCK.monotonic() + seconds
    while True:
        read = await stage.read(
            FAR_CLINIC, consent=consent, dataset_type=CHECKUP, purpose="treatment"
        )
        if read.code is None or CLOCK.monotonic() > end:
            return read
        await CLOCK.sleep(0.1)


async def until_withdrawn(stage: Stage, consent: str, seconds: float = 60) -> bool:
    """Wait until everybody has acknowledged a withdrawal."""
    end = CLOCK.monotonic() + seconds
    while CLOCK.monotonic() < end:
        state = await asyncio.to_thread(stage.me().get, f"/v1/me/consents/{consent}")
        if all(party["acknowledged"] for party in state["told"]):
            return True
        await CLOCK.sleep(0.1)
    return False


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_killed_process_comes_back_without_loss_and_without_an_operator() -> (
    None
):
    """Kill -9 of each role in turn; consents, links, records and messages survive."""
    cities = Cities(Path(tempfile.mkdtemp(prefix="mk")), Suite.HYBRID)
    await asyncio.to_thread(cities.found)
    report = Report(Console(quiet=True))
    stage = Stage(cities, report, CLOCK.monotonic())
    try:
        await cities.start()
        await fill_vaults(stage)
        assert report.steps[0].good
        consent = await stage.consent(FAR_CLINIC)
        before = await until_read(stage, consent)
        assert len(before.records) > 1
        for role in ROLES:
            node = cities.nodes[role]
            await node.kill()
            await node.start()
            await cities.ready(role)
            after = await until_read(stage, consent)
            assert after.code is None, (role, after.document)
            assert after.records == before.records, role
        await _withdrawal_survives(stage, cities, consent)
    finally:
        await cities.stop()
        shutil.rmtree(cities.folder, ignore_errors=True)


async def _withdrawal_survives(stage: Stage, cities: Cities, consent: str) -> None:
    """A withdrawal while the holder is dead reaches it when it is back."""
    clinic = cities.nodes[CLINIC]
    await clinic.kill()
    await asyncio.to_thread(
        stage.me().post, f"/v1/me/consents/{consent}/withdraw", {"obligation": "stop"}
    )
    # The home node dies too, with the message still in its outbox.
    await cities.nodes[HALL].kill()
    await cities.nodes[HALL].start()
    await cities.ready(HALL)
    await clinic.start()
    await cities.ready(CLINIC)
    assert await until_withdrawn(stage, consent)
    with pytest.raises(NodeProblem, match=r".*") as refused:
        await asyncio.to_thread(
            stage.api(FAR_CLINIC).post,
            "/v1/exchanges/read",
            {"consent": consent, "dataset_type": CHECKUP, "purpose": "treatment"},
        )
    assert refused.value.document["code"] == "consent-withdrawn"
