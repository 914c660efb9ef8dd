"""All commands and options of the command line, with their help.

Standard library only: `--help` and wrong usage are answered before there is an environment. Checks form, not meaning:
whether a size suits an engine, or a folder exists, is said by the command itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import NoReturn

from engine.cli.render_options import add_limits, add_render_settings
from engine.cli.sentences import listed, sentence
from engine.cli.values import number, one_of, path_value, size_value, text_value, whole, whole_list

DEFAULT_PORT = 7860
DEFAULT_HOST = "127.0.0.1"

TEST_GROUPS = ("unit", "parity", "property", "browser", "faults")
"""Folders below `tests/` that run without a name, in this order."""
LONG_TEST_GROUPS = ("fuzz", "mutations", "soak")
"""Folders below `tests/` that run by name only."""
DEFAULT_ROUNDS = {"faults": 3, "fuzz": 2000, "soak": 200}
"""Groups that take `--rounds`, and how many where none are asked for; of fuzz: inputs for each parser."""
_STUDIO_OPTIONS = ("--port", "--host", "--password", "--open-to-everyone", "--no-browser", "--window")
NANO_STAGES = ("all", "tokenizer", "vae", "relations", "ablation")


class _Parser(argparse.ArgumentParser):
    """An argument parser that answers wrong usage with one sentence and exit code 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, sentence(message, self.prog) + "\n")


