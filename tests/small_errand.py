"""The errand's process with the small catalogue: `python -m tests.small_errand`."""

from __future__ import annotations

import sys

from tests.small_catalogue import main

if __name__ == "__main__":
    sys.exit(main(["errand"]))
