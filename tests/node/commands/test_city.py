# SPDX-License-Identifier: Apache-2.0
"""`machikura city`: founding, the card, the fingerprint."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from identity.root import fingerprint, open_root
from node import cli
from node.city_root import CityCard
from node.config_file import load
from protocol.membership import JoinRequest, Role
from tests.node.commands.town import PASSPHRASE, Done, Town, run_command


def create(folder: Path, *further: str | Path, city: str = "hoshino") -> Done:
    """Found a city."""
    passphrase = folder / "passphrase"
    passphrase.write_bytes(PASSPHRASE + b"\n")
    passphrase.chmod(0o600)
    words: list[str | Path] = ["city", "create", folder / "city", "--city", city]
    words += ["--title-ja", "星野市", "--host", "broker.example", "--port", "9443"]
    words += ["--key-file", folder / "broker.key", "--contact", "0999-55-0000"]
    return run_command(*words, "--root-passphrase-file", passphrase, *further)


@pytest.mark.slow
def test_city_is_founded(tmp_path: Path) -> None:
    """Root key, broker and card; the root key opens with the passphrase alone."""
    done = create(tmp_path, "--code", "011002", "--set", "api.port=9000", "--json")
    assert done.status == cli.DONE, done.stderr
    made = done.document
    card = CityCard.read(Path(made["city_card"]))
    root = open_root(Path(made["root_key"]), PASSPHRASE)
    assert card.root_key() == root.signer.public
    assert made["fingerprint"] == fingerprint(root.signer.public)
    assert card.brokers == ("hoshino/broker@wss://broker.example:9443/link",)
    assert (card.code, card.contact) == ("011002", "0999-55-0000")
    settings = load(Path(made["config_file"]), {})
    assert (settings.api.port, settings.link.port) == (9000, 9443)


@pytest.mark.slow
def test_operator_learns_what_comes_next(tmp_path: Path) -> None:
    """Above all that the root key goes offline; and card and fingerprint are shown."""
    text = create(tmp_path).stdout
    assert "keep offline" in text
    assert "オフライン" in text
    name = re.search(r"(?:[0-9a-f]{4} ){7}[0-9a-f]{4}", text)
    assert name is not None
    folder = tmp_path / "city"
    for place in (folder, folder / "city-card.json"):
        shown = run_command("city", "fingerprint", place)
        assert shown.stdout == name[0] + "\n"
        assert name[0] in run_command("city", "card", place).stdout
    document = run_command("city", "card", folder, "--json").document
    assert document["fingerprint"] == name[0]


@pytest.mark.slow
def test_root_key_is_never_replaced(tmp_path: Path) -> None:
    """Founding again would orphan every member."""
    assert create(tmp_path).status == cli.DONE
    before = (tmp_path / "city" / "city-root.key").read_bytes()
    done = create(tmp_path, "--json")
    assert (done.status, done.document["code"]) == (cli.REFUSED, "conflict")
    assert (tmp_path / "city" / "city-root.key").read_bytes() == before


@pytest.mark.slow
async def test_operating_key_is_certified_for_another_year(town: Town) -> None:
    """With the broker stopped; its members and links are as before."""
    folder, file = town.folder / "hoshino", town.folder / "passphrase"
    file.write_bytes(PASSPHRASE)
    file.chmod(0o600)
    root = "--root", folder / "city-root.key", "--root-passphrase-file", file
    words = "city", "renew", folder, *root, "--json"
    before = CityCard.read(folder / "city-card.json").operating
    await town.start("broker")
    running = await asyncio.to_thread(run_command, *words)
    assert (running.status, running.document["code"]) == (cli.REFUSED, "conflict")
    await town.stop("broker")
    done = await asyncio.to_thread(run_command, *words)
    assert done.status == cli.DONE, done.stderr
    card = CityCard.read(folder / "city-card.json")
    assert card.operating != before
    assert done.document["ends"] == card.operating_ends()
    await town.start("broker", "market", "energy")
    await town.ok("market", "doctor", "hoshino/energy")


@pytest.mark.slow
async def test_root_key_of_another_city_certifies_nothing(
    town: Town, tmp_path: Path
) -> None:
    """Nor does a folder without a broker."""
    done = await asyncio.to_thread(create, tmp_path)
    assert done.status == cli.DONE
    other = tmp_path / "city" / "city-root.key"
    root = "--root", other, "--root-passphrase-file", tmp_path / "passphrase"
    done = run_command("city", "renew", town.folder / "hoshino", *root)
    assert done.status == cli.REFUSED
    assert "another city" in done.stderr
    assert run_command("city", "renew", tmp_path, *root).status == cli.UNUSABLE


def test_wrong_setting_leaves_no_root_key_behind(tmp_path: Path) -> None:
    """The operator corrects it and tries again."""
    assert create(tmp_path, "--set", "api.prot=1").status == cli.UNUSABLE
    assert not (tmp_path / "city" / "city-root.key").exists()


@pytest.mark.parametrize(
    ("further", "city"),
    [
        ([], "No City"),
        (["--code", "011003"], "hoshino"),
        (["--port", "0"], "hoshino"),
        (["--suite", "weak"], "hoshino"),
    ],
)
def test_what_does_not_fit_is_wrong_usage(
    tmp_path: Path, further: list[str], city: str
) -> None:
    """Before anything is made."""
    assert create(tmp_path, *further, city=city).status == cli.USAGE
    assert not (tmp_path / "city").exists()


def test_passphrase_must_come_from_somewhere(tmp_path: Path) -> None:
    """A script has no terminal to ask at."""
    words: list[str | Path] = ["city", "create", tmp_path / "c", "--city", "hoshino"]
    words += ["--host", "a.example", "--key-file", tmp_path / "k"]
    done = run_command(*words)
    assert done.status == cli.USAGE
    assert "--root-passphrase-file" in done.stderr


def test_folder_without_a_card_is_told(tmp_path: Path) -> None:
    """Instead of a traceback."""
    for act in ("card", "fingerprint"):
        assert run_command("city", act, tmp_path).status == cli.REFUSED


@pytest.mark.slow
def test_further_broker_is_set_up_from_the_city_s_card(tmp_path: Path) -> None:
    """It listens where it says, dials the first one, and has no key of the city."""
    assert create(tmp_path).status == cli.DONE
    words: list[str | Path] = ["city", "add-broker", tmp_path / "broker-2"]
    words += ["--city-card", tmp_path / "city", "--host", "second.example"]
    words += ["--port", "9444", "--key-file", tmp_path / "broker-2.key"]
    done = run_command(*words, "--set", "api.port=9001", "--json")
    assert done.status == cli.DONE, done.stderr
    settings = load(Path(done.document["config_file"]), {})
    assert settings.node.id == "hoshino/broker-2"
    assert settings.node.roles == (Role.BROKER,)
    assert settings.link.public_url == "wss://second.example:9444/link"
    assert settings.brokers == ("hoshino/broker@wss://broker.example:9443/link",)
    assert settings.root_key_file.exists()
    names = {path.stem for path in (settings.data_dir / "keys").glob("*.key")}
    assert names.isdisjoint({"operating", "tokens"})
    request = Path(done.document["join_request"]).read_text()
    assert JoinRequest.verify(request).body.roles == (Role.BROKER,)


@pytest.mark.slow
def test_broker_that_the_card_names_is_not_set_up_again(tmp_path: Path) -> None:
    """Another label is asked for."""
    assert create(tmp_path).status == cli.DONE
    words: list[str | Path] = ["city", "add-broker", tmp_path / "again"]
    words += ["--city-card", tmp_path / "city", "--host", "x.example"]
    words += ["--key-file", tmp_path / "again.key", "--label", "broker"]
    done = run_command(*words)
    assert done.status != cli.DONE
    assert not (tmp_path / "again").exists()
