"""The command line: what it accepts, how it refuses, and that help costs nothing."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli.parser import DEFAULT_ROUNDS, LONG_TEST_GROUPS, TEST_GROUPS, parse

ROOT = Path(__file__).resolve().parents[2]

COMMANDS = [
    [],
    ["setup"],
    ["render"],
    ["export"],
    ["parity"],
    ["weights"],
    ["weights", "list"],
    ["weights", "download"],
    ["weights", "convert"],
    ["weights", "verify"],
    ["weights", "remove"],
    ["weights", "add-lora"],
    ["nano"],
    ["nano", "train"],
    ["nano", "eval"],
    ["doctor"],
    ["bench"],
    ["bench", "network"],
    ["bench", "studio"],
    ["test"],
]


@pytest.mark.skipif(sys.platform == "win32", reason="measures processor time as POSIX does")
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_needs_no_package_and_no_time(command: list[str], tmp_path: Path) -> None:
    # -S: no installed package can be imported at all, so neither torch nor gradio.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run(
        [sys.executable, "-S", ROOT / "launcher.py", *command, "--help"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "200"},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run.returncode == 0
    assert run.stderr == ""
    assert run.stdout.startswith(" ".join(["usage: launcher.py", *command]))
    # Processor time: the wall clock of a busy machine says nothing.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_every_command_with_help_has_its_module() -> None:
    modules = ROOT / "engine" / "cli" / "commands"
    for command in {words[0] for words in COMMANDS if words}:
        assert (modules / f"{command}.py").is_file(), command


def test_nothing_starts_the_studio_with_its_defaults() -> None:
    args = parse([])
    assert args.command is None
    assert (args.host, args.port, args.no_browser, args.window) == ("127.0.0.1", 7860, False, False)
    args = parse(["--port", "8000", "--host", "::1", "--window", "--no-browser"])
    assert (args.host, args.port, args.no_browser, args.window) == ("::1", 8000, True, True)


def test_render_takes_everything_the_table_promises() -> None:
    words = "render a.png --out c.mp4 --seed 3 --steps 4 --size 832x480 --frames 5 --fps 6 --engine nano --profile low"
    args = parse([*words.split(), "--allow-unbound", "--dry-run", "--json", "--no-pictures", "--strength", "1"])
    assert args.scene == "a.png"
    assert args.out == Path("c.mp4")
    assert (args.seed, args.steps, args.size, args.frames, args.fps) == (3, 4, (832, 480), 5, 6)
    assert (args.engine, args.profile, args.strength, args.guidance) == ("nano", "low", 1.0, None)
    assert (args.allow_unbound, args.dry_run, args.json, args.no_pictures) == (True, True, True, True)


def test_what_is_left_open_is_none() -> None:
    args = vars(parse(["render", "x", "--out", "y"]))
    for option in ("seed", "steps", "size", "frames", "fps", "engine", "profile", "strength", "guidance"):
        assert args[option] is None


def test_a_lora_is_a_name_and_perhaps_a_strength() -> None:
    args = parse(["render", "x", "--out", "y", "--lora", "style:0.5", "--lora", "b", "--lora", "plain:-1"])
    assert args.lora == [("style", 0.5), ("b", 1.0), ("plain", -1.0)]
    assert parse(["render", "x", "--out", "y"]).lora is None


def test_a_dry_run_needs_no_target() -> None:
    assert parse(["render", "x", "--dry-run"]).out is None


def test_further_arguments_reach_pytest() -> None:
    args = parse(["test", "unit", "--", "-k", "launcher", "--maxfail=1"])
    assert (args.group, args.rounds) == ("unit", None)
    assert args.pytest_args == ["-k", "launcher", "--maxfail=1"]
    assert parse(["test"]).group is None


def test_rounds_are_for_the_groups_that_go_in_rounds() -> None:
    assert set(DEFAULT_ROUNDS) == {"faults", "fuzz", "soak"}
    for group in DEFAULT_ROUNDS:
        args = parse(["test", group, "--rounds", "9"])
        assert (args.group, args.rounds) == (group, 9)
        assert parse(["test", group]).rounds is None
    assert parse(["test", "--rounds", "5"]).rounds == 5
    assert not set(TEST_GROUPS) & set(LONG_TEST_GROUPS)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("rendr", "There is no “rendr”; did you mean “render”?"),
        ("zzz", "There is no “zzz”; choose from setup, render,"),
        ("weights lst", "There is no “lst”; did you mean “list”?"),
        ("weights", "ACTION is missing; see “launcher.py weights --help”."),
        ("render", "SCENE is missing; see “launcher.py render --help”."),
        ("render x", "--out is missing"),
        ("render x --out y --foo", "“--foo” is not understood here; see “launcher.py --help”."),
        ("render x --out y --see 1", "“--see 1” is not understood here"),
        ("render x --out y --steps", "--steps expected one argument."),
        ("render x --out y --steps many", "--steps has to be a whole number, not “many”."),
        ("render x --out y --steps 0", "--steps has to be between 1 and 10000, not 0."),
        ("render x --out y --seed -1", "--seed has to be between 0 and"),
        ("render x --out y --size 832", "--size has to be width x height in pixels, as in 832x480, not “832”."),
        ("render x --out y --size 0x9", "--size has to be width x height"),
        ("render x --out y --guidance nan", "--guidance has to be between 0.0 and 100.0, not nan."),
        ("render x --out y --lora style:strong", "--lora has to be a number, not “strong”."),
        ("render x --out y --lora style:9", "--lora has to be between -4.0 and 4.0, not 9.0."),
        ("render x --out y --lora :1", "--lora has to name a LoRA, as in style:0.8, not “:1”."),
        ("render x --out y --lora a --no-lora", "--lora and --no-lora exclude each other"),
        ("nano train --stage every", "--stage has to be one of all, tokenizer, vae, relations, ablation, not “every”."),
        (
            "test everything",
            "NAME has to be one of unit, parity, property, browser, faults, fuzz, mutations, soak, not “everything”.",
        ),
        ("test unit --rounds 3", "--rounds is for faults, fuzz and soak; “unit” has none."),
        ("test unit --guided", "--guided is for fuzz, as in test fuzz --guided."),
        ("test --guided", "--guided is for fuzz, as in test fuzz --guided."),
        ("--port 99999", "--port has to be between 1 and 65535, not 99999."),
        (
            "--port 1 doctor",
            "--port, --host, --password, --open-to-everyone, --no-browser and --window start the studio and cannot "
            "stand before “doctor”.",
        ),
        ("doctor -- x", "Only “test” takes further arguments behind --."),
    ],
)
def test_wrong_usage_is_one_sentence_and_code_2(line: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(line.split())
    assert end.value.code == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith(sentence)
    assert errors.count("\n") == 1


def test_an_empty_scene_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["render", " ", "--out", "y"])
    assert capsys.readouterr().err == "SCENE must not be empty.\n"
