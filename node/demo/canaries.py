# SPDX-License-Identifier: Apache-2.0
"""Who learned what: searches everything a process received, stored and logged.

Canary strings are planted in a record, an identity, a consent and the pseudonyms that
name the resident. Each process keeps, beside its database and its log, every byte that
it received (setting `capture`). The table says where each canary was found; DESIGN
section 2 says where it may be.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

PLACES = ("received", "stored", "logged")
_ENCODED = re.compile(rb"[A-Za-z0-9_-]{24,}")


@dataclass(frozen=True)
class Canary:
    """A planted string.

    Attributes:
        name: what it stands for, such as `record content`.
        text: the string.
        may_receive: nodes that may have received it in clear.
        may_store: nodes that may have stored it in clear; usually nobody.
        may_log: nodes that may have logged it; node names only.
    """

    name: str
    text: str
    may_receive: frozenset[str]
    may_store: frozenset[str] = frozenset()
    may_log: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Finding:
    """Where one canary was found at one node."""

    node: str
    canary: str
    received: bool
    stored: bool
    logged: bool
    allowed: bool


def spellings(text: str) -> list[bytes]:
    """Return the forms in which a string may hide: plain, JSON-escaped, base64."""
    raw = text.encode("utf-8")
    forms = {raw, text.encode("unicode_escape"), raw.hex().encode()}
    for shift in range(3):
        padded = base64.b64encode(b"\0" * shift + raw)
        # Cut what depends on the neighbors: the first and last incomplete groups.
        core = padded[4 if shift else 0 : len(padded) - 4].rstrip(b"=")
        forms |= {core, core.translate(bytes.maketrans(b"+/", b"-_"))}
    return [form for form in forms if len(form) >= 8]


def unfolded(data: bytes, depth: int = 4) -> bytes:
    """Return bytes with everything that stands in them in base64url, decoded.

    Signed documents stand in signed documents: a membership in an announcement in a
    bundle. Each layer would hide a canary from a search of the bytes alone.
    """
    layers = [data]
    for _ in range(depth):
        inner = [_decoded(run) for run in set(_ENCODED.findall(layers[-1]))]
        if not inner:
            break
        layers.append(b"\n".join(inner))
    return b"\n".join(layers)


def _decoded(run: bytes) -> bytes:
    return base64.urlsafe_b64decode(run[: len(run) - (len(run) % 4 == 1)] + b"==")


def search(
    files: Mapping[str, Mapping[str, Iterable[Path]]], canaries: Iterable[Canary]
) -> list[Finding]:
    """Search every node's files.

    Args:
        files: node to place (`received`, `stored`, `logged`) to files.
        canaries: what to look for.
    """
    wanted = [(canary, spellings(canary.text)) for canary in canaries]
    findings = []
    for node, places in files.items():
        seen: dict[str, set[str]] = {}
        for place, paths in places.items():
            for path in paths:
                content = unfolded(path.read_bytes()) if path.is_file() else b""
                for canary, forms in wanted:
                    if any(form in content for form in forms):
                        seen.setdefault(canary.name, set()).add(place)
        for canary, _ in wanted:
            found = seen.get(canary.name, set())
            bad = (
                ("received" in found and node not in canary.may_receive)
                or ("stored" in found and node not in canary.may_store)
                or ("logged" in found and node not in canary.may_log)
            )
            findings.append(
                Finding(
                    node,
                    canary.name,
                    "received" in found,
                    "stored" in found,
                    "logged" in found,
                    not bad,
                )
            )
    return findings
