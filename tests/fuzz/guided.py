"""Inputs guided by coverage: libFuzzer's loop around one parser, in a process of its own.

Whatever reached a new branch of our code (and of the pure Python that reads beside it) is changed further. libFuzzer
does not come back from its loop, and instruments while modules are imported: so each parser gets a fresh process,
which runs the one test that makes the parser's `Target`; what it reports lies in a folder both know. Needs atheris.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from tests.fuzz.harness import Target, Trial

PACKAGES = ("engine", "studio", "PIL", "ftfy", "huggingface_hub")
"""What is instrumented: our own, and what reads containers, words and listings in Python."""
NUMBER = "guided"
"""Stands in the name of a kept input for its number: the same run makes it again, but no number alone."""
_SHORTEST_LIMIT, _LONGEST_LIMIT = 4096, 2**20
_REPORT = "report.json"
_REACHED = re.compile(r"^#(\d+)\s+[A-Za-z]+\s+cov: (\d+) ft: (\d+)", re.MULTILINE)

Mutate = Callable[[bytes, int], bytes]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one parser. Edges and features: those the seeds reach, and those reached at the end."""

    inputs: int
    edges: tuple[int, int]
    features: tuple[int, int]
    finding: str
    """What went wrong; empty if nothing did."""


def search(node: str, root: Path, rounds: int) -> Outcome:
    """Give the parser of one test (pytest's name of it, below `root`) `rounds` inputs; the first fault ends that."""
    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.guided", node, str(rounds), folder],
            cwd=root,
            env=os.environ | {"PYTHONHASHSEED": "0"},  # the same run again
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        report = Path(folder) / _REPORT
        told: dict[str, Any] = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
    return read_outcome(ran.stdout, ran.returncode, told)


def read_outcome(output: str, code: int, told: dict[str, Any]) -> Outcome:
    """Put together what libFuzzer printed, how its process ended, and what the loop told."""
    reached = [tuple(map(int, figures)) for figures in _REACHED.findall(output)] or [(0, 0, 0)]
    finding = str(told.get("finding", ""))
    if not finding and (code or not told):
        finding = f"the process ended with code {code} in the middle of its inputs:\n{output[-3000:]}"
    (_, *first), (inputs, *last) = reached[0], reached[-1]
    edges, features = zip(first, last, strict=True)
    return Outcome(int(told.get("inputs", inputs)), edges, features, finding)


def loop(trial: Trial, target: Target, seeds: Sequence[bytes], rounds: int, folder: Path, keep: Path) -> NoReturn:
    """Let libFuzzer make `rounds` inputs of `seeds`, and leave the process.

    What it reports lies in `folder`; an input that ends the process at once, at `keep`.
    """
    from tests.fuzz.harness import BATCH, InputFailure

    atheris: Any = importlib.import_module("atheris")
    corpus = folder / "corpus"
    corpus.mkdir()
    for place, seed in enumerate(seeds):
        (corpus / f"{place:04}").write_bytes(seed)
    keep.parent.mkdir(parents=True, exist_ok=True)
    trial.warm_up(seeds)  # an import that is instrumented takes seconds, which no input shall be blamed for

    def tell(finding: str = "") -> None:
        report = asdict(trial.count) | {"finding": finding}
        (folder / _REPORT).write_text(json.dumps(report), encoding="utf-8")

    with trial.feeding(NUMBER) as feed:

        def one(data: bytes) -> None:
            try:
                feed(as_text(data) if target.kind == "text" else data)
                if trial.count.inputs % BATCH == 0 or trial.count.inputs >= rounds:
                    trial.check_handles()
            except InputFailure as failure:
                tell(str(failure))
                os._exit(1)
            if trial.count.inputs >= rounds:
                tell()

        longest = max(map(len, seeds), default=0)
        arguments = {
            "runs": rounds,
            "seed": zlib.crc32(target.name.encode()) or 1,
            "max_len": min(max(2 * longest, _SHORTEST_LIMIT), _LONGEST_LIMIT),
            # Time and memory are the harness's business; what it cannot see is the end of the whole process.
            "rss_limit_mb": 0,
            "timeout": 0,
            "report_slow_units": 10**6,  # they would be kept as if they were failing
            "exact_artifact_path": keep,
            "reload": 0,
        }
        atheris.Setup(
            ["fuzz", *(f"-{name}={value}" for name, value in arguments.items()), str(corpus)],
            one,
            # Looked up anew each time: libFuzzer puts it there when it begins.
            custom_mutator=mutator(target, lambda data, most: atheris.Mutate(data, most)),
        )
        atheris.Fuzz()
    raise AssertionError("libFuzzer came back from its loop")


def mutator(target: Target, mutate: Mutate) -> Callable[[bytes, int, int], bytes]:
    """What makes an input of one that reached something: by turns libFuzzer's changes and those that know its kind."""
    from tests.fuzz.mutation import changed

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.5:
            return mutate(data, max_size)
        try:
            made = changed(rng, as_text(data) if target.kind == "text" else data, target.seeds, target.kind)
        except (ValueError, RecursionError):  # a number or a tree that no JSON can be written of
            return mutate(data, max_size)
        return made if len(made) <= max_size else mutate(data, max_size)

    return change


def as_text(data: bytes) -> bytes:
    """The nearest text, half letters allowed: who reads words is given no other bytes."""
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace").encode()
    return data


def _main(node: str, rounds: str, folder: str) -> NoReturn:
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=list(PACKAGES)):
        import pytest

        options = ("-s", "-p", "no:faulthandler", "-p", "no:cacheprovider", f"--rounds={rounds}", f"--loop-in={folder}")
        raise SystemExit(pytest.main([node, *options]))


if __name__ == "__main__":
    _main(*sys.argv[1:])
