# SPDX-License-Identifier: Apache-2.0
"""What ends is shown in time, and what renews itself worries nobody."""

from __future__ import annotations

import logging

import pytest

from node.expiry import Ending, Expiry
from node.simulate.federation import Federation
from node.tls import self_signed, write_pair
from tests.simulation.town import BROKER, CLINIC, FAR_CLINIC, Town, play

pytestmark = pytest.mark.slow
DAY_S = 86_400


def _of(town: Town, node: str, what: str) -> list[Ending]:
    return [one for one in Expiry(town.parts(node)).now() if one.what == what]


def test_membership_that_renews_itself_is_no_worry_until_it_does_not() -> None:
    """A quarter of its life before it ends something must be wrong."""

    async def story(town: Town) -> None:
        await town.federation.stop(BROKER)
        (one,) = _of(town, CLINIC, "membership")
        assert not one.soon
        life_s = one.ends - town.now()
        town.federation.jump(life_s * 0.8)
        (one,) = _of(town, CLINIC, "membership")
        assert one.soon
        assert "broker" in one.remedy

    play(story)


def test_agreement_and_certificate_are_named_a_month_before() -> None:
    """With the command that helps; not a day earlier."""

    async def story(town: Town) -> None:
        (agreement,) = _of(town, BROKER, "agreement")
        (operating,) = _of(town, BROKER, "operating-certificate")
        assert not agreement.soon
        assert not operating.soon
        town.federation.jump(agreement.ends - town.now() - 30 * DAY_S - 60)
        assert not _of(town, BROKER, "agreement")[0].soon
        town.federation.jump(120)
        assert _of(town, BROKER, "agreement")[0].soon
        town.federation.jump(2 * DAY_S)
        (operating,) = _of(town, BROKER, "operating-certificate")
        assert operating.soon
        assert operating.remedy == "machikura city key-request"
        assert _of(town, CLINIC, "agreement") == []

    play(story)


def test_qualification_of_a_member_is_named() -> None:
    """Without it nobody releases special-care data to it any more."""

    async def story(town: Town) -> None:
        (one,) = _of(town, CLINIC, "qualification")
        assert one.name == "medical-institution"
        assert not one.soon
        town.federation.jump(one.ends - town.now() - 29 * DAY_S)
        assert _of(town, CLINIC, "qualification")[0].soon

    play(story)


def test_consents_that_end_soon_are_counted_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The recipient may have to ask again; whose they are is not said."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        await town.consent(hanako)
        await town.consent(hanako, ends=town.now() + 10 * DAY_S)
        expiry = Expiry(town.parts(FAR_CLINIC))
        await expiry.look()
        (one,) = [e for e in expiry.now() if e.what == "consents"]
        assert one.name == "1"
        assert one.soon
        assert one.days_left(town.now()) == 10

    with caplog.at_level(logging.WARNING, logger="node.expiry"):
        play(story)
    lines = [r.getMessage() for r in caplog.records if r.name == "node.expiry"]
    assert len(lines) == 1
    assert lines[0].startswith("consents 1 ends in 10 days.")
    assert "hanako" not in lines[0]


def test_certificate_file_of_a_broker_is_looked_at() -> None:
    """Links fail on the day it ends; nothing renews it."""

    async def story(town: Town) -> None:
        world: Federation = town.federation
        settings = world.nodes[BROKER].settings
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        pair = self_signed(
            settings.node.id,
            ("localhost",),
            now_ms=town.clock.now_ms(),
            entropy=world.nodes[BROKER].chance,
        )
        write_pair(*pair, *settings.link_certificate)
        (one,) = _of(town, BROKER, "tls-certificate")
        assert one.name == "tls.crt"
        assert one.ends > town.now() + 365 * DAY_S

    play(story)


def test_replaced_key_is_shown_until_it_is_over() -> None:
    """Its overlap ends by itself: no worry."""

    async def story(town: Town) -> None:
        await town.parts(CLINIC).rotate_keys()
        (one,) = _of(town, CLINIC, "earlier-key")
        assert not one.soon
        assert one.days_left(town.now()) in (7, 8)

    play(story)
