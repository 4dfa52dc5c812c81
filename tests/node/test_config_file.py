# SPDX-License-Identifier: Apache-2.0
"""Settings: environment over file, typos refused at every depth, no value shown."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError

from docs.make_settings import FILE, render
from node.config import Settings
from node.config_file import (
    BadSettings,
    check,
    lines,
    load,
    render_file,
)
from protocol.suites import Suite

LEAST = 'data_dir = "data"\n[node]\nid = "hoshino/clinic"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a settings file with what is required and nothing else."""
    file = tmp_path / "node.toml"
    file.write_text(LEAST, encoding="utf-8")
    return file


def test_two_lines_are_enough(file: Path) -> None:
    """Everything else has a default."""
    settings = load(file, {})
    assert settings.city_id == "hoshino"
    assert settings.trust.skew_s == 5
    assert settings.limits.max_body_bytes == 16 * 1024 * 1024


def test_relative_paths_start_at_the_file(file: Path) -> None:
    """A service manager starts us wherever it likes."""
    settings = load(file, {"MACHIKURA_API__UNIX_SOCKET": "run/admin.sock"})
    assert settings.data_dir == file.parent / "data"
    assert settings.admin_socket == file.parent / "run" / "admin.sock"


def test_environment_wins_over_the_file(file: Path) -> None:
    """Containers set what differs between two machines."""
    file.write_text(LEAST + "[api]\nport = 1\nhost = '::1'\n", encoding="utf-8")
    environ = {
        "MACHIKURA_API__PORT": "9000",
        "MACHIKURA_NODE__TITLE__JA": "星野医院",
        "MACHIKURA_BROKERS": '["wss://broker.example"]',
        "MACHIKURA_DISCOVERY__ZEROCONF": "true",
    }
    settings = load(file, environ)
    assert (settings.api.port, settings.api.host) == (9000, "::1")
    assert settings.node.title.ja == "星野医院"
    assert settings.brokers == ("wss://broker.example",)
    assert settings.discovery.zeroconf


def test_empty_variable_counts_as_unset(file: Path) -> None:
    """Container definitions often name variables without giving them a value."""
    assert load(file, {"MACHIKURA_CAPTURE__PATH": ""}).capture.path is None


def test_foreign_variables_are_left_alone(file: Path) -> None:
    """Only our prefix counts, and the variable that names the file."""
    load(file, {"PATH": "/bin", "MACHIKURA_CONFIG": str(file)})


@pytest.mark.parametrize(
    "extra",
    [
        "surprise = 1\n" + LEAST,
        LEAST + "[api]\nprot = 1\n",
        LEAST + "[node.title]\nde = 'x'\n",
        LEAST + "[apis]\nport = 1\n",
    ],
)
def test_unknown_key_is_refused_at_every_depth(file: Path, extra: str) -> None:
    """A typo must not silently leave a limit at its default."""
    file.write_text(extra, encoding="utf-8")
    with pytest.raises(BadSettings, match="Extra inputs are not permitted"):
        load(file, {})


@pytest.mark.parametrize(
    "variable",
    [
        "MACHIKURA_SURPRISE",
        "MACHIKURA_API__PROT",
        "MACHIKURA_APIS__PORT",
        "MACHIKURA_API",
        "MACHIKURA_DATA_DIR__X",
        "MACHIKURA_API__PORT__X",
    ],
)
def test_unknown_variable_is_refused(file: Path, variable: str) -> None:
    """The same holds for the environment."""
    with pytest.raises(BadSettings, match=f"^{variable}: there is no such"):
        load(file, {variable: "1"})


@pytest.mark.parametrize(
    ("environ", "fault"),
    [
        ({"MACHIKURA_API__PORT": "secret-123456"}, "api.port: "),
        ({"MACHIKURA_API__PORT": "70000"}, "api.port: "),
        ({"MACHIKURA_BROKERS": "secret-123456"}, "MACHIKURA_BROKERS: not a JSON list"),
        ({"MACHIKURA_SUITE": "secret-123456"}, "suite: "),
        ({"MACHIKURA_NODE__ID": "secret-123456"}, "node.id: "),
        ({"MACHIKURA_NODE__ROLES": "[]"}, "node.roles: "),
        ({"MACHIKURA_CITY__MUNICIPAL_CODE": "011012"}, "city.municipal_code: "),
        ({"MACHIKURA_TRUST__STATUS_EPOCH_S": "31"}, "trust: "),
    ],
)
def test_wrong_value_is_named_and_never_shown(
    file: Path, environ: Mapping[str, str], fault: str
) -> None:
    """Settings stand in logs of service managers; values may be secrets."""
    with pytest.raises(BadSettings) as caught:
        load(file, environ)
    assert fault in caught.value.detail
    assert "secret-123456" not in caught.value.detail


