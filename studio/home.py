"""Where one person's things lie: the data folder itself on a personal studio, a folder below it for each visitor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.paths import (
    cache_dir,
    clip_notes_dir,
    clips_dir,
    data_home,
    drafts_dir,
    notices_file,
    pictures_dir,
    preferences_file,
    presets_dir,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The folders and files of one person; none of them need exist."""

    root: Path
    pictures: Path
    clips: Path
    notes: Path
    presets: Path
    drafts: Path
    exports: Path
    notices: Path
    preferences: Path


def personal_home() -> Home:
    """Return where the owner of a personal studio keeps everything."""
    return Home(
        root=data_home(),
        pictures=pictures_dir(),
        clips=clips_dir(),
        notes=clip_notes_dir(),
        presets=presets_dir(),
        drafts=drafts_dir(),
        exports=cache_dir() / "exports",
        notices=notices_file(),
        preferences=preferences_file(),
    )


def visitors_dir() -> Path:
    """Return the folder that holds the homes of a shared studio's visitors."""
    return data_home() / "visitors"


def visitor_home(visitor: str) -> Home:
    """Return the home of a visitor by an id of ours, below the data folder and apart from everybody else's."""
    root = visitors_dir() / visitor
    return Home(
        root=root,
        pictures=root / "pictures",
        clips=root / "clips",
        notes=root / "clip-notes",
        presets=root / "presets",
        drafts=root / "drafts",
        exports=root / "exports",
        notices=root / "notices.json",
        preferences=root / "preferences.json",
    )


def home_of(visitor: str) -> Home:
    """Return whose home a job's is: a visitor's, or the owner's for ""."""
    return visitor_home(visitor) if visitor else personal_home()
