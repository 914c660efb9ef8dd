"""A small copy of the project with a make-believe pip, to try the launcher on: real processes, signals and files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.patience import PATIENCE_S, wait_until

ROOT = Path(__file__).resolve().parents[2]

PYPROJECT = """
[project]
requires-python = ">=3.11,<3.14"
dependencies = ["torch==2.13.0", "paint>=1,<3", "elsewhere==1; sys_platform == 'nowhere'"]
[project.optional-dependencies]
dev = ["easel==4.0"]
"""

# Stands in for the command line: says where it runs and with what.
MAIN = """
import json, os, sys
def main(argv, studio):
    print(json.dumps({"prefix": sys.prefix, "argv": argv, "cwd": os.getcwd()}))
    return 7
"""

# A Python that makes environments in a moment and puts the make-believe pip in.
PYTHON = """#!{python}
import os, pathlib, subprocess, sys
assert sys.argv[1:4] == ["-I", "-m", "venv"], sys.argv
desk, folder = pathlib.Path({desk!r}), sys.argv[4]
with (desk / "made").open("a") as file:
    file.write("made\\n")
subprocess.run([{base!r}, "-I", "-m", "venv", "--without-pip", folder], check=True)
site = next(pathlib.Path(folder).glob("lib/python*/site-packages"))
(site / "pip").mkdir()
(site / "pip" / "__init__.py").touch()
(site / "pip" / "__main__.py").write_text((desk / "pip.py").read_text())
"""

PIP = """
import json, os, pathlib, re, sys, time
desk = pathlib.Path({desk!r})
site = pathlib.Path(__file__).parents[1]
words = [word for word in sys.argv[1:] if word not in ("--disable-pip-version-check", "--no-input", "--no-color")]
if words[0] == "config":
    print((desk / "config").read_text() if (desk / "config").exists() else "")
    sys.exit()
assert words[0] == "install"
with (desk / "calls").open("a") as file:
    file.write(json.dumps(words[1:]) + "\\n")
if (desk / "offline").exists() or ("--index-url" in words and (desk / "index-offline").exists()):
    print("WARNING: Retrying")
    print("ERROR: No matching distribution found for torch==2.13.0")
    sys.exit(1)
for word in words[1:]:
    match = re.match(r"(torch|paint|easel)[=>]=([0-9.]+)", word)
    if not match:
        continue
    print("Collecting", match[1], flush=True)
    if (desk / "hang").exists() and match[1] == "paint":
        (site / "half-made").touch()
        (desk / "hanging").write_text(str(os.getpid()))
        while (desk / "hang").exists():
            time.sleep(0.05)
    for old in site.glob(f"{{match[1]}}-*.dist-info"):
        (old / "METADATA").unlink()
        old.rmdir()
    info = site / f"{{match[1]}}-{{match[2]}}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\\nName: {{match[1]}}\\nVersion: {{match[2]}}\\n")
(desk / "done").touch()
"""

DRIVER = """
import sys
sys.path.insert(0, {root!r})
from engine.cli import environment
environment._base_python = lambda: {python!r}
import launcher
sys.exit(launcher.main(sys.argv[1:]))
"""


@dataclass
class Tree:
    """The copy in `root`, and `desk`: the folder through which a test and the make-believe pip speak."""

    root: Path
    desk: Path
    environment: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def venv(self) -> Path:
        """The environment the launcher makes."""
        return self.root / ".venv"

    @property
    def calls(self) -> list[list[str]]:
        """What pip was asked to install, call by call."""
        path = self.desk / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def times_made(self) -> int:
        """How often an environment was made."""
        path = self.desk / "made"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def start(self, *arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        """Start the launcher in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-S", str(self.desk / "driver.py"), *arguments],
            cwd=cwd or self.desk,
            env={**os.environ, "LUMOSX_TORCH_INDEX": "none", **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )

    def run(self, *arguments: str, cwd: Path | None = None) -> Run:
        """Run the launcher to its end."""
        process = self.start(*arguments, cwd=cwd)
        output, errors = process.communicate(timeout=PATIENCE_S)
        return Run(process.returncode, output, errors)

    def wait_for(self, name: str) -> None:
        """Wait until the make-believe pip has put something on the desk."""
        wait_until((self.desk / name).exists, name)

    def hang(self) -> None:
        """Have pip stop in the middle of the second package until `release`."""
        (self.desk / "hang").touch()

    def release(self) -> None:
        """Let a hanging pip go on, and forget that it hung."""
        (self.desk / "hang").unlink(missing_ok=True)
        (self.desk / "hanging").unlink(missing_ok=True)

    def pip_is_running(self) -> bool:
        """Whether the pip that hangs is still there."""
        process = int((self.desk / "hanging").read_text())
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        # A child of a dead launcher may wait to be collected: that is not running.
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True).stdout
        return bool(state.strip()) and not state.startswith("Z")


@dataclass
class Run:
    """A finished launcher."""

    code: int
    output: str
    errors: str

    @property
    def told(self) -> dict[str, object]:
        """What the stand-in for the command line said."""
        return json.loads(self.output)


def make_tree(folder: Path) -> Tree:
    """Lay out the copy below `folder`."""
    root, desk = folder / "a project", folder / "desk"
    (root / "engine" / "cli").mkdir(parents=True)
    desk.mkdir()
    for name in ("launcher.py", "engine/__init__.py", "engine/errors.py"):
        shutil.copy(ROOT / name, root / name)
    for path in (ROOT / "engine" / "cli").glob("*.py"):
        shutil.copy(path, root / "engine" / "cli" / path.name)
    (root / "engine" / "cli" / "main.py").write_text(MAIN)
    (root / "pyproject.toml").write_text(PYPROJECT)
    python = desk / "python"
    base = os.path.realpath(sys.executable)
    python.write_text(PYTHON.format(python=base, base=base, desk=str(desk)))
    python.chmod(0o755)
    (desk / "pip.py").write_text(PIP.format(desk=str(desk)))
    (desk / "driver.py").write_text(DRIVER.format(root=str(root), python=str(python)))
    return Tree(root=root, desk=desk)


def kill_group(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal to a launcher and to everything it started, as a terminal does."""
    os.killpg(process.pid, number)
