"""`export SCENE FOLDER`: a scene as an official sample folder, or as one file to share; nothing is lost."""

from __future__ import annotations

import argparse


def run(args: argparse.Namespace) -> int:
    """Write the folder, the .lumosx file or the zip, and print its path."""
    from engine.paths import pictures_dir
    from engine.pictures import PictureStore
    from engine.sample_folder import write_sample_folder
    from engine.shared_file import SHARED_ENDINGS, write_shared
    from engine.sources import load_source

    store = PictureStore(pictures_dir())
    source = load_source(args.scene, store)
    scene, settings, title = source.scene, source.settings, source.title
    if args.folder.suffix.lower() in SHARED_ENDINGS:
        whole = args.whole_pictures
        write_shared(scene, store, args.folder, title=title, settings=settings, whole_pictures=whole)
    else:
        write_sample_folder(scene, store, args.folder, settings=settings, title=title)
    print(args.folder)
    return 0
