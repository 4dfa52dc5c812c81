#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Set the project up and run it, with nothing but Python 3.11 or newer.

The first run makes `.venv` beside this file and installs the locked packages into it:
wheels only, each checked against its hash. Later runs find the stamp of that
installation, need no network and start at once. Standard library only, because it
runs before anything else is there.
"""

import sys

# Above the other imports and without newer syntax: an old Python must get this far.
if sys.version_info < (3, 11):
    sys.exit(
        "Machikura needs Python 3.11 or newer, and this is Python {0}.{1}.\n"
        "Debian 12 and Ubuntu 24.04 or later have it: apt-get install python3\n"
        "街蔵には Python 3.11 以上が必要です(現在は Python {0}.{1})。\n"
        "Debian 12、Ubuntu 24.04 以降では apt-get install python3 で入ります。".format(
            *sys.version_info
        )
    )

import hashlib
import importlib
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = str(VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python"))
STAMP = VENV / "machikura-installed"
RUN_LOCK = "requirements.lock"
TEST_LOCK = "requirements-test.lock"  # holds every pin of RUN_LOCK as well

HELP = """\
python3 run.py demo [--once] [--json FILE] [--suite strict]
    Start cities that exchange data as a resident agreed, and tell what happens.
    都市間で、本人の同意に基づきデータを交換するデモを動かします。
python3 run.py test [--quick] [PYTEST ARGUMENTS]
    Run the tests; --quick leaves out those marked slow.
    テストを実行します。
python3 run.py check
    Check format, lint, types and layers. Changes nothing.
    書式、静的検査、型、層の規則を検査します。
python3 run.py bench [ARGUMENTS]
    Measure.
    性能を測ります。

