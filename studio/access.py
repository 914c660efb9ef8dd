"""Who may use the studio that is about to start: its owner alone, whoever has the password, or everybody."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.errors import InputError
from studio.limits import Limits

PASSWORD_VARIABLE = "LUMOSX_PASSWORD"
_SHORTEST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How a studio is shared: with a `password`, or with everybody (None). `framed`: inside another site's page."""

    password: str | None
    limits: Limits = field(default_factory=Limits)
    framed: bool = False


def access_for(
    host: str, password: str | None, everyone: bool, variables: Mapping[str, str] = os.environ
) -> Access | None:
    """Return how a studio that listens on `host` is shared, None where it is its owner's alone.

    Raises:
        InputError: others could reach it, and nothing says that they may; or the password is too short.
    """
    asked = bool(password) or everyone
    if is_loopback(host) and not asked:
        return None
    password = password or (None if everyone else variables.get(PASSWORD_VARIABLE) or None)
    if password is None and not everyone:
        raise InputError(
            f"With --host {host} other machines can reach the studio: add --password WORD (or set "
            f"{PASSWORD_VARIABLE}), or --open-to-everyone if that is meant."
        )
    if password is not None and len(password) < _SHORTEST:
        raise InputError(f"The password is too short; take one of at least {_SHORTEST} characters.")
    return Access(password=password)


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach a server that listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
