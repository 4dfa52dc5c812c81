# SPDX-License-Identifier: Apache-2.0
"""Consents as people read them in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from node.commands.output import columns, day, moment


def one(consent: dict[str, Any]) -> str:
    """Return one consent, a line for each member."""
    rows = [
        ("id", consent["id"]),
        ("state 状態", f"{consent['state']} (version {consent['version']})"),
        ("recipients 提供先", " ".join(consent["recipients"])),
        ("holders 保有組織", " ".join(consent["holders"])),
        ("types 種別", " ".join(consent["dataset_types"])),
        ("purposes 利用目的", " ".join(consent["purposes"])),
        ("operations 操作", " ".join(consent["operations"])),
        ("ends 期限", moment(consent["ends"])),
        ("holder hidden 匿名", "yes" if consent["hidden_holder"] else "no"),
        ("evidence 証拠", f"{consent['evidence_level']} {consent['evidence_method']}"),
    ]
    return columns(rows, indent="  ")


def changed(document: dict[str, Any]) -> str:
    """Return a consent and who was told of its change."""
    lines = [one(document["consent"])]
    told = document["told"]
    if told:
        done = sum(party["acknowledged"] is not None for party in told)
        lines.append(f"acknowledged 確認済: {done} / {len(told)}")
        rows = [
            (
                "✓" if party["acknowledged"] is not None else "…",
                party["party"],
                party["done"] or "waiting 確認待ち",
                moment(party["acknowledged"]),
            )
            for party in told
        ]
        lines.append(columns(rows, indent="  "))
    return "\n".join(lines)


def mine(consents: Sequence[dict[str, Any]]) -> str:
    """Return a resident's consents, one a line."""
    rows: list[tuple[object, ...]] = [
        ("ID", "STATE", "RECIPIENTS", "HOLDERS", "TYPES", "PURPOSES", "ENDS")
    ]
    for consent in consents:
        members = ("recipients", "holders", "dataset_types", "purposes")
        lists = (" ".join(consent[member]) for member in members)
        rows.append((consent["id"], consent["state"], *lists, day(consent["ends"])))
    return columns(rows)


def received(consents: Sequence[dict[str, Any]]) -> str:
    """Return received consents, one a line; a hidden holder has no name."""
    rows: list[tuple[object, ...]] = [
        ("ID", "STATE", "SUBJECT", "HOME", "PARTIES", "TYPES", "PURPOSES", "ENDS")
    ]
    for consent in consents:
        parties = " ".join(party or "(hidden 匿名)" for party in consent["parties"])
        types, purposes = consent["dataset_types"], consent["purposes"]
        about = consent["subject"], consent["home"], parties
        what = " ".join(types), " ".join(purposes), day(consent["ends"])
        rows.append((consent["id"], consent["state"], *about, *what))
    return columns(rows)
