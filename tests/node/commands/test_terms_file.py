# SPDX-License-Identifier: Apache-2.0
"""Terms of an agreement: generous by default, never by a forgotten line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from node.commands.terms_file import read_deal
from protocol.errors import Misuse
from protocol.membership import DataClass

GIVEN = """
days = 30
[we_may]
dataset_types = ["health.checkup"]
purposes = ["treatment"]
data_classes = ["special-care"]
transit = false
hop_limit = 2
"""


def test_without_a_file_everything_but_closed_data_may_pass() -> None:
    """Both ways, with transit, for a year."""
    deal = read_deal()
    assert deal.we_may == deal.they_may
    assert (deal.days, deal.we_may.transit, deal.we_may.hop_limit) == (365, True, 4)
    assert deal.we_may.dataset_types == deal.we_may.purposes == ("*",)
    assert set(deal.we_may.data_classes) == set(DataClass) - {DataClass.CLOSED}


def test_what_the_file_says_counts() -> None:
    """A direction that it does not name keeps the default."""
    deal = read_deal(GIVEN)
    assert deal.days == 30
    assert deal.we_may.dataset_types == ("health.checkup",)
    assert deal.we_may.data_classes == (DataClass.SPECIAL_CARE,)
    assert (deal.we_may.transit, deal.we_may.hop_limit) == (False, 2)
    assert deal.they_may == read_deal().they_may


def test_example_of_the_handbook_is_valid() -> None:
    """docs/operations.md shows a file that works."""
    page = Path(__file__).resolve().parents[3] / "docs" / "operations.md"
    found = re.search(r"^```toml\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)
    assert found is not None
    deal = read_deal(found[1])
    assert deal.we_may.data_classes == (DataClass.OPEN, DataClass.PERSONAL)
    assert deal.they_may.data_classes == (DataClass.OPEN,)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[we_may]\ndataset_types = ['*']", "we_may.purposes"),
        ("[they_mey]", "they_mey"),
        ("days = 0", "days"),
        (GIVEN.replace("special-care", "closed"), "we_may.data_classes"),
        (GIVEN.replace("health.checkup", "Health"), "we_may.dataset_types"),
        (GIVEN.replace("hop_limit = 2", "hop_limit = 99"), "we_may.hop_limit"),
        (GIVEN.replace("transit = false", "transit = 1"), "we_may.transit"),
        ("days = ", "not valid TOML"),
        ("days = 2026-01-01", "days"),
        ("days = nan", "days"),
    ],
)
def test_faulty_line_is_named(text: str, place: str) -> None:
    """An agreement is no place for guesses."""
    with pytest.raises(Misuse, match=place):
        read_deal(text)
