# SPDX-License-Identifier: Apache-2.0
"""A node of the previous protocol version takes part: it reads, and it is read from."""

from __future__ import annotations

import json

import pytest

from federation.exchange import Answer
from federation.simulation import SCHEME
from node.keys import SEALING, SIGNING
from node.reader import HolderAnswer
from protocol.answer import ReadResult
from tests.simulation.elder import Elder, Refused
from tests.simulation.town import (
    BROKER,
    CHECKUP,
    CLINIC,
    FAR_BROKER,
    FAR_CLINIC,
    RELEASED,
    TREATMENT,
    Town,
    play,
    said,
)

pytestmark = pytest.mark.slow

ABOUT = {
    "dataset_type": str(CHECKUP),
    "purpose": str(TREATMENT),
    "data_class": "special-care",
}


async def grow_old(town: Town, name: str, broker: str) -> Elder:
    """Put a node of version 1 in the place of a running one, on its keys."""
    node = town.federation.nodes[name]
    shown = town.parts(name).standing.credentials()
    elder = Elder(
        name,
        node.keys.signing(SIGNING).seed,
        node.keys.opening(SEALING).seed,
        shown.membership,
        shown.operating,
        town.clock.now_ms,
        node.chance,
    )
    await town.federation.stop(name)
    town.network.welcome(name)
    pipe = await town.network.connector(name)(SCHEME + broker)
    chosen = await elder.link(pipe)
    assert chosen["version"] == 1
    assert "capabilities" not in chosen
    return elder


def result_of(answer: HolderAnswer) -> ReadResult:
    """Return what was released."""
    found = answer.outcome
    assert isinstance(found, Answer) and isinstance(found.result, ReadResult)
    return found.result


def test_requester_of_version_one_reads_through_brokers_of_today() -> None:
    """Handshake, envelope, location token, answer: all as they were."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        warrant = await town.warrant(FAR_CLINIC, consent)
        holder = town.parts(CLINIC).standing.credentials().membership
        broker = town.parts(BROKER).standing.credentials().membership
        elder = await grow_old(town, FAR_CLINIC, FAR_BROKER)
        shown = json.loads(warrant.encode())
        claims = await elder.read(holder, shown, broker, ABOUT)
        await elder.hang_up()
        assert len(claims["result"]["records"]) == 2
        (provision,) = town.provisions(CLINIC)
        assert provision.exchange == claims["jti"]

    play(story)


def test_holder_of_version_one_is_read_by_a_requester_of_today() -> None:
    """It refuses the newer envelope, and is asked in the older at once."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups(1)
        consent = await town.consent(hanako)
        result = result_of(await town.read(FAR_CLINIC, consent))
        elder = await grow_old(town, CLINIC, BROKER)
        elder.records.extend(json.loads(r.encode()) for r in result.records)
        for _ in range(2):
            assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        await elder.hang_up()
        assert len(elder.released) == 2
        # The first read found out, the second one knew.
        assert elder.refused == [2]

    play(story)


def test_city_may_refuse_version_one_and_says_why() -> None:
    """By the setting `trust.oldest_link_version`; the old node learns the reason."""

    async def story(town: Town) -> None:
        with pytest.raises(Refused, match="unsupported-version"):
            await grow_old(town, FAR_CLINIC, FAR_BROKER)

    play(story, oldest_link_version=2)
