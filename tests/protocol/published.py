# SPDX-License-Identifier: Apache-2.0
"""Published test vectors: other people's cases, kept beside the repository.

They are large and not ours, so they do not travel with the source. A test that needs
one is skipped, with a message, where the folder is absent.
"""

import json
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared"


def published(name: str) -> Any:
    """Return the parsed file, or skip the test.

    Args:
        name: path below the folder, such as `vectors/otp.json`.
    """
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"published vectors are not here: ../shared/{name}")
    return json.loads(path.read_bytes())


def wycheproof(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return all cases of a Wycheproof file, each with its group."""
    groups = published(f"vectors/wycheproof/{name}.json")["testGroups"]
    return [(group, case) for group in groups for case in group["tests"]]
