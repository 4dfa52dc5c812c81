# SPDX-License-Identifier: Apache-2.0
"""`machikura member`: from a join request to a member, and out again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from node import cli
from node.config_file import load
from node.new_node import Answers, NewNode, create
from node.system import SystemClock, system_entropy
from protocol.ids import NodeId
from protocol.membership import Membership
from protocol.signature import Received
from tests.node.commands.town import Town, run_command

pytestmark = pytest.mark.slow


def newcomer(town: Town, city: str = "hoshino") -> NewNode:
    """Set up a clinic that has not joined."""
    broker = load(town.config("broker"), {})
    made = create(
        Answers(
            node=NodeId(f"{city}/clinic"),
            title_en="Clinic",
            brokers=(f"hoshino/broker@{broker.link.public_url}",),
            key_file=town.folder / "clinic.key",
            settings=(("api.port", 0),),
        ),
        town.folder / "clinic",
        now_ms=SystemClock().now_ms(),
        entropy=system_entropy,
    )
    own = town.folder / "market" / "city-root.jwk"
    made.settings.root_key_file.write_bytes(own.read_bytes())
    return made


def claims(path: Path) -> Membership:
    """Return what a membership file says."""
    token = json.loads(path.read_bytes())["membership"]
    return Received.parse(token, "membership").peek(Membership)


async def test_node_joins_while_it_does_not_run(town: Town) -> None:
    """Admitted at the broker, accepted into the database, well after its start."""
    await town.start("broker")
    made, out = newcomer(town), town.folder / "m.json"
    classes = "--data-class", "personal", "--qualification", "privacy-mark:17"
    words = "member", "admit", made.join_request, "--out", out
    text = await town.ok("broker", *words, "--confirm", made.fingerprint, *classes)
    assert "✓ hoshino/clinic is admitted" in text
    said = claims(out)
    assert [str(role) for role in said.roles] == ["vault"]
    assert [str(one) for one in said.data_classes] == ["personal"]
    held = said.qualifications[0]
    assert (held.scheme, held.number) == ("privacy-mark", "17")
    taken = await town.ok("clinic", "member", "accept", out)
    assert "Next" in taken
    await town.start("clinic")


async def test_membership_is_handed_to_a_running_node(town: Town) -> None:
    """It counts at once, without a restart."""
    await town.start("broker", "market")
    request = town.folder / "market" / "join-request.jws"
    out = town.folder / "m.json"
    classes = "--data-class", "open"
    await town.ok("broker", "member", "admit", request, "--out", out, *classes)
    taken = await town.json("market", "member", "accept", out)
    assert taken["node"] == "hoshino/market"
    now_held = town.cores["market"].parts.standing.membership()
    assert [str(one) for one in now_held.data_classes] == ["open"]


async def test_socket_that_is_silent_is_no_reason_to_write_behind_a_node_s_back(
    town: Town,
) -> None:
    """The operator named a socket: only that node may take it."""
    await town.start("broker")
    made, out = newcomer(town), town.folder / "m.json"
    await town.ok("broker", "member", "admit", made.join_request, "--out", out)
    none = town.folder / "none.sock"
    done = await town.run("clinic", "member", "accept", out, "--socket", none)
    assert done.status == cli.UNREACHABLE


async def test_fingerprint_that_was_read_out_decides(town: Town) -> None:
    """A request that was swapped on the way is not admitted."""
    await town.start("broker")
    made, out = newcomer(town), town.folder / "m.json"
    words = "member", "admit", made.join_request, "--out", out
    code = await town.refused("broker", *words, "--confirm", "0000 1111")
    assert code == "invalid-input"
    assert not out.exists()
    assert len((await town.json("broker", "member", "list"))["members"]) == 4


async def test_register_shows_who_was_removed(town: Town) -> None:
    """A removed node loses its link at once and is admitted no more."""
    await town.start("broker", "market")
    await town.ok("broker", "member", "remove", "market")
    text = await town.ok("broker", "member", "list")
    assert "hoshino/market" in text
    assert "removed 除名" in text
    assert town.cores["broker"].links.link_to("hoshino/market") is None
    request, out = town.folder / "market" / "join-request.jws", town.folder / "m.json"
    words = "member", "admit", request, "--out", out
    assert await town.refused("broker", *words) == "conflict"
    assert await town.refused("broker", "member", "remove", "market") == "not-found"


async def test_request_of_another_city_is_refused(town: Town) -> None:
    """A city admits its own nodes."""
    await town.start("broker")
    made, out = newcomer(town, "minato"), town.folder / "m.json"
    words = "member", "admit", made.join_request, "--out", out
    assert await town.refused("broker", *words) == "wrong-audience"


async def test_role_that_was_not_granted_is_refused(town: Town) -> None:
    """The hall asks for `identity`; without --role it would get `vault`."""
    await town.start("broker")
    request, out = town.folder / "hall" / "join-request.jws", town.folder / "m.json"
    words = "member", "admit", request, "--out", out
    assert await town.refused("broker", *words) == "invalid-input"
    assert not out.exists()


async def test_membership_of_another_node_is_not_taken(town: Town) -> None:
    """Neither online nor offline."""
    await town.start("broker", "market")
    request, out = town.folder / "market" / "join-request.jws", town.folder / "m.json"
    await town.ok("broker", "member", "admit", request, "--out", out)
    assert await town.refused("energy", "member", "accept", out) == "wrong-audience"
    await town.start("energy")
    assert await town.refused("energy", "member", "accept", out) == "wrong-audience"


def test_request_is_written_anew(copied: Path) -> None:
    """With the same key, so the fingerprint stays."""
    town = Town(copied)
    request = copied / "market" / "join-request.jws"
    before = request.read_bytes()
    words = "member", "request", "--config", town.config("market"), "--json"
    first, second = (run_command(*words).document for _ in range(2))
    assert first == second
    assert Path(first["join_request"]) == request
    assert request.read_bytes() != before


@pytest.mark.parametrize(
    "words",
    [
        ["admit", "{none}", "--out", "m.json"],
        ["admit", "{junk}", "--out", "m.json"],
        ["accept", "{none}"],
        ["accept", "{junk}"],
    ],
)
def test_file_that_is_none_is_refused(copied: Path, words: list[str]) -> None:
    """Missing, or something else."""
    (copied / "junk").write_text("{}", encoding="utf-8")
    places = {"{none}": str(copied / "none"), "{junk}": str(copied / "junk")}
    words = ["member", *(places.get(word, word) for word in words)]
    done = run_command(*words, "--config", Town(copied).config("market"))
    assert done.status == cli.REFUSED, done.stderr


async def test_place_for_the_membership_is_checked_first(town: Town) -> None:
    """Else a node would be admitted and its membership lost."""
    await town.start("broker")
    made = newcomer(town)
    out = town.folder / "none" / "m.json"
    words = "member", "admit", made.join_request, "--out", out
    assert await town.refused("broker", *words) == "invalid-input"
    assert len((await town.json("broker", "member", "list"))["members"]) == 4


@pytest.mark.parametrize("wish", [["--role", "mayor"], ["--data-class", "secret"]])
def test_unknown_word_is_wrong_usage(copied: Path, wish: list[str]) -> None:
    """Before anything is asked."""
    request = copied / "market" / "join-request.jws"
    assert run_command("member", "admit", request, *wish).status == cli.USAGE


def test_missing_root_key_is_told_with_its_source(copied: Path) -> None:
    """Accepting offline needs the city's root key; the city card has it."""
    town = Town(copied)
    root = copied / "market" / "city-root.jwk"
    key = root.read_bytes()
    root.unlink()
    out = copied / "m.json"
    out.write_text('{"membership": "a", "operating": "b"}', encoding="utf-8")
    words = "member", "accept", out, "--config", town.config("market")
    assert "city card" in run_command(*words).stderr
    root.write_bytes(key)
    assert run_command(*words).status == cli.REFUSED
