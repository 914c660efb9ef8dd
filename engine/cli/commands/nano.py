"""`nano train`, `mean`, `eval`, `preview`: the built-in model from nothing, means of its weights, who wears what, and
its live picture."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from engine.errors import InputError


def run(args: argparse.Namespace) -> int:
    """Train or measure; the last line of a measurement or an ablation is one JSON document."""
    return {"train": _train, "mean": _mean, "eval": _evaluate, "preview": _preview}[args.action](args)


def _train(args: argparse.Namespace) -> int:
    from engine.nano.training import StageSettings, train
    from engine.paths import data_home

    chosen = {"steps": args.steps, "batch": args.batch, "learning_rate": args.learning_rate}
    if args.stage == "all" and any(value is not None for value in chosen.values()):
        raise InputError(
            "--steps, --batch and --learning-rate belong to one stage: add --stage vae or --stage relations."
        )
    out = args.out if args.out is not None else data_home() / "nano"
    start = _model_in(Path(args.start)) if args.start is not None else None
    if args.stage == "ablation":
        return _ablate(args, Path(out), start)
    if args.guided and args.stage != "relations":
        raise InputError("--guided belongs to one stage: add --stage relations.")
    if args.record:
        raise InputError("--record belongs to --stage ablation; other results are recorded by `nano eval --record`.")
    settings = StageSettings(**chosen, guided=args.guided, seed=args.seed, start=start)
    train(Path(out), args.stage, settings, resume=args.resume)
    return 0


def _ablate(args: argparse.Namespace, out: Path, start: Path | None) -> int:
    from engine.nano.ablation import AblationPlan, run_ablation
    from engine.nano.export import record_results

    if start is None:
        raise InputError("An ablation trains on from finished weights: add --start with a model folder.")
    plan = AblationPlan(seed=args.seed).with_budget(steps=args.steps, batch=args.batch)
    table = run_ablation(out, start, plan, args.resume)
    if args.record:
        record_results(start, table, "ablation")
    print(json.dumps(table))
    return 0


def _mean(args: argparse.Namespace) -> int:
    """Mix finished weights by their shares."""
    from engine.nano.means import write_mean

    parts: list[tuple[Path, float]] = []
    for text in args.models:
        name, _, share = text.rpartition("=")
        if not name or not share.replace(".", "", 1).isdecimal():
            raise InputError(f"“{text}” is no model with its share; write it as FOLDER=0.5.")
        parts.append((_model_in(Path(name)), float(share)))
    write_mean(Path(args.out), parts)
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from engine.nano.evaluation import Sampling, evaluate, load_pipeline, weights_digest
    from engine.nano.export import record_results

    folder = _model_folder(args)
    sampling = Sampling.of_card(folder)
    if args.steps is not None:
        sampling = dataclasses.replace(sampling, num_inference_steps=args.steps)
    table = evaluate(load_pipeline(folder), args.scenes, args.seed, sampling, args.subjects)
    document = {
        "by_subjects": table,
        "scenes": args.scenes,
        "num_inference_steps": sampling.num_inference_steps,
        "seed": args.seed,
        "weights_sha256": weights_digest(folder),
    }
    if args.record:
        record_results(folder, document)
    print(json.dumps(document))
    return 0


def _preview(args: argparse.Namespace) -> int:
    """Fit the map that shows the model's latents as colours; prints the file."""
    from engine.nano.evaluation import load_pipeline
    from engine.nano.preview import write_preview

    folder = _model_folder(args)
    print(write_preview(folder, load_pipeline(folder).vae))
    return 0


def _model_folder(args: argparse.Namespace) -> Path:
    """The model that is named, or the built-in one."""
    from engine.paths import assets_dir

    return _model_in(Path(args.weights) if args.weights is not None else assets_dir() / "nano")


def _model_in(folder: Path) -> Path:
    """The folder, if a model is in it. Without its card the way to its weights would be lost, and that be found out at
    the very end of a training."""
    if not all((folder / name).is_file() for name in ("model_index.json", "card.json")):
        raise InputError(f"There is no model in {folder}: name a folder that `nano train` has written.")
    return folder