def build_parser(prog: str = "launcher.py") -> argparse.ArgumentParser:
    """Make the parser of all commands.

    The namespace has `command` (None: start the studio) and, for commands with parts, `action`; the other names are
    those of the options. What the user left open is None (or False for switches), unless its help names a default.
    """
    parser = _Parser(
        prog=prog,
        description="LumosX Studio: a local studio for personalised video. Without a command it starts the studio.",
        epilog="Exit codes: 0 done, 1 a fault of the program or a failed check, 2 input or machine, 130 cancelled.",
        allow_abbrev=False,
    )
    _add_studio_options(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", parser_class=_Parser)
    for add in _COMMANDS:
        add(commands)
    return parser


def parse(argv: Sequence[str], prog: str = "launcher.py") -> argparse.Namespace:
    """Parse `argv`; leaves with `SystemExit` 0 after help and 2, one sentence on stderr, after wrong usage.

    Everything behind a single `--` is for pytest and lands in `pytest_args` of the command `test`.
    """
    parser = build_parser(prog)
    own, rest = _split(argv)
    args = parser.parse_args(own)
    if args.command is None:
        _with_address(args)
    elif (
        args.port is not None
        or args.host is not None
        or args.password is not None
        or args.open_to_everyone
        or args.no_browser
        or args.window
    ):
        parser.error(f"{listed(_STUDIO_OPTIONS)} start the studio and cannot stand before “{args.command}”")
    if args.command == "render" and args.out is None and not args.dry_run:
        parser.error("--out is missing: the name of the clip, as in --out clip.mp4")
    if args.command == "render" and args.seeds is not None and (args.seed is not None or len(set(args.seeds)) < 2):
        parser.error("--seeds names at least two different seeds and stands without --seed, as in --seeds 1,2,3")
    if args.command == "render" and args.lora and args.no_lora:
        parser.error("--lora and --no-lora exclude each other")
    if args.command == "test":
        if args.rounds is not None and args.group is not None and args.group not in DEFAULT_ROUNDS:
            parser.error(f"--rounds is for {listed(DEFAULT_ROUNDS)}; “{args.group}” has none")
        if args.guided and args.group != "fuzz":
            parser.error("--guided is for fuzz, as in test fuzz --guided")
        args.pytest_args = rest
    elif rest:
        parser.error("only “test” takes further arguments behind --")
    return args


def parse_studio(argv: Sequence[str] | None, prog: str) -> argparse.Namespace:
    """Parse the options that start the studio, without any command; else as `parse`."""
    parser = _Parser(prog=prog, description="Start LumosX Studio.", allow_abbrev=False)
    _add_studio_options(parser)
    return _with_address(parser.parse_args(argv))


def _with_address(args: argparse.Namespace) -> argparse.Namespace:
    args.port = DEFAULT_PORT if args.port is None else args.port
    args.host = DEFAULT_HOST if args.host is None else args.host
    return args


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    if "--" not in argv:
        return list(argv), []
    at = list(argv).index("--")
    return list(argv[:at]), list(argv[at + 1 :])


# Commands -------------------------------------------------------------------------------------------------------------

_Commands = argparse._SubParsersAction  # pyright: ignore[reportPrivateUsage]  (it has no public name)


def _add_studio_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("studio")
    group.add_argument("--port", type=whole(1, 65535), metavar="N", help=f"port of the page (default {DEFAULT_PORT})")
    group.add_argument(
        "--host", type=text_value, metavar="H", help=f"address to listen on (default {DEFAULT_HOST}, this machine only)"
    )
    group.add_argument(
        "--password", type=text_value, metavar="WORD", help="ask for this word, and keep what visitors have apart"
    )
    group.add_argument("--open-to-everyone", action="store_true", help="let others in without a password")
    group.add_argument("--no-browser", action="store_true", help="do not open the browser")
    group.add_argument("--window", action="store_true", help="open the studio in a window of its own")


def _add(commands: _Commands[_Parser], name: str, text: str, epilog: str | None = None) -> argparse.ArgumentParser:
    description = text[0].upper() + text[1:] + "."
    return commands.add_parser(name, help=text, description=description, epilog=epilog, allow_abbrev=False)


def _setup(commands: _Commands[_Parser]) -> None:
    _add(commands, "setup", "make the environment ready and stop (every other command does so, too)")


def _render(commands: _Commands[_Parser]) -> None:
    parser = _add(
        commands,
        "render",
        "make a clip of a scene",
        epilog="What is left open comes from the scene, else from the engine. A clip of ours as SCENE is made again.",
    )
    parser.add_argument(
        "scene",
        type=text_value,
        metavar="SCENE",
        help="sample folder or its zip, preset (path or name), .lumosx file, scene file or a clip of ours",
    )
    parser.add_argument(
        "--out", type=path_value, metavar="FILE", help="target: .mp4, .webm, .gif, or a folder for PNG frames"
    )
    parser.add_argument(
        "--seed", type=whole(0, 2**63 - 1), metavar="N", help="start of the noise; same seed, same clip"
    )
    parser.add_argument(
        "--seeds",
        type=whole_list(0, 2**63 - 1),
        metavar="N,N…",
        help="a clip for each of these seeds, named after it; painted together, which is quicker than one by one",
    )
    add_render_settings(parser)
    parser.add_argument("--profile", type=text_value, metavar="NAME", help="memory profile")
    add_limits(parser, "use at most")
    parser.add_argument(
        "--allow-unbound",
        action="store_true",
        help="render although the phrase of a picture is missing from the prompt",
    )
    parser.add_argument(
        "--no-pictures", action="store_true", help="leave the pictures out of the recipe inside the clip"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check everything, say what would be made, how and how long it takes, and stop",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document for machines")


def _export(commands: _Commands[_Parser]) -> None:
    parser = _add(
        commands,
        "export",
        "write a scene as an official sample folder, with a scene.json that loses nothing, or as one file to share",
    )
    parser.add_argument("scene", type=text_value, metavar="SCENE", help="as for render")
    parser.add_argument(
        "folder", type=path_value, metavar="TARGET", help="folder to write, or a file: .lumosx, or .zip of the folder"
    )
    parser.add_argument(
        "--whole-pictures",
        action="store_true",
        help="put whole photographs and their masks into the file, not only what the scene shows of them",
    )


def _space(commands: _Commands[_Parser]) -> None:
    parser = _add(commands, "space", "write the program as a folder for a Hugging Face Space; nothing is sent")
    parser.add_argument("folder", type=path_value, metavar="FOLDER", help="empty folder, or a clone of the Space")


def _parity(commands: _Commands[_Parser]) -> None:
    parser = _add(commands, "parity", "run recorded cases of the published model and compare")
    parser.add_argument("folder", type=path_value, metavar="FOLDER", help="folder of cases")
    parser.add_argument("--out", type=path_value, metavar="DIR", help="write our own outputs there")


def _weights(commands: _Commands[_Parser]) -> None:
    actions = _parts(
        _add(commands, "weights", "list, fetch, convert, verify, repair, measure or remove model files; LoRAs"),
        "ACTION",
    )
    part = _add(actions, "list", "what there is, its size, its licence, and what is installed")
    part.add_argument("--json", action="store_true", help="one JSON document for machines")
    part = _add(actions, "download", "fetch model files; goes on where it was interrupted")
    part.add_argument("name", type=text_value, nargs="?", metavar="NAME", help="which (default: the published LumosX)")
    part.add_argument(
        "--from", dest="source", type=path_value, metavar="PATH", help="use files that are already on this machine"
    )
    part.add_argument("--accept-licence", action="store_true", help="accept a licence for non-commercial research only")
    part = _add(actions, "convert", "turn the published bundle into a folder the engine loads")
    part.add_argument("source", type=path_value, metavar="SOURCE", help="folder of the published bundle")
    part.add_argument("--out", type=path_value, metavar="DIR", help="folder to write (default: where the engine looks)")
    part = _add(actions, "verify", "compare installed files with their recorded digests")
    part.add_argument("name", type=text_value, nargs="?", metavar="NAME", help="which (default: all)")
    part = _add(actions, "repair", "read installed files and bring the damaged ones again, only these")
    part.add_argument("name", type=text_value, nargs="?", metavar="NAME", help="which (default: the published LumosX)")
    part = _add(actions, "calibrate", "measure what the step cache “magnitude” has to know of an engine's weights")
    part.add_argument("name", type=text_value, nargs="?", metavar="NAME", help="which (default: the published LumosX)")
    part.add_argument("--scene", type=text_value, metavar="SCENE", help="as for render (default: the first preset)")
    part.add_argument("--steps", type=whole(1, 10_000), metavar="N", help="sampling steps (default: the engine's)")
    part.add_argument("--size", type=size_value, metavar="WxH", help="width and height (default: the engine's)")
    part.add_argument("--frames", type=whole(1, 100_000), metavar="N", help="number of frames (default: the engine's)")
    part = _add(actions, "remove", "delete installed model files")
    part.add_argument("name", type=text_value, metavar="NAME", help="which")
    part.add_argument("--yes", action="store_true", help="do not ask")
    part = _add(actions, "loras", "your LoRAs, and which engine each is for")
    part.add_argument("--json", action="store_true", help="one JSON document for machines")
    part = _add(actions, "add-lora", "copy a LoRA (.safetensors) to your own, for render --lora")
    part.add_argument("file", type=path_value, metavar="FILE", help="the file")
    part = _add(actions, "remove-lora", "delete one of your LoRAs")
    part.add_argument("name", type=text_value, metavar="NAME", help="which")
    part.add_argument("--yes", action="store_true", help="do not ask")


def _nano(commands: _Commands[_Parser]) -> None:
    actions = _parts(_add(commands, "nano", "train, mix or measure the built-in model"), "ACTION")
    part = _add(actions, "train", "train the built-in model from nothing")
    part.add_argument("--out", type=path_value, metavar="DIR", help="folder of the run")
    part.add_argument(
        "--stage", type=one_of(NANO_STAGES), default="all", metavar="STAGE", help=f"{', '.join(NANO_STAGES)}"
    )
    part.add_argument("--steps", type=whole(1, 10**9), metavar="N", help="training steps of the stage")
    part.add_argument("--batch", type=whole(1, 10**6), metavar="N", help="samples in a step")
    part.add_argument("--learning-rate", type=number(1e-9, 1), metavar="X", help="highest learning rate of the stage")
    part.add_argument(
        "--guided",
        type=number(0, 0.9),
        default=0.0,
        metavar="W",
        help="relation guidance that the relations stage learns to give in one pass (default 0; 0.5 is worth 1)",
    )
    part.add_argument("--seed", type=whole(0, 2**63 - 1), default=0, metavar="N", help="seed (default 0)")
    part.add_argument("--resume", action="store_true", help="go on from the last checkpoint of the run")
    part.add_argument("--start", type=path_value, metavar="DIR", help="begin with the weights of this model folder")
    part.add_argument(
        "--record", action="store_true", help="with --stage ablation: write the table on the card of the --start model"
    )
    part = _add(actions, "mean", "mix finished weights into a new model folder")
    part.add_argument("models", nargs="+", metavar="DIR=SHARE", help="models and their shares, as in A=0.7 B=0.3")
    part.add_argument("--out", type=path_value, required=True, metavar="DIR", help="the new model folder")
    part = _add(actions, "eval", "measure whether every face got its own clothes")
    part.add_argument("--scenes", type=whole(1, 10**6), default=40, metavar="N", help="number of scenes (default 40)")
    part.add_argument("--seed", type=whole(0, 2**63 - 1), default=1, metavar="S", help="seed of the scenes (default 1)")
    part.add_argument("--weights", type=path_value, metavar="DIR", help="model folder (default: the built-in one)")
    part.add_argument("--steps", type=whole(1, 10_000), metavar="N", help="sampling steps")
    part.add_argument(
        "--subjects", type=whole_list(1, 6), default=(1, 2, 3), metavar="N,N…", help="numbers of subjects (1,2,3)"
    )
    part.add_argument("--record", action="store_true", help="write the results on the model's card")
    part = _add(actions, "preview", "fit the live picture of a model to its VAE; a minute")
    part.add_argument("--weights", type=path_value, metavar="DIR", help="model folder (default: the built-in one)")


def _doctor(commands: _Commands[_Parser]) -> None:
    parser = _add(commands, "doctor", "this machine, its budget, what is installed and what will run")
    add_limits(parser, "judge as if there were")
    parser.add_argument("--json", action="store_true", help="one JSON document for machines")
    parser.add_argument(
        "--bundle",
        type=path_value,
        metavar="FILE",
        help="write a zip to attach to a report: all this, versions and the log, without pictures and names",
    )


def _bench(commands: _Commands[_Parser]) -> None:
    actions = _parts(_add(commands, "bench", "figures, measured on this machine"), "WHAT")
    part = _add(actions, "network", "the network against its published form and against plain Wan; minutes, about 4 GB")
    part.add_argument("--repeats", type=whole(1, 1000), default=5, metavar="N", help="interleaved repeats (default 5)")
    part.add_argument(
        "--layers",
        type=whole(1, 30),
        default=2,
        metavar="N",
        help="how many of the network's 30 identical blocks are timed (default 2); the figures are those of all",
    )
    part = _add(
        actions,
        "speed",
        "what a clip takes, stage by stage, and what having it sooner costs; options of render, as in --lora quick "
        "--steps 4, are measured beside the full render as one draft more",
    )
    add_render_settings(part)
    part.add_argument("--repeats", type=whole(1, 1000), default=3, metavar="N", help="interleaved repeats (default 3)")
    part.add_argument(
        "--scenes",
        type=whole(0, 10_000),
        default=0,
        metavar="N",
        help="also measure on so many drawn scenes who wears what in every draft; for the built-in model (default 0)",
    )
    part = _add(actions, "gpu", "the full model's size on a graphics card, with random weights; minutes")
    part.add_argument(
        "--vram-limit", type=number(1, 1024), metavar="GB", help="use at most so much of the card's memory, in GiB"
    )
    part.add_argument("--steps", type=whole(1, 1000), default=3, metavar="N", help="steps to time (default 3)")
    part.add_argument("--attention", type=text_value, metavar="NAME", help="what computes attention, as for render")
    part = _add(actions, "compiled", "what compiling the network's blocks costs and gains; needs a compiler, minutes")
    part.add_argument("--repeats", type=whole(1, 1000), default=9, metavar="N", help="pairs of passes (default 9)")
    part = _add(actions, "training", "what training the built-in model takes, stage by stage; minutes")
    part.add_argument("--updates", type=whole(1, 1000), default=30, metavar="N", help="updates to time (default 30)")
    part = _add(actions, "looks", "what looking at a forming clip takes, coarsely and sharply; minutes without a card")
    part.add_argument("--repeats", type=whole(1, 1000), default=3, metavar="N", help="looks of each kind (default 3)")
    part = _add(actions, "studio", "how fast the page is, in a real browser; needs Chromium, minutes")
    part.add_argument("--repeats", type=whole(1, 1000), default=5, metavar="N", help="starts of a server (default 5)")

    _add(
        actions,
        "memory",
        "peaks of renders beside what is planned; minutes, 12 GB of disk the first time and 5 GB of memory",
    )


def _test(commands: _Commands[_Parser]) -> None:
    parser = _add(
        commands,
        "test",
        "run the tests",
        epilog=f"Without a name all but {listed(LONG_TEST_GROUPS)} run, faults in a short round. Arguments behind -- "
        "go to pytest.",
    )
    names = TEST_GROUPS + LONG_TEST_GROUPS
    parser.add_argument("group", nargs="?", type=one_of(names), metavar="NAME", help=f"one of {', '.join(names)}")
    parser.add_argument(
        "--rounds",
        type=whole(1, 10**6),
        metavar="N",
        help=f"rounds of {listed(DEFAULT_ROUNDS)}; of fuzz, inputs for each parser "
        f"(default {', '.join(f'{name} {rounds}' for name, rounds in DEFAULT_ROUNDS.items())})",
    )
    parser.add_argument(
        "--guided", action="store_true", help="of fuzz: inputs led by what the last ones reached; needs atheris"
    )


def _parts(parser: argparse.ArgumentParser, metavar: str) -> _Commands[_Parser]:
    return parser.add_subparsers(dest="action", metavar=metavar, required=True, title="parts", parser_class=_Parser)


_COMMANDS: tuple[Callable[[_Commands[_Parser]], None], ...] = (
    _setup,
    _render,
    _export,
    _space,
    _parity,
    _weights,
    _nano,
    _doctor,
    _bench,
    _test,
)
