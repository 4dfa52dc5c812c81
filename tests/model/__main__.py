# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.model`: search the whole model and print how much that was."""

from __future__ import annotations

import argparse
import sys

from tests.model.rules import RULES, SKEW, Bound, T
from tests.model.search import explore


def main() -> int:
    """Search; return 1 where a property is violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.model")
    parser.add_argument("--pauses", type=int, default=Bound.pauses)
    parser.add_argument("--reads", type=int, default=Bound.reads)
    wanted = parser.parse_args()
    bound = Bound(pauses=wanted.pauses, reads=wanted.reads)
    seen = explore(RULES, bound)
    sys.stdout.write(
        f"{len(seen.parents):,} states, {seen.transitions:,} steps; "
        f"T = {T} ticks, skew = {SKEW}; {bound}\n"
    )
    if seen.found is None:
        sys.stdout.write("every property holds\n")
        return 0
    sys.stdout.write(f"{seen.found}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
