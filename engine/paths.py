"""Where things lie. Functions, because the answer depends on the environment of the moment; nothing is created."""

from __future__ import annotations

import os
from pathlib import Path


def data_home() -> Path:
    """Root of all user data: `LUMOSX_HOME` if set, else the place the operating system foresees."""
    home = os.environ.get("LUMOSX_HOME", "").strip()
    if home:
        return Path(home).expanduser().absolute()
    import platformdirs

    return platformdirs.user_data_path("lumosx-studio", appauthor=False)


def models_dir() -> Path:
    """Weights that were downloaded or converted, one folder per engine."""
    return data_home() / "models"


def clips_dir() -> Path:
    """Finished clips of the studio."""
    return data_home() / "clips"


def clip_notes_dir() -> Path:
    """Titles and posters that the user gave to clips, one small file each."""
    return data_home() / "clip-notes"


def cache_dir() -> Path:
    """What can be made again: prompt embeddings, reference latents."""
    return data_home() / "cache"


def notices_file() -> Path:
    """Which of the sentences that are said once have been put away."""
    return data_home() / "notices.json"


def jobs_file() -> Path:
    """The studio's queue of renders."""
    return data_home() / "studio.sqlite3"


def pace_file() -> Path:
    """How quickly earlier renders went on this machine."""
    return data_home() / "pace.json"


def log_file() -> Path:
    """What the studio had to say, the newest last."""
    return data_home() / "logs" / "studio.log"


def preferences_file() -> Path:
    """What the user prefers in the studio."""
    return data_home() / "preferences.json"


def unfinished_dir() -> Path:
    """Last saved steps of renders that were broken off; not in the cache, because clearing it would lose work."""
    return data_home() / "unfinished"


def pictures_dir() -> Path:
    """The picture store."""
    return data_home() / "pictures"


def presets_dir() -> Path:
    """The user's own presets, one folder each."""
    return data_home() / "presets"


def drafts_dir() -> Path:
    """What stood on the studio's pages last, one small file each."""
    return data_home() / "drafts"


def builtin_presets_dir() -> Path:
    """The presets that come with the program."""
    return _root() / "presets"


def assets_dir() -> Path:
    """Weights, icons and scripts that come with the program."""
    return _root() / "assets"


def _root() -> Path:
    return Path(__file__).resolve().parent.parent
