"""`export SCENE FOLDER`: a scene as an official sample folder, with a `scene.json` that loses nothing."""

from __future__ import annotations

import argparse


def run(args: argparse.Namespace) -> int:
    """Write the folder and print its path."""
    from engine.paths import pictures_dir
    from engine.pictures import PictureStore
    from engine.sample_folder import write_sample_folder
    from engine.sources import load_source

    store = PictureStore(pictures_dir())
    source = load_source(args.scene, store)
    write_sample_folder(source.scene, store, args.folder, settings=source.settings, title=source.title)
    print(args.folder)
    return 0
