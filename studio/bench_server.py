"""The studio as `bench studio` starts it: the installed one, with a cutter more whose answers take a known time."""

from __future__ import annotations

import sys
from dataclasses import replace

from engine.cli.parser import parse_studio
from engine.masks.programs import installed_cutters
from studio.app import serve_as_asked
from studio.backend import installed_backend
from studio.bench_cutter import TIMED

if __name__ == "__main__":
    backend = replace(installed_backend(), cutters=lambda: (*installed_cutters(), TIMED))
    sys.exit(serve_as_asked(parse_studio(None, "studio"), backend))
