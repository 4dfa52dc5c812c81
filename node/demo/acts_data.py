# SPDX-License-Identifier: Apache-2.0
"""Steps 1 to 4: fill, locate, read across three brokers, read with a hidden holder."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from identity.totp import code_at
from node.demo.acts import (
    CHECKUP,
    CLINIC,
    FAR_CLINIC,
    FAR_HOSPITAL,
    HALL,
    Stage,
)
from node.demo.cities import CLOCK
from node.demo.report import Step
from protocol.canonical import unb64url

_INSTALLED = Path(__file__).resolve().parent / "example-cities"
_CHECKOUT = Path(__file__).resolve().parents[2] / "deploy" / "example-cities"
DATA = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT

FILES = (
    ("hoshino/clinic", "checkups.json", "fhir"),
    ("hoshino/pharmacy", "dispensing.json", "fhir"),
    ("hoshino/market", "purchases.csv", "csv"),
    ("hoshino/market", "points.csv", "csv"),
    ("hoshino/transit", "trips.ndjson", "ndjson"),
    ("minato/nursery", "attendance.csv", "csv"),
    ("minato/nursery", "development.csv", "csv"),
    ("minato/energy", "usage.csv", "csv"),
    ("yamanami/clinic", "records.json", "fhir"),
    ("yamanami/bosai", "evacuee-support.csv", "csv"),
    ("yamanami/bosai", "evacuation-sites.csv", "csv"),
)

HANAKO = (
    ("hoshino/clinic", "H-0001"),
    ("hoshino/pharmacy", "P-1001"),
    ("hoshino/market", "M-20001"),
    ("hoshino/transit", "IC-700001"),
    ("minato/energy", "E-880001"),
    ("yamanami/clinic", "Y-0003"),
    ("yamanami/hospital", "YH-1"),
    ("yamanami/bosai", "B-900"),
)
"""The resident of the story, by each organization's own number."""

HANAKO_PASSWORD = "tsuki-ga-kirei-desu-ne"  # lives for one demo only


async def fill_vaults(stage: Stage) -> None:
    """Step 1: import files, register the resident, link the holders."""
    step = stage.report.step(
        "Vaults are filled, a resident is linked", "データの取り込みと本人の連携"
    )
    taking_part = stage.cities.nodes
    for node, name, form in FILES:
        if node in taking_part:
            await _import(stage, step, node, name, form)
    await asyncio.to_thread(
        stage.api(CLINIC).post,
        "/v1/records",
        {
            "dataset_type": CHECKUP,
            "subject": "H-0001",
            "content": {
                "date": "2026-10-01",
                "facility_name": "星野クリニック",
                "systolic_mmhg": 118,
                "diastolic_mmhg": 74,
                "hba1c_percent": 5.4,
                "doctor_comment": stage.plant("record content"),
                "note": "internal note of the clinic",
            },
        },
    )
    await _register(stage, step)
    for holder, number in HANAKO:
        if holder in taking_part:
            await _link(stage, step, holder, number)


async def _import(stage: Stage, step: Step, node: str, name: str, form: str) -> None:
    data = (DATA / node / name).read_bytes()
    started = CLOCK.monotonic()
    report = await asyncio.to_thread(
        stage.api(node).upload, "/v1/import", data, {"format": form}
    )
    took = 1000 * (CLOCK.monotonic() - started)
    problems = [p for p in report["problems"] if p["level"] != "notice"]
    good = report["stored"] > 0 and report["refused"] > 0
    types = ", ".join(f"{count} {kind}" for kind, count in report["by_type"].items())
    stage.check(
        step,
        f"{node} ← {name}: stored {types}; refused {report['refused']} of "
        f"{report['rows']}",
        good,
        took_ms=took,
        more=[
            f"row {p['row']}: {p['code']} {p['field'] or ''} {p['detail_en']}"
            for p in problems[:2]
        ],
    )


async def _register(stage: Stage, step: Step) -> None:
    """The city hall registers 花子; she signs in with password and one-time code."""
    hall = stage.api(HALL)
    name = f"山田花子 {stage.plant('resident name')}"
    account = await asyncio.to_thread(
        hall.post,
        "/v1/residents",
        {"login": "hanako", "password": HANAKO_PASSWORD, "name": name},
    )
    stage.account = account["account"]
    secret = stage.totp = unb64url(account["totp_secret"])
    now = stage.now()
    await asyncio.to_thread(
        hall.post,
        f"/v1/residents/{stage.account}/second-factor",
        {"code": code_at(secret, now - 30)},
    )
    session = await asyncio.to_thread(
        hall.post,
        "/v1/sessions",
        {"login": "hanako", "password": HANAKO_PASSWORD, "code": code_at(secret, now)},
    )
    stage.session = session["token"]
    stage.check(
        step,
        f"山田花子 registered at {HALL}, signed in by {session['method']} "
        f"(evidence level {session['level']})",
        session["level"] == 2,
    )


