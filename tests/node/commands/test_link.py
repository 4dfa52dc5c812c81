# SPDX-License-Identifier: Apache-2.0
"""`machikura link`: a one-time code brings resident and holder together."""

from __future__ import annotations

import pytest

from node import cli
from tests.node.commands.town import SUBJECT, USAGE_FILE, Town

pytestmark = pytest.mark.slow
CLAIM = ("link", "claim", "--home", "hoshino/hall", "--subject", SUBJECT)


async def test_code_links_once(town: Town) -> None:
    """The holder registers what it has; the resident sees the link, and ends it."""
    await town.start("broker", "hall", "energy")
    await town.ok("energy", "import", USAGE_FILE)
    await town.resident()
    session = "--session-file", town.session
    text = await town.ok("hall", "link", "code", "--holder", "hoshino/energy", *session)
    code = text.splitlines()[0].split()[1]
    linked = await town.json("energy", *CLAIM, "--code", code)
    assert linked["dataset_types"] == ["energy.usage"]
    assert "hoshino/energy" in await town.ok("hall", "link", "list", *session)
    again = await town.refused("energy", *CLAIM, "--code", code)
    assert again == "link-code-wrong"
    remove = "link", "remove", "hoshino/energy", *session
    await town.ok("hall", *remove)
    states = await town.json("hall", "link", "list", *session)
    assert [link["state"] for link in states["links"]] != ["linked"]
    assert await town.refused("hall", "link", "remove", "hoshino/none", *session)


async def test_only_a_resident_gets_a_code(town: Town) -> None:
    """An operator who has not signed in is nobody here."""
    await town.start("broker", "hall")
    words = "link", "code", "--holder", "hoshino/energy"
    assert await town.refused("hall", *words) == "unauthenticated"


@pytest.mark.parametrize(
    "words",
    [
        ["link", "code", "--holder", "energy"],
        ["link", "remove", "energy"],
        ["link", "claim", "--home", "hall", "--code", "abcd", "--subject", "1"],
        ["link", "claim", "--code", "abcd", "--subject", "1"],
    ],
)
async def test_wrong_words_are_told(town: Town, words: list[str]) -> None:
    """A node's name has two parts."""
    town.session.write_text("token", encoding="ascii")
    town.session.chmod(0o600)
    further = [] if "claim" in words else ["--session-file", str(town.session)]
    assert (await town.run("hall", *words, *further)).status == cli.USAGE
