"""The very small engine with the cutter of `bench studio` beside the built-in one."""

from __future__ import annotations

import sys
from dataclasses import replace

from engine.cli.parser import parse_studio
from studio.app import serve_as_asked
from studio.bench_cutter import TIMED
from tests.browser.tiny_engine import TINY, cutters
from tests.small_catalogue import use

if __name__ == "__main__":
    use()
    sys.exit(serve_as_asked(parse_studio(None, "tiny"), replace(TINY, cutters=lambda: (*cutters(), TIMED))))
