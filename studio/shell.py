"""The stock Gradio shell: one page, one component that carries the studio, and the server with its guards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from engine.errors import MachineError
from engine.paths import cache_dir, clip_notes_dir, clips_dir, drafts_dir, jobs_file, pictures_dir
from engine.pictures import PictureStore
from studio.backend import Backend
from studio.clip_notes import ClipNotes
from studio.cutting import Cutting
from studio.desk import Desk
from studio.drafts import DraftBook
from studio.job_store import JobStore
from studio.jobs import JobQueue
from studio.library import Library
from studio.routes import middleware, routes
from studio.theme import script, style, theme
from studio.workshop import Workshop

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_TEMPLATE = '<div class="lx"><p class="quiet">One moment…</p></div>'


class Shell:
    """Everything that lives as long as the server: queue, library, page."""

    def __init__(self, *, backend: Backend, host: str, key: str) -> None:
        self._host = host
        self._key = key
        self._pictures = PictureStore(pictures_dir())
        self._queue = JobQueue(backend.make_engine, self._pictures, clips_dir, JobStore(jobs_file()))
        self._workshop = Workshop()
        self._cutting = Cutting(backend.cutters, self._pictures)
        self._desk = Desk(
            queue=self._queue,
            library=Library(self._pictures),
            pictures=self._pictures,
            drafts=DraftBook(drafts_dir()),
            local=host in _LOOPBACK,
            missing_weights=backend.missing_weights,
            clips=clips_dir,
            exports=exports_dir,
            notes=ClipNotes(clip_notes_dir()),
            workshop=self._workshop,
            more=self._cutting.answers,
        )
        self._blocks = page(self._desk.ask)

    def start(self, ports: list[int], base: str) -> str:
        """Listen on the first of `ports` that is still free; return the page's address.

        Raises:
            MachineError: every port was taken in the meantime.
        """
        for port in ports:
            try:
                self._launch(port)
            except OSError:
                continue  # somebody took it between our look and the start
            self._queue.start()  # only now: loading a model would keep the page waiting
            return f"{base}:{port}/"
        raise MachineError("Every port nearby was taken while the studio started; start it again with another --port.")

    def close(self) -> None:
        """Stop what renders, to go on at the next start; wait for the worker, stop the server."""
        self._queue.close()
        self._workshop.close()
        self._cutting.close()
        self._blocks.close(verbose=False)

    def _launch(self, port: int) -> None:
        app_kwargs: dict[str, Any] = {
            "routes": routes(
                key=self._key,
                pictures=self._pictures,
                clips=clips_dir,
                exports=exports_dir,
                read_folder=self._desk.read_folder,
                receive_picture=self._desk.receive_picture,
                receive_clip=self._desk.receive_clip,
                ask=self._desk.ask,
            ),
            "middleware": middleware(self._host),
            "openapi_url": None,
        }
        self._blocks.launch(
            server_name=self._host,
            server_port=port,
            prevent_thread_lock=True,
            inbrowser=False,
            share=False,
            quiet=True,
            show_error=False,
            run_history=False,
            enable_monitoring=False,
            footer_links=[],
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            app_kwargs=app_kwargs,
            theme=theme(),
            head=f"<style>{style()}</style>",
        )


def exports_dir() -> Path:
    """Return where clips in other formats are kept until the cache is cleared."""
    return cache_dir() / "exports"


def page(ask: Callable[[Any], dict[str, Any]]) -> gr.Blocks:
    """Build the page around one server function."""

    def answer(message: Any) -> dict[str, Any]:
        return ask(message)

    answer.__name__ = "ask"
    with gr.Blocks(title="LumosX Studio", analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML(
            value="", html_template=_TEMPLATE, js_on_load=script(), server_functions=[answer], apply_default_css=False
        )
    return blocks
