# SPDX-License-Identifier: Apache-2.0
"""`machikura demo`: its options; the story itself has its own test."""

from __future__ import annotations

from node import cli
from tests.node.commands.town import run_command


def test_options_are_those_of_run_py() -> None:
    """`python3 run.py demo` hands its words on."""
    text = run_command("demo", "--help").stdout
    for option in ("--once", "--json", "--suite", "--dir"):
        assert option in text


def test_unknown_suite_is_wrong_usage() -> None:
    """Before anything is started."""
    assert run_command("demo", "--once", "--suite", "weak").status == cli.USAGE
