# SPDX-License-Identifier: Apache-2.0
"""`machikura federate`: one signed file each way, and nothing signed unseen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from node import cli
from tests.node.commands.town import (
    PASSPHRASE,
    Done,
    Town,
    found,
    run_command,
    short_folder,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def minato() -> Iterator[Path]:
    """Return the folder of a second city; nothing of it runs."""
    with short_folder() as folder:
        found(folder, "minato")
        yield folder / "minato"


@dataclass
class Desk:
    """The desks of both operators."""

    hoshino: Path
    minato: Path
    folder: Path

    def words(self, city: Path) -> list[str | Path]:
        """Return the options that open a city's root key."""
        file = self.folder / "passphrase"
        file.write_bytes(PASSPHRASE)
        file.chmod(0o600)
        root = city / "city-root.key"
        return ["--root", root, "--root-passphrase-file", file]

    @property
    def proposal(self) -> Path:
        """Return where Hoshino's proposal goes."""
        return self.folder / "proposal.json"

    @property
    def agreement(self) -> Path:
        """Return where Minato's answer goes."""
        return self.folder / "agreement.json"

    def propose(self, *further: str | Path) -> Done:
        """Let Hoshino propose."""
        cards: list[str | Path] = ["--card", self.hoshino / "city-card.json"]
        cards += ["--with", self.minato / "city-card.json"]
        words = [*cards, *self.words(self.hoshino), "--out", self.proposal, *further]
        return run_command("federate", "propose", *words)

    def fingerprint(self, city: Path) -> str:
        """Return what the operator of a city reads out."""
        return run_command("city", "fingerprint", city).stdout.strip()

    def countersign(self, confirm: str | None = None) -> Done:
        """Let Minato countersign."""
        told = self.fingerprint(self.hoshino) if confirm is None else confirm
        words = [*self.words(self.minato), "--out", self.agreement]
        confirmed = ["--confirm", told] if told else []
        return run_command("federate", "countersign", self.proposal, *words, *confirmed)


@pytest.fixture
def desk(copied: Path, minato: Path, tmp_path: Path) -> Desk:
    """Return the desks, with nothing signed."""
    return Desk(copied / "hoshino", minato, tmp_path)


def signers(path: Path) -> list[str]:
    """Return who has signed a file."""
    shown = run_command("federate", "show", path, "--json").document
    return [party["city"] for party in shown["parties"] if party["signed"]]


def test_two_files_make_an_agreement(desk: Desk) -> None:
    """The proposal with one signature, the answer with both."""
    proposed = desk.propose()
    assert proposed.status == cli.DONE, proposed.stderr
    assert signers(desk.proposal) == ["hoshino"]
    signed = desk.countersign()
    assert signed.status == cli.DONE, signed.stderr
    assert signers(desk.agreement) == ["hoshino", "minato"]


def test_operator_reads_what_is_signed(desk: Desk) -> None:
    """Parties, fingerprints, contacts and both directions of the terms."""
    terms = desk.folder / "terms.toml"
    lines = 'dataset_types = ["health.checkup"]\npurposes = ["treatment"]\n'
    lines += 'data_classes = ["special-care"]\ntransit = false\n'
    terms.write_text(f"days = 30\n[they_may]\n{lines}", encoding="utf-8")
    text = desk.propose("--terms", terms).stdout
    assert desk.fingerprint(desk.minato) in text
    assert "0999-55-0000" in text
    asked = text.partition("minato may ask of hoshino:")[2]
    assert "health.checkup" in asked
    assert "no" in asked
    shown = run_command("federate", "show", desk.proposal, "--json").document
    assert shown["ends"] - shown["starts"] == 30 * 86_400
    assert shown["terms"]["hoshino>minato"]["dataset_types"] == ["*"]


@pytest.mark.parametrize("confirm", ["0000 1111", "ü"])
def test_swapped_root_key_is_found_out_by_telephone(desk: Desk, confirm: str) -> None:
    """Neither side signs when the fingerprints differ."""
    assert desk.propose("--confirm", confirm).status == cli.REFUSED
    assert not desk.proposal.exists()
    assert desk.propose("--confirm", desk.fingerprint(desk.minato)).status == cli.DONE
    assert desk.countersign(confirm).status == cli.REFUSED
    assert not desk.agreement.exists()


