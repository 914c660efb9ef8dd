"""Options that say how to render: the settings of a clip, and how much memory it may take. Standard library only."""

from __future__ import annotations

import argparse

from engine.cli.values import lora_value, number, one_of, size_value, text_value, whole

STEP_CACHE_KINDS = ("first-block", "magnitude")


def add_render_settings(parser: argparse.ArgumentParser) -> None:
    """Add the options of a clip's settings; what is left open is the engine's default."""
    parser.add_argument("--steps", type=whole(1, 10_000), metavar="N", help="sampling steps")
    parser.add_argument("--size", type=size_value, metavar="WxH", help="width and height in pixels, as in 832x480")
    parser.add_argument("--frames", type=whole(1, 100_000), metavar="N", help="number of frames")
    parser.add_argument("--fps", type=whole(1, 1000), metavar="N", help="frames per second")
    parser.add_argument("--guidance", type=number(0.0, 100.0), metavar="G", help="how closely the prompt is followed")
    parser.add_argument("--shift", type=number(0.1, 30.0), metavar="S", help="time shift of the schedule")
    parser.add_argument(
        "--strength",
        type=number(0.0, 100.0),
        metavar="R",
        help="how strongly words are bound to pictures: 0.5 favours identity, 1 the text",
    )
    parser.add_argument(
        "--relation-guidance",
        type=number(0.0, 100.0),
        metavar="W",
        help="how hard it is held who wears what, for one more pass in every step; 0 for none",
    )
    parser.add_argument(
        "--step-cache",
        type=number(0.0, 1.0),
        metavar="X",
        help="a quicker draft: steps that change less than this share are taken over from the one before",
    )
    parser.add_argument(
        "--step-cache-kind",
        type=one_of(STEP_CACHE_KINDS),
        metavar="NAME",
        help="by what --step-cache tells such steps: first-block (what the first block changes) or magnitude (what "
        "was measured of these weights, see weights calibrate)",
    )
    parser.add_argument(
        "--guided-share", type=number(0.0, 1.0), metavar="X", help="a quicker draft: guidance in so much of the steps"
    )
    parser.add_argument(
        "--lora",
        type=lora_value,
        action="append",
        metavar="NAME[:X]",
        help="a LoRA of yours and its strength (default 1), as in style:0.8; may be given up to four times",
    )
    parser.add_argument("--no-lora", action="store_true", help="none of the LoRAs that the scene names")
    parser.add_argument(
        "--attention",
        type=text_value,
        metavar="NAME",
        help="auto, native, flash, or sage (a quicker draft): what computes attention, of what is here (see doctor)",
    )
    parser.add_argument("--engine", type=text_value, metavar="NAME", help="which model renders (see doctor)")


def add_limits(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add `--vram` and `--ram`, in GB; `verb` says what is done with so much memory."""
    parser.add_argument("--vram", type=number(0.1, 4096), metavar="GB", help=f"{verb} so much graphics memory")
    parser.add_argument("--ram", type=number(0.1, 65536), metavar="GB", help=f"{verb} so much of the computer's memory")
