# SPDX-License-Identifier: Apache-2.0
"""`machikura init --city-card`: what the card says stands in the new node's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from node import cli
from node.city_root import CityCard, read_root, write_root
from node.config_file import load
from protocol.ids import CityId, MunicipalCode
from protocol.suites import SIGNING_SEED_BYTES, SigningKey, Suite
from tests.node.commands.town import Done, run_command

BROKER = "hoshino/broker@wss://127.0.0.1:8443/link"


def root_of(fill: int) -> SigningKey:
    """Return a root key."""
    return SigningKey(Suite.HYBRID, bytes([fill]) * SIGNING_SEED_BYTES)


def card(folder: Path, fill: int = 1, suite: Suite = Suite.HYBRID) -> Path:
    """Write a city card."""
    path = folder / f"card-{fill}.json"
    root = SigningKey(suite, bytes([fill]) * SIGNING_SEED_BYTES)
    CityCard(
        city=CityId("hoshino"),
        code=MunicipalCode("011002"),
        title={"ja": "星野市"},
        root=root.public.jwk,
        brokers=(BROKER,),
    ).write(path)
    return path


def init(folder: Path, *words: str | Path) -> Done:
    """Set a node up."""
    keys = "--key-file", folder / "key"
    return run_command("init", folder / "n", "--node", "hoshino/clinic", *keys, *words)


def test_card_gives_root_key_brokers_and_the_city_s_name(tmp_path: Path) -> None:
    """A new member types none of them."""
    done = init(tmp_path, "--city-card", card(tmp_path))
    assert done.status == cli.DONE, done.stderr
    settings = load(tmp_path / "n" / "node.toml", {})
    assert read_root(settings.root_key_file) == root_of(1).public
    assert settings.brokers == (BROKER,)
    assert settings.city.title.ja == "星野市"
    assert settings.city.municipal_code == "011002"


def test_pinned_root_key_is_never_replaced(tmp_path: Path) -> None:
    """A second card with another key is refused; the same one is not."""
    assert init(tmp_path, "--city-card", card(tmp_path)).status == cli.DONE
    assert init(tmp_path, "--city-card", card(tmp_path)).status == cli.DONE
    assert init(tmp_path, "--city-card", card(tmp_path, 2)).status == cli.UNUSABLE
    settings = load(tmp_path / "n" / "node.toml", {})
    assert read_root(settings.root_key_file) == root_of(1).public


def test_node_of_a_strict_city_is_strict(tmp_path: Path) -> None:
    """Its city would not admit other keys; a wish of one's own still counts."""
    strict = card(tmp_path, suite=Suite.STRICT)
    assert init(tmp_path, "--city-card", strict).status == cli.DONE
    assert load(tmp_path / "n" / "node.toml", {}).suite is Suite.STRICT
    other = tmp_path / "other"
    other.mkdir()
    done = init(other, "--city-card", card(tmp_path), "--suite", "strict", "--json")
    assert done.document["suite"] == "strict"


@pytest.mark.parametrize(
    ("content", "status"),
    [("{}", cli.REFUSED), ("no card", cli.REFUSED), (None, cli.REFUSED)],
)
def test_file_that_is_no_card_is_refused(
    tmp_path: Path, content: str | None, status: int
) -> None:
    """Before anything is made."""
    path = tmp_path / "card.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    done = init(tmp_path, "--city-card", path)
    assert done.status == status
    assert "is no city card" in done.stderr
    assert not (tmp_path / "n").exists()


def test_card_of_another_city_is_refused(tmp_path: Path) -> None:
    """A node cannot join a city that its name does not say."""
    words = "init", tmp_path / "n", "--node", "minato/clinic"
    keys = "--key-file", tmp_path / "key"
    done = run_command(*words, *keys, "--city-card", card(tmp_path))
    assert done.status == cli.UNUSABLE
    assert "this is the card of hoshino" in done.stderr


def test_root_key_can_be_written_by_hand(tmp_path: Path) -> None:
    """A card that says the same is then welcome."""
    (tmp_path / "n").mkdir()
    write_root(tmp_path / "n" / "city-root.jwk", root_of(1).public)
    assert init(tmp_path, "--city-card", card(tmp_path)).status == cli.DONE
