# SPDX-License-Identifier: Apache-2.0
"""The main job, end to end: link, locate, consent, read across three cities."""

from __future__ import annotations

from tests.simulation.town import (
    BROKER,
    CHECKUP,
    CLINIC,
    FAR_BROKER,
    FAR_CLINIC,
    RELEASED,
    TRANSIT,
    Town,
    hops_of,
    play,
    result_of,
    said,
)


def test_checkups_are_read_three_cities_away_with_consent() -> None:
    """The purpose's fields of every record, and nothing else, over three brokers."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups(2)
        consent = await town.consent(hanako)
        answer = await town.read(FAR_CLINIC, consent)
        result = result_of(answer)
        assert len(result.records) == 2
        assert hops_of(answer) == [FAR_BROKER, TRANSIT, BROKER]
        assert result.cut == {"purpose": ("note",)}

    play(story)
