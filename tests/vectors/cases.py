# SPDX-License-Identifier: Apache-2.0
"""What the vector files are made of: a name, an input, a result or a failure."""

from typing import Any

from protocol.sealed import OpeningKey

KEYS_ABOUT = (
    " Opening keys are given as suite and seed (hex, 96 bytes). hybrid: bytes 0-63 are"
    " the ML-KEM-768 seed (d, z), 64-95 the X25519 private key. strict: bytes 0-47 as a"
    " big-endian number, modulo the P-256 order minus 1, plus 1, are the private key."
)
Case = dict[str, Any]


def passes(name: str, given: Case, result: object) -> Case:
    """Return a case with a result."""
    return {"name": name, "input": given, "result": result}


def fails(name: str, given: Case, failure: str) -> Case:
    """Return a case that must be refused."""
    return {"name": name, "input": given, "failure": failure}


def opening_json(key: OpeningKey) -> dict[str, str]:
    """Return an opening key as the files give it."""
    return {"suite": key.suite.value, "seed": key.seed.hex()}


def flipped(data: bytes, position: int) -> bytes:
    """Return the bytes with one bit changed."""
    changed = bytearray(data)
    changed[position] ^= 1
    return bytes(changed)