The first run installs into .venv beside this file; nothing else is touched.
初回は run.py と同じ場所の .venv に必要なものを入れます。ほかには何も変えません。
"""


def main(arguments: Sequence[str]) -> int:
    """Carry out one command and return its exit status."""
    command, *rest = arguments or ["--help"]
    if command in ("--help", "-h", "help"):
        print(HELP, end="")
        return 0 if arguments else 2
    if command == "demo":
        prepare(RUN_LOCK)
        # -P: a folder called "node" where the user stands is not our package.
        return start([PYTHON, "-P", "-m", "node.cli", "demo", *rest])
    if command == "test":
        prepare(TEST_LOCK)
        os.chdir(ROOT)
        return start([PYTHON, "-m", "pytest", *pytest_arguments(rest)])
    if command == "check":
        prepare(TEST_LOCK)
        return check()
    if command == "bench":
        prepare(TEST_LOCK)
        return start([PYTHON, str(ROOT / "tests" / "bench"), *rest])
    print(f"run.py: unknown command: {command}\n\n{HELP}", end="", file=sys.stderr)
    return 2


def pytest_arguments(rest: Sequence[str]) -> list[str]:
    """Return what pytest is given: a bare `test` is a full run, with coverage."""
    if not rest:
        return ["-n", "2", "--cov", "--cov-report=term"]
    passed = [argument for argument in rest if argument != "--quick"]
    return ["-n", "2", *(["-m", "not slow"] if "--quick" in rest else []), *passed]


def check() -> int:
    """Run every static check, also after one has failed, and name the failures."""
    checks = {
        "ruff format": ["ruff", "format", "--check"],
        "ruff check": ["ruff", "check"],
        "mypy": ["mypy"],
        "layers": ["pytest", "-q", "tests/test_layers.py"],
    }
    failed = []
    for name, arguments in checks.items():
        say(name)
        if subprocess.call([PYTHON, "-m", *arguments], cwd=ROOT) != 0:
            failed.append(name)
    say(f"check failed: {', '.join(failed)}" if failed else "check passed")
    return 1 if failed else 0


def prepare(lock: str) -> None:
    """Make `.venv` hold what `lock` pins and the project itself.

    The stamp is written last, so an interrupted installation is taken up again.
    """
    if not environment_works():
        create_environment()
    accepted = {fingerprint(ROOT, lock), fingerprint(ROOT, TEST_LOCK)}
    if STAMP.is_file() and STAMP.read_text(encoding="ascii") in accepted:
        return
    STAMP.unlink(missing_ok=True)
    count = (ROOT / lock).read_text(encoding="utf-8").count("==")
    say(f"Installing {count} locked packages from {lock}, a minute or two, only once")
    pip("--require-hashes", "--only-binary", ":all:", "-r", str(ROOT / lock))
    say("Installing the project itself, linked to this folder")
    pip("--no-index", "--no-deps", "--no-build-isolation", "-e", str(ROOT))
    STAMP.write_text(fingerprint(ROOT, lock), encoding="ascii")


def fingerprint(root: Path, lock: str) -> str:
    """Return what an installation depends on: lock, metadata and place, as one hash."""
    digest = hashlib.sha256()
    for part in (
        str(root).encode(),
        (root / "pyproject.toml").read_bytes(),
        (root / lock).read_bytes(),
    ):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def environment_works() -> bool:
    """Tell whether `.venv` has a Python that is new enough and has pip."""
    probe = "import pip, sys; sys.exit(sys.version_info < (3, 11))"
    try:
        return subprocess.call([PYTHON, "-c", probe], stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def create_environment() -> None:
    """Create `.venv`, first fetching the module that Debian and Ubuntu leave out."""
    if not has_venv():
        install_venv()
    say("Creating .venv with Python " + ".".join(map(str, sys.version_info[:3])))
    made = subprocess.call([sys.executable, "-m", "venv", "--clear", str(VENV)])
    if made != 0 or not environment_works():
        fail("The environment .venv could not be created (see above).")


def has_venv() -> bool:
    """Tell whether this Python can create an environment that has pip."""
    importlib.invalidate_caches()
    specs = [importlib.util.find_spec(name) for name in ("venv", "ensurepip")]
    # An empty folder left by a removed package has a spec, but no origin.
    return all(spec is not None and spec.origin is not None for spec in specs)


def install_venv() -> None:
    """Install the venv package where we may; else say how and stop."""
    package = "python{}.{}-venv".format(*sys.version_info)
    command = ["apt-get", "install", "-y", "-qq", package]
    if not shutil.which("apt-get"):
        fail("This Python has no venv and ensurepip modules. Install them, try again.")
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        fail(
            "One system package is missing. Install it, then repeat the command:\n"
            "必要なパッケージがありません。次を実行し、もう一度お試しください。\n"
            f"    sudo apt-get install {package}"
        )
    say(f"Installing the system package {package}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    quiet = subprocess.DEVNULL
    # A fresh image has no package lists; an outdated one has lists that lead nowhere.
    subprocess.call(["apt-get", "update", "-qq"], env=environment, stdout=quiet)
    done = subprocess.call(command, env=environment, stdout=quiet)
    if done != 0 or not has_venv():
        fail(f"That did not help. Try it by hand: {' '.join(command)}")


def pip(*arguments: str) -> None:
    """Install with the environment's own pip, which reports errors only."""
    command = [PYTHON, "-m", "pip", "install", "-qq", "--no-input"]
    if subprocess.call([*command, "--disable-pip-version-check", *arguments]) != 0:
        fail(
            "The installation failed (see above). It needs the network once, and the\n"
            "locked wheels are made for Python 3.11 to 3.14.\n"
            "インストールに失敗しました。初回のみネットワークが必要です。"
        )


def start(command: list[str]) -> int:
    """Become `command`, so that signals and the terminal are its own."""
    if sys.platform != "win32":
        sys.stdout.flush()
        os.execv(command[0], command)
    return subprocess.call(command)


def say(step: str) -> None:
    """Print one line about a step."""
    print(f"==> {step}", flush=True)


def fail(message: str) -> None:
    """Print what went wrong and stop with status 1."""
    sys.exit(f"run.py: {message}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
