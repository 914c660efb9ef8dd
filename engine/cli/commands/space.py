"""`space FOLDER`: the program as a Hugging Face Space takes it, with the files that a Space reads. Nothing is sent."""

from __future__ import annotations

import argparse
import shutil
import tomllib
from pathlib import Path

from engine.cli.requirements import project_root
from engine.errors import InputError
from engine.files import writing

_PARTS = ("engine", "studio", "presets", "assets", "launcher.py", "pyproject.toml", "LICENSE")
_LIBRARIES = ("libgl1", "libglib2.0-0")  # of the system: OpenCV, which the face detector needs, looks for them
_LARGE = "*.safetensors filter=lfs diff=lfs merge=lfs -text\n"
_README = """---
title: LumosX Studio
emoji: 🎬
colorFrom: indigo
colorTo: pink
sdk: gradio
sdk_version: {gradio}
python_version: "3.12"
app_file: launcher.py
license: apache-2.0
short_description: Short videos in which every face keeps its own clothes
---

Pictures of people, clothes, things and a place go in with a sentence, a clip comes out. What you put in is yours alone:
nobody else who opens this Space sees it, and it is removed when you have not come back for two weeks, or earlier where
the Space has no persistent storage.
"""


def run(args: argparse.Namespace) -> int:
    """Write the folder and print its path."""
    root, folder = project_root(), args.folder.absolute()
    _refuse_foreign(root, folder)
    needed = _requirements(root)
    gradio = next(one.partition("==")[2] for one in needed if one.startswith("gradio=="))
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for part in _PARTS:
            _copy(root / part, folder / part)
        for name, text in (
            ("README.md", _README.format(gradio=gradio)),
            ("requirements.txt", "\n".join(needed) + "\n"),
            ("packages.txt", "\n".join(_LIBRARIES) + "\n"),
            (".gitattributes", _LARGE),
        ):
            (folder / name).write_text(text, encoding="utf-8")
    print(folder)
    return 0


def _refuse_foreign(root: Path, folder: Path) -> None:
    """Raise `InputError` where something else would be overwritten."""
    if folder.resolve() == root or root in folder.resolve().parents:
        raise InputError(f"“{folder}” lies inside the program; choose a folder outside of it.")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"“{folder}” is a file; choose a folder.")
    if not folder.is_dir() or (folder / "launcher.py").is_file():
        return
    # what a Space holds when it was just made
    others = [path.name for path in folder.iterdir() if path.name != "README.md" and not path.name.startswith(".")]
    if others:
        raise InputError(f"“{folder}” holds something else already ({others[0]}); choose an empty folder.")


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        if target.is_dir():
            shutil.rmtree(target)
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".*"))
    else:
        shutil.copyfile(source, target)


def _requirements(root: Path) -> list[str]:
    with (root / "pyproject.toml").open("rb") as file:
        return list(tomllib.load(file)["project"]["dependencies"])
