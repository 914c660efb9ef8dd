"""The program's own environment: made in `.venv` on first use, completed when requirements change, repaired.

Standard library only. States of `.venv`, so that it may be interrupted at any moment, also by the loss of power:

- `ready.json` names the requirements that are installed: ready, whatever else lies there.
- `unfinished`: something was being made or installed and did not come to its end. Everything is thrown away and made
  again; pip keeps what it downloaded.
- neither: it is looked into, and only what is missing is installed.

A lock keeps two launchers apart.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.cli.pip_run import PipFailed, run_pip
from engine.cli.requirements import Needs, read_needs, satisfies, unmet, versions_here
from engine.cli.torch_build import Build, builds, find_card
from engine.errors import MachineError

CPU_BYTES, CUDA_BYTES = 2_300_000_000, 7_000_000_000
"""Size of a finished environment."""
WINDOWS = sys.platform == "win32"


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of an environment and what lies in it."""

    folder: Path

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.folder / ("Scripts/python.exe" if WINDOWS else "bin/python")

    @property
    def ready(self) -> Path:
        """Written last; names what the environment is ready for."""
        return self.folder / "ready.json"

    @property
    def unfinished(self) -> Path:
        """Lies there while something is made or installed."""
        return self.folder / "unfinished"

    @property
    def lock(self) -> Path:
        """Held by the launcher that is at work."""
        return self.folder / "launcher.lock"

    @property
    def log(self) -> Path:
        """What pip said."""
        return self.folder / "install.log"


def prepare(root: Path, *, dev: bool) -> Path | None:
    """Have an environment with the requirements of the project in `root`, with those of its tests where `dev`.

    Returns its interpreter, or None where the running one is to be used: it is the environment's, or has everything
    already. Says on stderr what takes time. Raises `MachineError`; after KeyboardInterrupt the next call mends it.
    """
    needs = read_needs(root, dev=dev)
    place = Place(root / ".venv")
    if _is_ready(place, needs):
        return None if Path(sys.prefix).resolve() == place.folder.resolve() else place.python
    if not unmet(needs.packages, versions_here(needs.names)):
        return None
    try:
        place.folder.mkdir(exist_ok=True)
        with _locked(place) as lock:
            if not _is_ready(place, needs):  # another launcher may have made it meanwhile
                _complete(place, needs, lock)
                _write_ready(place, [needs, read_needs(root, dev=False)])
    except OSError as error:
        raise MachineError(
            f"The environment in {place.folder} cannot be made ({error}): put that right and start again."
        ) from error
    return place.python


