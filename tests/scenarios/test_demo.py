# SPDX-License-Identifier: Apache-2.0
"""The main job: `machikura demo --once` plays the whole story with real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODES = {
    "consent-missing",
    "purpose-not-consented",
    "field-outside-purpose",
    "consent-withdrawn",
    "proof-stale",
    "qualification-missing",
    "special-care-no-end",
    "hop-budget-exhausted",
    "agreement-data-class",
}


def play(suite: str, folder: Path) -> dict[str, Any]:
    """Play the demo and return what it wrote for programs."""
    result = folder / "result.json"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "node.cli",
            "demo",
            "--once",
            "--suite",
            suite,
            "--json",
            str(result),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    document: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return document


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("suite", ["hybrid", "strict"])
def test_every_step_of_the_story_comes_out_as_it_must(
    suite: str, tmp_path: Path
) -> None:
    """Seven steps, each refusal with its code, three brokers, bounds kept."""
    told = play(suite, tmp_path)
    assert [step["number"] for step in told["steps"]] == [1, 2, 3, 4, 5, 6, 7]
    assert all(step["good"] and step["lines"] for step in told["steps"])
    assert {line["code"] for line in told["steps"][4]["lines"]} == CODES
    reads = [line for line in told["steps"][2]["lines"] if line["hops"]]
    way = ["yamanami/broker", "minato/broker", "hoshino/broker"]
    assert all(line["hops"] == way for line in reads)
    assert all(finding["allowed"] for finding in told["canaries"])
    assert len(told["peak_memory_kib"]) == 15
    assert told["figures"]["withdrawal_partitioned_ms"] <= 11_000
    assert told["figures"]["first_cross_city_read_s"] > 0
