# SPDX-License-Identifier: Apache-2.0
"""The frame keeps its promises: two commands, exact locks, one version.

`run.py` works with a bare Python, the locks say nothing of the machine that made them,
and the metadata, the locks and the change log agree.
"""

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import run

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("protocol", "identity", "vault", "federation", "node")
LOCKS = (run.RUN_LOCK, run.TEST_LOCK)
METADATA = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pins(lock: str) -> dict[str, str]:
    """Return the exact version of each distribution named in `lock`."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    lines = re.findall(r"^(\S+)==([^ ;\\]+)", text, flags=re.MULTILINE)
    return {canonicalize_name(name): version for name, version in lines}


def demands(lock: str) -> list[Requirement]:
    """Return what the metadata asks of `lock`: to build, to run and, maybe, to test."""
    lines = METADATA["dependency-groups"]["build"] + METADATA["project"]["dependencies"]
    if lock == run.TEST_LOCK:
        lines = lines + METADATA["project"]["optional-dependencies"]["test"]
    return [Requirement(line) for line in lines]


def test_run_needs_the_standard_library_only() -> None:
    """It runs before anything is installed."""
    tree = ast.parse((ROOT / "run.py").read_text(encoding="utf-8"))
    names = [
        name
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    ]
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


def test_run_can_be_read_by_an_old_python() -> None:
    """Newer syntax would hide the friendly message behind a SyntaxError."""
    source = (ROOT / "run.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 7))
    kinds = [type(node) for node in tree.body[:3]]
    assert kinds == [ast.Expr, ast.Import, ast.If]


def test_help_works_without_any_installed_package() -> None:
    """The help is what a newcomer sees first, on a machine with nothing on it."""
    done = subprocess.run(
        [sys.executable, "-S", "-I", str(ROOT / "run.py"), "--help"],
        capture_output=True,
        check=True,
        encoding="utf-8",
    )
    named = re.findall(r"^python3 run\.py (\w+)", done.stdout, flags=re.MULTILINE)
    assert named == ["demo", "test", "check", "bench"]


def test_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A typing error installs nothing and shows the commands."""
    assert run.main(["tset"]) == 2
    assert "unknown command: tset" in capsys.readouterr().err


def test_bare_test_command_measures_coverage() -> None:
    """A full run shows the coverage summary."""
    assert "--cov" in run.pytest_arguments([])


def test_quick_leaves_out_slow_tests() -> None:
    """The flag is ours and is not handed to pytest; the rest is."""
    given = run.pytest_arguments(["--quick", "-x"])
    assert given == ["-n", "2", "-m", "not slow", "-x"]


def test_changed_lock_means_a_new_installation(tmp_path: Path) -> None:
    """The stamp must not survive a change of what it stands for."""
    (tmp_path / "pyproject.toml").write_text("[project]")
    (tmp_path / "a.lock").write_text("aiohttp==1")
    before = run.fingerprint(tmp_path, "a.lock")
    (tmp_path / "a.lock").write_text("aiohttp==2")
    assert run.fingerprint(tmp_path, "a.lock") != before


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_names_no_place(lock: str) -> None:
    """A host or a path would tie every user to the machine that made the lock."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert not re.search(r"://|file:|(^|\s)/|index-url|find-links|trusted-host", text)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_its_hashes(lock: str) -> None:
    """A pin without a hash would be refused, or worse, trusted."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    assert len(blocks) == len(pins(lock))
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", block) for block in blocks)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_dependency_is_pinned_within_its_bounds(lock: str) -> None:
    """The metadata and the lock were renewed together."""
    pinned = pins(lock)
    for demand in demands(lock):
        assert demand.specifier.contains(pinned[canonicalize_name(demand.name)])


def test_tests_run_on_what_is_deployed() -> None:
    """The test lock holds every pin of the lock for running, at the same version."""
    assert pins(run.RUN_LOCK).items() <= pins(run.TEST_LOCK).items()


def test_every_dependency_has_a_lower_and_an_upper_bound() -> None:
    """Without an upper bound a new major version breaks an old release."""
    for demand in demands(run.TEST_LOCK):
        assert {clause.operator for clause in demand.specifier} == {">=", "<"}


def test_builder_is_locked_as_the_build_asks() -> None:
    """The build requirement is written twice, and must not drift apart."""
    assert (
        METADATA["dependency-groups"]["build"] == METADATA["build-system"]["requires"]
    )


def test_wheel_holds_the_five_packages() -> None:
    """The names are generic, so nothing else may land beside them."""
    wheel = METADATA["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert sorted(wheel["packages"]) == sorted(PACKAGES)


def test_version_is_stated_once() -> None:
    """Whoever needs the version asks the installed metadata."""
    stated = METADATA["project"]["version"]
    log = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[([^\]]+)\]", log, flags=re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert headings[1:2] in ([], [stated])
    try:
        assert version("machikura") == stated
    except PackageNotFoundError:
        assert not run.STAMP.exists()


def test_gate_runs_checks_and_tests() -> None:
    """The gate is the two commands a contributor runs, nothing more."""
    gate = ROOT / ".ci" / "run"
    commands = gate.read_text(encoding="utf-8").splitlines()[-2:]
    assert commands == ["python3 run.py check", "python3 run.py test"]
    assert os.access(gate, os.X_OK)


def test_every_module_begins_with_its_licence() -> None:
    """One SPDX line on top, after the line that makes a file executable."""
    folders = [*PACKAGES, "tests"]
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    without = [
        path.relative_to(ROOT).as_posix()
        for path in [ROOT / "run.py", *files]
        if "# SPDX-License-Identifier: Apache-2.0"
        not in path.read_text(encoding="utf-8").splitlines()[:2]
    ]
    assert without == []
