"""Starting the studio: `python -m studio.app`, or `serve` from the launcher.

Light on purpose: Gradio is only imported once it is clear that no studio runs on this data home yet.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import signal
import sys
import threading
import time
from logging.handlers import RotatingFileHandler
from types import FrameType
from typing import TYPE_CHECKING

from engine.cli.parser import DEFAULT_HOST, DEFAULT_PORT, parse_studio
from engine.errors import UserError
from engine.files import writing
from engine.paths import log_file
from studio.access import access_for
from studio.browser import show
from studio.instance import Instance, browse_host, forget_instance, free_ports, new_key, note_instance, running_instance
from studio.space import keep_on_the_space, on_a_space, space_access, space_address

if TYPE_CHECKING:
    from studio.backend import Backend

_LOG_BYTES = 512 * 1024
_M_ARENA_MAX = -8  # of glibc's malloc.h


def serve(
    port: int = DEFAULT_PORT,
    host: str = DEFAULT_HOST,
    open_browser: bool = True,
    window: bool = False,
    *,
    backend: Backend | None = None,
    password: str | None = None,
    everyone: bool = False,
) -> int:
    """Run the studio until Ctrl-C or SIGTERM; return the exit code.

    `backend` is what makes pixels; None means the installed one. With a `password`, or open to `everyone`, it is
    shared: each browser has pictures, renders and clips of its own. A `host` that others can reach needs one of both.
    On a Space, its own host and port are used, and it is shared with everybody.
    A taken port is answered with the next free one. Where a studio already runs on this data home, that one is opened.

    Raises:
        UserError: nothing to listen on, others could come in unasked, or the data home cannot be written.
    """
    if on_a_space():
        keep_on_the_space()
        (host, port), open_browser, window, access = space_address(), False, False, space_access()
    else:
        access = access_for(host, password, everyone)
    running = running_instance()
    if running is not None:
        print(f"The studio is already running: {running.url}", flush=True)
        if open_browser or window:
            show(running.url, window=window)
        return 0
    ports = free_ports(host, port)
    if ports[0] != port:
        print(f"Port {port} is taken; using {ports[0]}.", flush=True)
    _prepare_environment(host)
    _share_memory_pools()
    log = _log_to_file()
    started = time.perf_counter()
    from studio.backend import installed_backend
    from studio.shell import Shell

    key = new_key()
    shell = Shell(backend=backend or installed_backend(), host=host, key=key, access=access)
    stop = _stopped_by_signals()
    try:
        url = shell.start(ports, f"http://{browse_host(host)}")
        note_instance(Instance(pid=os.getpid(), url=url, key=key))
        print(
            f"LumosX Studio is ready after {time.perf_counter() - started:.1f} s: {url}\nCtrl-C stops it.", flush=True
        )
        if open_browser or window:
            show(url, window=window)
        while not stop.wait(0.5):
            pass
        print("Stopping.", flush=True)
    finally:
        forget_instance(key)
        shell.close()
        _end_log(log)
    return 0


class _LogFile(RotatingFileHandler):
    """The log on the disk. Where it cannot be written, a line stands in the terminal alone, and no fault beside it."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Pass over a disk that is full or gone; the next line is tried again."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def _log_to_file() -> logging.Handler:
    """Keep what the studio says for a report, beside saying it in the terminal; at most a megabyte."""
    path = log_file()
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _LogFile(path, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8", delay=True)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    return handler


def _end_log(log: logging.Handler) -> None:
    logging.getLogger().removeHandler(log)
    log.close()


def _stopped_by_signals() -> threading.Event:
    """Return what Ctrl-C and SIGTERM set from now on."""
    stop = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, ask)
        signal.signal(signal.SIGTERM, ask)
    return stop


def _prepare_environment(host: str) -> None:
    """Switch off everything in Gradio that would talk to the outside, before it is imported."""
    from engine.paths import cache_dir

    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ.setdefault("GRADIO_TEMP_DIR", str(cache_dir() / "page"))
    ours = ["127.0.0.1", "localhost", "::1", host]
    for name in ("NO_PROXY", "no_proxy"):
        known = [part for part in os.environ.get(name, "").split(",") if part]
        os.environ[name] = ",".join(dict.fromkeys([*known, *ours]))


def _share_memory_pools() -> None:
    """Let all threads take their memory from two pools. glibc gives every thread one of its own, up to eight for each
    core, and each keeps what its busiest moment took: 60 MB more after thirty visitors."""
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have no such call
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, 2)


def serve_as_asked(args: argparse.Namespace, backend: Backend | None = None) -> int:
    """`serve` with the options of a command line."""
    return serve(
        args.port,
        args.host,
        open_browser=not args.no_browser,
        window=args.window,
        password=args.password,
        everyone=args.open_to_everyone,
        backend=backend,
    )


def main(argv: list[str] | None = None) -> int:
    """Parse the options and serve; a user error becomes one sentence on stderr and exit code 2."""
    args = parse_studio(argv, "studio")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        return serve_as_asked(args)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    raise SystemExit(main())
