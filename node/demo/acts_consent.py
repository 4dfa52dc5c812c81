# SPDX-License-Identifier: Apache-2.0
"""Steps 5 and 6: refusals with cause and remedy, and how fast a withdrawal works."""

from __future__ import annotations

import asyncio

from node.commands.api_client import NodeProblem
from node.demo.acts import CHECKUP, CLINIC, DAY_S, FAR_CLINIC, Read, Stage
from node.demo.cities import CLOCK, MAX_AGE_S
from node.demo.report import Step

SKEW_S = 5


async def refusals(stage: Stage) -> None:
    """Step 5: each refusal with code, cause and remedy."""
    step = stage.report.step("Refusals", "拒否とその理由・対処")
    consent = stage.consents["type"]
    asked = {"consent": consent, "dataset_type": CHECKUP, "purpose": "treatment"}
    await _expect(
        stage,
        step,
        "no consent",
        "consent-missing",
        await stage.read(
            FAR_CLINIC, holder=CLINIC, dataset_type=CHECKUP, purpose="treatment"
        ),
    )
    await _expect(
        stage,
        step,
        "another purpose",
        "purpose-not-consented",
        await stage.read(FAR_CLINIC, **{**asked, "purpose": "research"}),
    )
    await _expect(
        stage,
        step,
        "a field outside the purpose",
        "field-outside-purpose",
        await stage.read(FAR_CLINIC, **asked, fields=["date", "note"]),
    )
    await _withdrawn(stage, step)
    await _unqualified(stage, step)
    await _without_end(stage, step)
    await _expect(
        stage,
        step,
        "hop budget of 2 for a way of 3 brokers",
        "hop-budget-exhausted",
        await stage.read(FAR_CLINIC, **asked, hops=2),
    )
    await _expect(
        stage,
        step,
        "shopping data, which no agreement lets Yamanami ask for",
        "agreement-data-class",
        await stage.read(
            FAR_CLINIC,
            holder="hoshino/market",
            dataset_type="shopping.purchase",
            purpose="nutrition-advice",
        ),
    )
    await _stale(stage, step)


async def _expect(stage: Stage, step: Step, what: str, code: str, read: Read) -> None:
    stage.check(
        step,
        what,
        read.code == code and not read.records,
        code=read.code,
        took_ms=read.took_ms,
        hops=read.hops,
        more=read.explained(),
    )


async def _withdrawn(stage: Stage, step: Step) -> None:
    consent = await stage.consent(FAR_CLINIC)
    await _withdraw(stage, consent)
    await _expect(
        stage,
        step,
        "a withdrawn consent",
        "consent-withdrawn",
        await _until_refused(stage, consent),
    )


async def _unqualified(stage: Stage, step: Step) -> None:
    consent = await stage.consent("yamanami/bosai")
    await _expect(
        stage,
        step,
        "a recipient without the qualification",
        "qualification-missing",
        await stage.read(
            "yamanami/bosai",
            consent=consent,
            dataset_type=CHECKUP,
            purpose="treatment",
        ),
    )


async def _without_end(stage: Stage, step: Step) -> None:
    body = {
        "recipients": [FAR_CLINIC],
        "holders": [CLINIC],
        "scope": [{"dataset_type": CHECKUP}],
        "purposes": ["treatment"],
    }
    try:
        await asyncio.to_thread(stage.me().post, "/v1/me/consents", body)
        document = {}
    except NodeProblem as problem:
        document = problem.document
    await _expect(
        stage,
        step,
        "special-care data without an end date",
        "special-care-no-end",
        Read(document, 0.0),
    )


async def _stale(stage: Stage, step: Step) -> None:
    """Cut the home node off and ask until the freshness proof is too old."""
    consent = await stage.consent(FAR_CLINIC)
    await stage.read(
        FAR_CLINIC, consent=consent, dataset_type=CHECKUP, purpose="treatment"
    )
    if stage.cities.cable is None:
        return
    await stage.cities.cable.cut()
    try:
        refused = await _until_refused(stage, consent)
    finally:
        await stage.cities.cable.plug()
    await _expect(
        stage,
        step,
        "a freshness proof that is too old (home node cut off)",
        "proof-stale",
        refused,
    )
    await stage.cities.ready("hoshino/hall")


async def _withdraw(stage: Stage, consent: str) -> None:
    await asyncio.to_thread(
        stage.me().post, f"/v1/me/consents/{consent}/withdraw", {"obligation": "stop"}
    )


async def _until_refused(stage: Stage, consent: str, limit_s: float = 30) -> Read:
    """Read again and again until the holder refuses."""
    end = CLOCK.monotonic() + limit_s
    while True:
        read = await stage.read(
            FAR_CLINIC, consent=consent, dataset_type=CHECKUP, purpose="treatment"
        )
        if read.code is not None or CLOCK.monotonic() > end:
            return read
        await CLOCK.sleep(0.01)


async def withdrawal(stage: Stage) -> None:
    """Step 6: with pushes, and with the home node cut off."""
    step = stage.report.step("The resident withdraws", "同意の撤回が効くまで")
    consent = await stage.consent(FAR_CLINIC, ends=stage.now() + DAY_S)
    await stage.read(
        FAR_CLINIC, consent=consent, dataset_type=CHECKUP, purpose="treatment"
    )
    started = CLOCK.monotonic()
    await _withdraw(stage, consent)
    refused = await _until_refused(stage, consent)
    took = CLOCK.monotonic() - started
    stage.report.figures["withdrawal_pushed_ms"] = round(1000 * took, 1)
    stage.check(
        step,
        "pushes on: from the withdrawal to the holder's first refusal",
        refused.code == "consent-withdrawn" and took < MAX_AGE_S,
        code=refused.code,
        took_ms=1000 * took,
        hops=refused.hops,
    )
    await _acknowledged(stage, step, consent)
    await _cut_off(stage, step)


async def _cut_off(stage: Stage, step: Step) -> None:
    """The home node loses its network; then the resident withdraws."""
    cable = stage.cities.cable
    if cable is None:
        return
    consent = await stage.consent(FAR_CLINIC, ends=stage.now() + DAY_S)
    await stage.read(
        FAR_CLINIC, consent=consent, dataset_type=CHECKUP, purpose="treatment"
    )
    await cable.cut()
    started = CLOCK.monotonic()
    await _withdraw(stage, consent)
    refused = await _until_refused(stage, consent)
    took = CLOCK.monotonic() - started
    await cable.plug()
    stage.report.figures["withdrawal_partitioned_ms"] = round(1000 * took, 1)
    stage.check(
        step,
        f"home node cut off: refused after {took:.1f} s, bound T + skew = "
        f"{MAX_AGE_S} + {SKEW_S} s (60 + 5 s in real cities)",
        refused.code == "proof-stale" and took <= MAX_AGE_S + SKEW_S,
        code=refused.code,
        took_ms=1000 * took,
        hops=refused.hops,
    )
    await stage.cities.ready("hoshino/hall")
    await _acknowledged(stage, step, consent)


async def _acknowledged(stage: Stage, step: Step, consent: str) -> None:
    """Wait for the signed acknowledgements of everybody who was told."""
    end = CLOCK.monotonic() + 30
    while True:
        state = await asyncio.to_thread(stage.me().get, f"/v1/me/consents/{consent}")
        told = state["told"]
        if all(party["acknowledged"] for party in told) or CLOCK.monotonic() > end:
            break
        await CLOCK.sleep(0.05)
    stage.check(
        step,
        "acknowledged, signed: "
        + ", ".join(f"{party['party']} {party['done']}" for party in told),
        bool(told) and all(party["acknowledged"] for party in told),
    )