def test_all_faults_are_told_at_once(file: Path) -> None:
    """Nobody wants to start a service five times to find five typos."""
    environ = {"MACHIKURA_API__PORT": "x", "MACHIKURA_LINK__PORT": "y"}
    with pytest.raises(BadSettings) as caught:
        load(file, environ)
    assert len(caught.value.detail.splitlines()) == 2


def test_missing_and_broken_files_are_told(tmp_path: Path) -> None:
    """Both are an operator's everyday mistakes."""
    with pytest.raises(BadSettings, match="No such file"):
        load(tmp_path / "none.toml", {})
    (tmp_path / "broken.toml").write_text("a = ", encoding="utf-8")
    with pytest.raises(BadSettings, match="not valid TOML"):
        load(tmp_path / "broken.toml", {})
    (tmp_path / "latin.toml").write_bytes(b"a = '\xff'")
    with pytest.raises(BadSettings, match="not valid TOML"):
        load(tmp_path / "latin.toml", {})


def test_both_sources_of_the_master_key_at_once_are_refused() -> None:
    """It would be unclear which of the two opens a backup."""
    values = {
        "data_dir": "d",
        "node": {"id": "a/b"},
        "master_key": {"passphrase_file": "p", "key_file": "k"},
    }
    with pytest.raises(BadSettings, match="not both"):
        check(values)


def test_settings_are_frozen(file: Path) -> None:
    """They are read once at start; nothing changes them behind anybody's back."""
    settings = load(file, {})
    with pytest.raises(ValidationError):
        settings.data_dir = Path("/elsewhere")  # type: ignore[misc]  # that is the point


def test_accepted_suites_follow_from_the_own_one(file: Path) -> None:
    """A strict node accepts strict documents only, unless it says otherwise."""
    assert load(file, {}).accepts == {Suite.HYBRID, Suite.STRICT}
    assert load(file, {"MACHIKURA_SUITE": "strict"}).accepts == {Suite.STRICT}
    chosen = {"MACHIKURA_ACCEPTED_SUITES": '["hybrid"]'}
    assert load(file, chosen).accepts == {Suite.HYBRID}


def test_written_file_has_every_setting_and_reads_back(tmp_path: Path) -> None:
    """What was chosen stands in it, the rest as comments with its default."""
    chosen = {"data_dir": Path(), "node.id": "hoshino/clinic", "api.port": 9000}
    file = tmp_path / "node.toml"
    file.write_text(render_file(chosen), encoding="utf-8")
    assert load(file, {}).api.port == 9000
    assert load(file, {}).data_dir == tmp_path
    text = file.read_text(encoding="utf-8")
    keys = {line.name.rpartition(".")[2] for line in lines()}
    assert all(f"{key} = " in text for key in keys)


def test_unknown_setting_cannot_be_written() -> None:
    """It would be lost without a word."""
    with pytest.raises(BadSettings, match=r"api\.prot"):
        render_file({"data_dir": ".", "api.prot": 1})


def test_commented_defaults_are_the_defaults(tmp_path: Path) -> None:
    """Taking away every # changes nothing, so a comment can be trusted."""
    chosen = {"data_dir": "/d", "node.id": "hoshino/clinic"}
    text = render_file(chosen)
    keys = {line.name.rpartition(".")[2] for line in lines()}
    bare = [
        line.removeprefix("# ")
        if line.removeprefix("# ").partition(" = ")[0] in keys
        else line
        for line in text.splitlines()
    ]
    values = tomllib.loads("\n".join(bare))
    assert values["limits"]
    # An optional value has no default that TOML could write.
    values["city"] = {k: v for k, v in values["city"].items() if v}
    assert check(values) == check({"data_dir": "/d", "node": {"id": "hoshino/clinic"}})


def test_every_setting_has_a_sentence_and_its_unit() -> None:
    """The documentation is made from them."""
    found = list(lines())
    assert len(found) > 50
    assert all(line.sentence.endswith(".") for line in found)
    units = {"_s": "s", "_ms": "ms", "_bytes": "bytes", "_days": "days"}
    for line in found:
        for ending, unit in units.items():
            if line.name.endswith(ending) and "per_" not in line.name:
                assert line.unit == unit, line.name


def test_documentation_has_the_current_settings() -> None:
    """When this fails: python -m docs.make_settings."""
    assert FILE.read_text(encoding="utf-8") == render()


def test_settings_hold_no_secret() -> None:
    """Secrets are named by file, so printing settings shows none."""
    names = {line.name.rpartition(".")[2] for line in lines(Settings)}
    for name in names:
        if any(word in name for word in ("passphrase", "secret", "password", "key")):
            assert name.endswith("_file")