async def _link(stage: Stage, step: Step, holder: str, number: str) -> None:
    started = CLOCK.monotonic()
    code = await asyncio.to_thread(
        stage.me().post, "/v1/me/link-codes", {"holder": holder}
    )
    linked = await asyncio.to_thread(
        stage.api(holder).post,
        "/v1/links",
        {"home": HALL, "code": code["code"], "subject": number},
    )
    stage.check(
        step,
        f"linked {holder} ({number}) by one-time code; registers "
        f"{len(linked['dataset_types'])} dataset types in its city's directory",
        linked["home"] == HALL,
        took_ms=1000 * (CLOCK.monotonic() - started),
    )


async def where_is_my_data(stage: Stage) -> None:
    """Step 2: the resident asks all cities."""
    step = stage.report.step("Where is my data?", "私のデータはどこにあるか")
    found = await _located(stage)
    for holding in found["holdings"]:
        shared = len(holding["sharing"])
        stage.check(
            step,
            f"{holding['city']}: {holding['holder']} holds {holding['count']} "
            f"{holding['dataset_type']}, shared under {shared} consents",
            holding["count"] > 0,
        )
    for party in found["asked"]:
        stage.check(
            step,
            f"asked {party['kind']} {party['party']}: {party['status']} "
            f"{party['code']}",
            party["status"] == "answer",
            took_ms=party["took_ms"],
            hops=party["hops"],
        )
    holders = {h["holder"] for h in found["holdings"]}
    asked = {p["party"] for p in found["asked"]}
    stage.check(
        step,
        f"{len(holders)} holders in {len({h['city'] for h in found['holdings']})} "
        f"cities; every party asked is listed",
        len(holders) >= 6 and {n for n, _ in HANAKO} <= asked,
    )


async def _located(stage: Stage) -> dict[str, Any]:
    """Ask until all registrations have reached the directories."""
    end = CLOCK.monotonic() + 20
    while True:
        found: dict[str, Any] = await asyncio.to_thread(
            stage.me().get, "/v1/me/locations"
        )
        if len(found["holdings"]) >= 10 or CLOCK.monotonic() > end:
            return found
        await CLOCK.sleep(0.1)


async def read_with_consent(stage: Stage) -> None:
    """Step 3: by dataset type, then one single record."""
    step = stage.report.step(
        "A clinic in another city reads with consent",
        "他都市の診療所が同意のもとに参照",
    )
    consent = stage.consents["type"] = await stage.consent(FAR_CLINIC)
    stage.canaries["consent id"] = consent
    outcome = await stage.read(
        FAR_CLINIC, consent=consent, dataset_type=CHECKUP, purpose="treatment"
    )
    since = CLOCK.monotonic() - stage.started
    stage.report.figures["first_cross_city_read_s"] = round(since, 1)
    text = str(outcome.document)
    cut = outcome.first.get("cut", {})
    stage.check(
        step,
        f"{FAR_CLINIC} reads {len(outcome.records)} {CHECKUP} of {CLINIC}, consent per "
        "dataset type",
        len(outcome.records) > 1 and stage.canaries["record content"] in text,
        took_ms=outcome.took_ms,
        hops=outcome.hops,
        more=[f"cut by {clause}: {', '.join(names)}" for clause, names in cut.items()],
    )
    stage.check(
        step,
        "three brokers carried it; the field `note` stayed with the holder",
        len(outcome.hops) == 3 and "internal note" not in text,
    )
    stage.records = [record["id"] for record in outcome.records]
    one = stage.records[-1]
    single = stage.consents["record"] = await stage.consent(
        FAR_CLINIC, scope=[{"dataset_type": CHECKUP, "records": [one]}]
    )
    outcome = await stage.read(
        FAR_CLINIC, consent=single, dataset_type=CHECKUP, purpose="treatment"
    )
    stage.check(
        step,
        f"consent per record: exactly {one.rpartition(':')[2]} is released",
        [record["id"] for record in outcome.records] == [one],
        took_ms=outcome.took_ms,
        hops=outcome.hops,
    )
    other = await stage.read(
        FAR_CLINIC,
        consent=single,
        dataset_type=CHECKUP,
        purpose="treatment",
        records=stage.records[:1],
    )
    stage.check(
        step,
        "another record under that consent is refused",
        other.code == "consent-record",
        code=other.code,
        took_ms=other.took_ms,
    )


async def read_hidden(stage: Stage) -> None:
    """Step 4: the same read, and the requester cannot tell who held the data."""
    step = stage.report.step(
        "The same read with the holder hidden", "保有組織を秘匿した参照(要件7)"
    )
    consent = stage.consents["hidden"] = await stage.consent(
        FAR_HOSPITAL, hidden_holder=True
    )
    outcome = await stage.read(
        FAR_HOSPITAL, consent=consent, dataset_type=CHECKUP, purpose="treatment"
    )
    first, text = outcome.first, str(outcome.document)
    stage.check(
        step,
        f"{FAR_HOSPITAL} reads {len(outcome.records)} {CHECKUP}; proven signer: "
        f"a member of {first.get('by')}",
        len(outcome.records) > 1
        and first.get("by") == "hoshino"
        and first.get("holder") is None,
        took_ms=outcome.took_ms,
        hops=outcome.hops,
        more=[f"cut for hiding: {', '.join(first.get('cut', {}).get('holder', []))}"],
    )
    stage.check(
        step,
        "neither the answer nor its record ids name the clinic",
        CLINIC not in text and ":clinic:" not in text and "星野クリニック" not in text,
    )