def _is_ready(place: Place, needs: Needs) -> bool:
    try:
        ready = json.loads(place.ready.read_text(encoding="utf-8"))
        return needs.digest in ready["digests"] and ready["interpreter"] == _interpreter(place)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _interpreter(place: Place) -> str:
    """The interpreter the environment stands on, which may be upgraded behind its back; OSError if it is gone."""
    if not WINDOWS:
        return str(place.python.resolve(strict=True))
    settings = (place.folder / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    home = next(line.partition("=")[2].strip() for line in settings if line.startswith("home"))
    return str((Path(home) / "python.exe").resolve(strict=True))


def _write_ready(place: Place, candidates: list[Needs]) -> None:
    ready = {"digests": [needs.digest for needs in candidates], "interpreter": _interpreter(place)}
    temporary = place.ready.with_suffix(".tmp")
    temporary.write_text(json.dumps(ready), encoding="utf-8")
    os.replace(temporary, place.ready)
    place.unfinished.unlink(missing_ok=True)


def _complete(place: Place, needs: Needs, lock: int) -> None:
    """Make what is missing of the environment; once it returns, all requirements are installed."""
    started = time.monotonic()
    there = None if place.unfinished.exists() else _versions_there(place, needs)
    if there is not None and not unmet(needs.packages, there):
        return
    card = find_card()
    if there is None:
        _check_machine(place, needs, cuda=card is not None)
        _announce(place, cuda=card is not None)
    else:
        _say("Something is missing from the environment; completing it.")
    place.ready.unlink(missing_ok=True)
    place.unfinished.touch()
    if there is None:
        _make(place, lock)
    choice = builds(sys.platform, card, pip_is_configured=_pip_is_configured(place), environment=os.environ)
    _install(place, needs, there or {}, choice, lock)
    there = _versions_there(place, needs)
    if there is None or unmet(needs.packages, there):
        raise MachineError(f"The packages were installed but are not all there; start again, or see {place.log}.")
    _say(f"Ready after {time.monotonic() - started:.0f} s.")


def _announce(place: Place, *, cuda: bool) -> None:
    size, minutes = (CUDA_BYTES, "five to ten minutes") if cuda else (CPU_BYTES, "one or two minutes")
    _say(
        f"LumosX Studio makes itself an environment of about {size / 1e9:.1f} GB, all of it in {place.folder}.\n"
        f"This happens once and takes {minutes}, longer if the network is slow. Ctrl-C stops it at any time."
    )


def _check_machine(place: Place, needs: Needs, *, cuda: bool) -> None:
    version = platform.python_version()
    if not satisfies(f"{sys.version_info[0]}.{sys.version_info[1]}.{sys.version_info[2]}", needs.python):
        raise MachineError(
            f"LumosX Studio needs Python {needs.python}; this is Python {version}: start it with another one."
        )
    if sys.platform == "darwin" and platform.machine() != "arm64":
        raise MachineError(
            "On a Mac, LumosX Studio needs Apple silicon and an arm64 Python: PyTorch no longer exists for others."
        )
    if sys.maxsize < 2**32:
        raise MachineError(
            "This is a 32-bit Python, and PyTorch does not exist for it: install a 64-bit Python and start with that."
        )
    needed = CUDA_BYTES if cuda else CPU_BYTES
    free = shutil.disk_usage(place.folder).free + _size(place.folder)
    if free < needed:
        raise MachineError(
            f"The environment needs {needed / 1e9:.1f} GB and only {free / 1e9:.1f} GB are free: make room for it."
        )


def _size(folder: Path) -> int:
    """Bytes of what lies in `folder` and is thrown away before anything is made."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())


def _make(place: Place, lock: int) -> None:
    """Throw away what is there and make an empty environment with pip."""
    _say("Making the environment.")
    for entry in place.folder.iterdir():
        if entry in (place.unfinished, place.lock):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    made = subprocess.run(
        [_base_python(), "-I", "-m", "venv", str(place.folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        pass_fds=() if WINDOWS else (lock,),
    )
    place.log.write_text(made.stdout, encoding="utf-8")
    if made.returncode:
        hint = "on Debian or Ubuntu, “sudo apt install python3-venv” puts that right"
        raise MachineError(f"This Python cannot make environments ({hint}; its own words are in {place.log}).")


def _base_python() -> str:
    """The running interpreter, or the one below it: where this runs in `.venv` itself, its own is just thrown away."""
    return getattr(sys, "_base_executable", "") or sys.executable


def _pip_is_configured(place: Place) -> bool:
    """Whether pip's configuration says where packages come from."""
    answer = subprocess.run(
        [place.python, "-I", "-m", "pip", "config", "list"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    keys = {line.partition("=")[0].rpartition(".")[2] for line in answer.stdout.splitlines()}
    return not keys.isdisjoint({"index-url", "extra-index-url", "find-links", "no-index"})


def _install(place: Place, needs: Needs, there: Mapping[str, str | None], choice: list[Build], lock: int) -> None:
    try:
        if unmet([needs.torch], there):
            _install_torch(place, needs, choice, lock)
        _say(f"Installing {len(needs.packages) - 1} packages and what they need.")
        run_pip(place.python, ["install", *needs.packages], place.log, keep_open=lock)
    except PipFailed as failure:
        # pip came to its own end and has tidied up: what is installed may stay.
        place.unfinished.unlink(missing_ok=True)
        raise MachineError(
            f"Not everything could be installed ({failure}): check the network and the free space, and start again; "
            f"pip's own words are in {place.log}."
        ) from failure


def _install_torch(place: Place, needs: Needs, choice: list[Build], lock: int) -> None:
    """Install PyTorch before everything else, for other packages must find this very build."""
    for build in choice:
        _say(f"Installing PyTorch, {build.words}.")
        # An index that does not answer is not worth minutes: there is another.
        options = [] if build.index is None else ["--index-url", build.index, "--retries", "1"]
        try:
            return run_pip(place.python, ["install", needs.torch, *options], place.log, keep_open=lock)
        except PipFailed as failure:
            if build is choice[-1]:
                raise
            _say(f"{build.index} did not have it ({failure}); trying pip's ordinary place instead.")
    return None


_LOOK = """
import json, sys
from importlib import metadata, util
versions = {}
for name in json.loads(sys.argv[1]):
    try:
        versions[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        versions[name] = None
python = "%d.%d.%d" % sys.version_info[:3]
print(json.dumps({"python": python, "pip": util.find_spec("pip") is not None, "versions": versions}))
"""


def _versions_there(place: Place, needs: Needs) -> dict[str, str | None] | None:
    """What the environment has; None if it does not start, stands on the wrong Python or has no pip."""
    try:
        look = subprocess.run(
            [place.python, "-I", "-c", _LOOK, json.dumps(needs.names)],
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=True,
        )
        found = json.loads(look.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return found["versions"] if found["pip"] and satisfies(found["python"], needs.python) else None


@contextlib.contextmanager
def _locked(place: Place) -> Generator[int, None, None]:
    """Hold the lock and yield its descriptor; waits for another launcher, and says so."""
    descriptor = os.open(place.lock, os.O_RDWR | os.O_CREAT)
    try:
        if not _try_lock(descriptor):
            _say("Another launcher is preparing the environment; waiting for it.")
            while not _try_lock(descriptor):
                time.sleep(0.2)
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    """Take the lock if it is free; closing the descriptor, or the end of all processes that have it, gives it back."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
