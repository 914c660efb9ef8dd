"""The process that finds faces with the small catalogue: `python -m tests.small_finder PICTURES`."""

from __future__ import annotations

import sys

from tests.small_catalogue import main

if __name__ == "__main__":
    sys.exit(main(["faces", *sys.argv[1:]]))