def test_countersigning_without_a_fingerprint_is_wrong_usage(desk: Desk) -> None:
    """A script must say what was heard."""
    desk.propose()
    done = desk.countersign("")
    assert done.status == cli.USAGE
    assert "--confirm" in done.stderr


async def test_installed_agreement_is_listed(town: Town, minato: Path) -> None:
    """Once both have signed; a proposal alone is refused."""
    desk = Desk(town.folder / "hoshino", minato, town.folder)
    await town.start("broker")
    desk.propose()
    install = "federate", "install"
    assert await town.refused("broker", *install, desk.proposal) == "malformed"
    desk.countersign()
    entry = await town.json("broker", *install, desk.agreement)
    assert (entry["city"], entry["state"]) == ("minato", "installed")
    assert entry["fingerprint"] == desk.fingerprint(minato)
    text = await town.ok("broker", "federate", "list")
    assert "minato" in text
    assert "installed" in text


async def test_renewal_replaces_the_agreement(town: Town, minato: Path) -> None:
    """The same id, the next version; the old file does not come back."""
    desk = Desk(town.folder / "hoshino", minato, town.folder)
    await town.start("broker")
    desk.propose()
    desk.countersign()
    await town.ok("broker", "federate", "install", desk.agreement)
    old = desk.folder / "old.json"
    old.write_bytes(desk.agreement.read_bytes())
    assert desk.propose("--replaces", old).status == cli.DONE
    desk.countersign()
    entry = await town.json("broker", "federate", "install", desk.agreement)
    assert entry["version"] == 2
    assert await town.refused("broker", "federate", "install", old) == "conflict"


def test_renewal_is_between_the_same_cities(desk: Desk, tmp_path: Path) -> None:
    """Another agreement's id would replace that one."""
    folder = tmp_path / "other"
    folder.mkdir()
    yamanami = found(folder, "yamanami").card_file.parent
    foreign = Desk(yamanami, desk.minato, folder)
    assert foreign.propose().status == cli.DONE
    done = desk.propose("--replaces", foreign.proposal)
    assert done.status == cli.REFUSED
    assert "between other cities" in done.stderr


async def test_agreement_of_other_cities_is_refused(
    town: Town, minato: Path, tmp_path: Path
) -> None:
    """A broker installs its own city's."""
    await town.start("broker")
    made = await asyncio.to_thread(found, tmp_path, "yamanami")
    foreign = Desk(made.card_file.parent, minato, tmp_path)
    foreign.propose()
    foreign.countersign()
    words = "federate", "install", foreign.agreement
    assert await town.refused("broker", *words) == "wrong-audience"


def test_wrong_files_are_refused(desk: Desk) -> None:
    """Missing, altered, of the wrong kind, or under the wrong passphrase."""
    none = desk.folder / "none"
    assert run_command("federate", "show", none).status == cli.REFUSED
    assert desk.propose("--terms", none).status == cli.REFUSED
    card = desk.minato / "city-card.json"
    assert run_command("federate", "show", card).status == cli.REFUSED
    assert desk.propose("--replaces", card).status == cli.REFUSED
    desk.propose()
    wire = json.loads(desk.proposal.read_bytes())
    wire["payload"] = wire["payload"][:-4] + "AAAA"
    desk.proposal.write_text(json.dumps(wire), encoding="utf-8")
    assert desk.countersign().status == cli.REFUSED


def test_root_key_of_another_city_is_refused(desk: Desk) -> None:
    """Signing with it would make a text that nobody can install."""
    desk.hoshino, own = desk.minato, desk.hoshino
    cards: list[str | Path] = ["--card", own / "city-card.json"]
    cards += ["--with", desk.minato / "city-card.json", "--out", desk.proposal]
    done = run_command("federate", "propose", *cards, *desk.words(desk.minato))
    assert done.status == cli.REFUSED
    assert not desk.proposal.exists()


def test_wrong_passphrase_is_told(desk: Desk) -> None:
    """And nothing is written."""
    file = desk.folder / "wrong"
    file.write_bytes(b"another long passphrase")
    file.chmod(0o600)
    done = desk.propose("--root-passphrase-file", file)
    assert done.status == cli.REFUSED
    assert "passphrase" in done.stderr
    assert not desk.proposal.exists()
