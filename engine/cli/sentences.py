"""Sentences of the command line: lists in words, and argparse's messages for people. Standard library only."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


def listed(names: Iterable[str]) -> str:
    """Names as in “a, b and c”."""
    *first, last = names
    return f"{', '.join(first)} and {last}"


def sentence(message: str, prog: str) -> str:
    """One sentence for the user out of argparse's message."""
    unknown = re.match(
        r"argument (?:COMMAND|ACTION|WHAT): invalid choice: '(.*?)' \(choose from (.*)\)$", message, re.S
    )
    if unknown:
        names = re.findall(r"[\w-]+", unknown[2])
        close = difflib.get_close_matches(unknown[1], names, n=1)
        hint = f"did you mean “{close[0]}”?" if close else f"choose from {', '.join(names)}."
        return f"There is no “{unknown[1]}”; {hint}"
    message = re.sub(r"^argument (\S+?)(?:/\S+)?: ", r"\1 ", message)
    see = f"see “{prog} --help”"
    message = re.sub(r"^the following arguments are required: (.*)$", rf"\1 is missing; {see}", message)
    message = re.sub(r"^unrecognized arguments: (.*)$", rf"“\1” is not understood here; {see}", message)
    return message[:1].upper() + message[1:] + "."
