# SPDX-License-Identifier: Apache-2.0
"""Words on the command line: what fits is understood, the rest is wrong usage."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import typer

from node.commands import typed
from node.config_file import BadSettings

YEAR = 2_000_000_000


def test_date_alone_lasts_to_the_end_of_that_day_in_japan() -> None:
    """`--ends 2026-12-31` includes New Year's Eve."""
    assert typed.end_of("2026-12-31") == 1_798_729_199
    assert typed.end_of("2027-01-01T00:00") == 1_798_729_200
    assert typed.end_of("2026-12-31T15:00:00+00:00") == 1_798_729_200


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("privacy-mark", {"scheme": "privacy-mark", "number": "", "until": YEAR}),
        ("a:17", {"scheme": "a", "number": "17", "until": YEAR}),
        (
            "a:17:2026-12-31",
            {"scheme": "a", "number": "17", "until": 1_798_729_199},
        ),
    ],
)
def test_qualification_has_up_to_three_parts(
    text: str, wanted: dict[str, str | int]
) -> None:
    """The number and the date may be left out."""
    assert typed.qualification(text, YEAR) == wanted


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (typed.city_id, "No City"),
        (typed.node_id, "hoshino"),
        (typed.municipal_code, "011003"),
        (typed.end_of, "tomorrow"),
        (typed.pair, "mail"),
        (lambda text: typed.qualification(text, YEAR), ":17"),
        (lambda text: typed.qualification(text, YEAR), "a:17:soon"),
    ],
)
def test_what_does_not_fit_is_wrong_usage(
    read: Callable[[str], object], text: str
) -> None:
    """Told before anything is done."""
    with pytest.raises(typer.BadParameter):
        read(text)


def test_setting_is_toml_or_else_text() -> None:
    """So that addresses need no quotes in quotes."""
    assert typed.setting("api.port=9000") == ("api.port", 9000)
    assert typed.setting("link.host=127.0.0.1") == ("link.host", "127.0.0.1")
    assert typed.pair("mail=a=b") == ("mail", "a=b")
    with pytest.raises(BadSettings):
        typed.setting("api.port")
