"""How inputs are made for a parser, and one report of all parsers, shown before pytest's closing line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

from tests.fuzz import guided
from tests.fuzz.harness import Report, Target, Trial, kept_at

_REPORT = Report()
_OUTCOMES: dict[str, guided.Outcome] = {}
_STRUCTURE_SHARE = 10
"""One input in so many is made by hypothesis, which takes its time for each; the others are changed seeds."""
_STRUCTURES = 100
"""So many of hypothesis's inputs stand beside the seeds where coverage is the guide."""

Fuzz = Callable[[Target, SearchStrategy[bytes]], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Who makes the inputs, where it is not hypothesis and chance."""
    parser.addoption("--guided", action="store_true", help="let coverage guide the inputs; needs atheris")
    parser.addoption("--loop-in", metavar="FOLDER", help="be the process of one parser's guided loop, and report here")
    parser.addoption("--input", metavar="FILE", help="try one kept input again, as out/fuzz/NAME-NUMBER.bin")


@pytest.fixture
def fuzz(fuzz_rounds: int, tmp_path: Path, request: pytest.FixtureRequest) -> Fuzz:
    """Try a parser with `fuzz_rounds` inputs: changed seeds, and what a strategy makes; or as the options say."""
    config = request.config
    root = Path(str(config.rootpath))
    failures = root / "out" / "fuzz"

    def by_chance(target: Target, structure: SearchStrategy[bytes]) -> None:
        trial = Trial(target, tmp_path / "trial", failures, _REPORT)
        made = max(fuzz_rounds // _STRUCTURE_SHARE, 1)
        trial.mutate(max(fuzz_rounds - made, 1))
        with trial.feeding() as feed:
            _make(structure, made, feed)

    def by_coverage(target: Target, structure: SearchStrategy[bytes]) -> None:
        outcome = guided.search(request.node.nodeid, root, fuzz_rounds)
        _OUTCOMES[target.name] = outcome
        if outcome.finding:
            pytest.fail(outcome.finding, pytrace=False)

    def in_the_loop(target: Target, structure: SearchStrategy[bytes]) -> None:
        seeds = list(target.seeds)
        _make(structure, _STRUCTURES, lambda data: seeds.append(data))
        trial = Trial(target, tmp_path / "trial", failures, _REPORT)
        folder = Path(str(config.getoption("--loop-in")))
        guided.loop(trial, target, seeds, fuzz_rounds, folder, kept_at(failures, target, guided.NUMBER))

    def again(target: Target, structure: SearchStrategy[bytes]) -> None:
        kept = Path(str(config.getoption("--input")))
        number = kept.stem.rpartition("-")[2]
        if kept_at(kept.parent, target, number) != kept:
            pytest.skip("the input is of another parser")
        with Trial(target, tmp_path / "trial", failures, _REPORT).feeding(number) as feed:
            feed(kept.read_bytes())

    ways = {"--input": again, "--loop-in": in_the_loop, "--guided": by_coverage}
    return next((run for option, run in ways.items() if config.getoption(option)), by_chance)


def _make(structure: SearchStrategy[bytes], count: int, take: Callable[[bytes], None]) -> None:
    options = settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    options(given(structure)(take))()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many inputs each parser got, and what guided ones reached."""
    lines = _REPORT.lines() if _REPORT.counts else [_outcome_line(*one) for one in sorted(_OUTCOMES.items())]
    if lines:
        terminalreporter.section("inputs for each parser of foreign bytes")
        for line in lines:
            terminalreporter.write_line(line)
    if _OUTCOMES:
        terminalreporter.write_line(_figures())


def pytest_unconfigure(config: pytest.Config) -> None:
    """Tell the figures of a guided run once more as the very last line, where that was asked for."""
    if _OUTCOMES and config.getoption("--figures-last"):
        print(_figures(), flush=True)


def _outcome_line(name: str, one: guided.Outcome) -> str:
    reached = f"edges {one.edges[0]:6,} to {one.edges[1]:6,}  features {one.features[0]:7,} to {one.features[1]:7,}"
    return f"{name:32} {one.inputs:9,} inputs  {reached}  {'one finding' if one.finding else 'no finding'}"


def _figures() -> str:
    """One line of JSON about a guided run."""
    outcomes = _OUTCOMES.values()
    figures = {
        "guided": True,
        "parsers": len(outcomes),
        "inputs": sum(one.inputs for one in outcomes),
        "findings": sum(bool(one.finding) for one in outcomes),
    }
    return json.dumps(figures)
