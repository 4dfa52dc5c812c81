# SPDX-License-Identifier: Apache-2.0
"""Measures one subject, each figure beside its yardstick in the same run.

    python3 run.py bench [SUBJECT] [--quick] [--json FILE] ...

Without a subject: `reads`. A subject is a module of this folder with a `main` that
takes the arguments; its first line says what it measures.
"""

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

SUBJECTS = {
    "reads": "federated reads beside a bare chain; start and memory of a node",
    "stream": "a large attachment through two brokers beside two plain proxies",
    "mesh": "four brokers all connected, spoofed aliases: who is asked how often",
    "paths": "a path fails in the middle of 1,000 reads at 32 in flight",
    "delivery": "durable messages to 100 peers behind one broker, half of them dead",
    "evidence": "what batch evidence costs on the path of an exchange, and beside it",
    "fresh": "the demo from a fresh clone to its first read across cities",
}


def main(arguments: list[str]) -> None:
    """Hand over to the subject."""
    subject, rest = "reads", arguments
    if arguments and not arguments[0].startswith("-"):
        subject, *rest = arguments
    if subject not in SUBJECTS or (arguments and arguments[0] in ("-h", "--help")):
        print("usage: run.py bench [SUBJECT] [ARGUMENTS]", *_listed(), sep="\n")
        sys.exit(0 if subject in SUBJECTS else 2)
    importlib.import_module(f"tests.bench.{subject}").main(rest)


def _listed() -> list[str]:
    return [f"  {name:12} {what}" for name, what in SUBJECTS.items()]


if __name__ == "__main__":
    main(sys.argv[1:])
