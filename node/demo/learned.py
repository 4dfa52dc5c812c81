# SPDX-License-Identifier: Apache-2.0
"""Step 7: the table of who learned what, as DESIGN section 2 promises it."""

from __future__ import annotations

import re

from node.demo.acts import CLINIC, FAR_CLINIC, FAR_HOSPITAL, HALL, Stage
from node.demo.canaries import Canary, search

DIRECTORY = "hoshino/broker"
_HANDLE = re.compile(rb'"handle":"([A-Za-z0-9_-]{43})"')
_LOCATOR = re.compile(rb'"locator":"([A-Za-z0-9_-]{43})"')


def who_learned_what(stage: Stage) -> None:
    """Search everything that each process received, stored and logged."""
    step = stage.report.step("Who learned what", "誰が何を知ったか")
    _find_pseudonyms(stage)
    canaries = _allowed(stage)
    findings = search(stage.cities.files(), canaries)
    stage.report.canaries = findings
    stage.report.table_of_learning([canary.name for canary in canaries])
    stage.check(
        step,
        "nobody holds a canary that DESIGN section 2 denies them",
        all(finding.allowed for finding in findings),
    )
    missing = [
        canary.name
        for canary in canaries
        if not any(f.received for f in findings if f.canary == canary.name)
    ]
    stage.check(
        step,
        "each canary was found where it may be, so the search does see",
        not missing,
        more=[f"not found anywhere: {name}" for name in missing],
    )


def _find_pseudonyms(stage: Stage) -> None:
    """Take handle and locator from where they may be: clinic and directory."""
    clinic = stage.cities.nodes[CLINIC].directory / "capture" / "received.bin"
    handle = _HANDLE.search(clinic.read_bytes())
    directory = stage.cities.nodes[DIRECTORY].directory / "capture" / "received.bin"
    locator = _LOCATOR.search(directory.read_bytes())
    if handle is not None:
        stage.canaries["handle"] = handle.group(1).decode()
    if locator is not None:
        stage.canaries["locator"] = locator.group(1).decode()


def _allowed(stage: Stage) -> list[Canary]:
    """Return the canaries with those who may hold them."""
    text = stage.canaries
    hoshino = frozenset(
        node for node in stage.cities.nodes if node.startswith("hoshino/")
    )
    holders = hoshino - {HALL, DIRECTORY}
    # These got a consent that names the clinic openly; the hospital did not.
    told = hoshino | {FAR_CLINIC, "yamanami/bosai"}
    return [
        Canary(
            "record content",
            text["record content"],
            frozenset({CLINIC, FAR_CLINIC, FAR_HOSPITAL}),
        ),
        Canary("resident name", text["resident name"], frozenset({HALL})),
        Canary("handle", text.get("handle", "-"), frozenset({CLINIC, HALL})),
        Canary(
            "locator",
            text.get("locator", "-"),
            frozenset({DIRECTORY, HALL}) | holders,
        ),
        Canary(
            "consent id",
            text["consent id"],
            frozenset({HALL, CLINIC, FAR_CLINIC}),
            frozenset({HALL}),
        ),
        Canary("holder name", CLINIC, told, told, told),
    ]
