# SPDX-License-Identifier: Apache-2.0
"""`machikura city`: founding, the card, the fingerprint."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from identity.root import fingerprint, open_root
from node import cli
from node.city_root import CityCard
from node.config_file import load
from tests.node.commands.town import PASSPHRASE, Done, run_command


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
