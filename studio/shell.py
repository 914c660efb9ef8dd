"""The stock Gradio shell: one page, one component that carries the studio, and the server with its guards."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import gradio as gr
from gradio.events import api

from engine.errors import MachineError, UserError
from engine.paths import (
    cache_dir,
    clip_notes_dir,
    clips_dir,
    drafts_dir,
    jobs_file,
    notices_file,
    pictures_dir,
    preferences_file,
)
from engine.pictures import PictureStore
from studio.backend import Backend
from studio.clip_notes import ClipNotes
from studio.costs import cost_answer
from studio.cutting import Cutting
from studio.desk import Desk
from studio.drafts import DraftBook
from studio.face_finding import FaceFinding
from studio.forecast import answer_forecast
from studio.forgetting import Forgetting
from studio.job_store import JobStore
from studio.jobs import JobQueue
from studio.languages import say
from studio.library import Library
from studio.models_desk import ModelsDesk
from studio.notices import Notices
from studio.preferences import PreferenceBook
from studio.programs import Programs
from studio.reports import Reports
from studio.routes import middleware, routes
from studio.scene_desk import SceneDesk
from studio.sharing import Sharing
from studio.theme import script, style, theme
from studio.workshop import Workshop

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_TEMPLATE = f'<div class="lx"><p class="quiet">{say("page_moment")}</p></div>'


class Shell:
    """Everything that lives as long as the server: queue, library, page."""

    def __init__(self, *, backend: Backend, host: str, key: str) -> None:
        self._host = host
        self._key = key
        self._pictures = PictureStore(pictures_dir())
        self._queue = JobQueue(backend.make_engine, self._pictures, clips_dir, JobStore(jobs_file()))
        self._workshop = Workshop()
        self._cutting = Cutting(backend.cutters, self._pictures)
        self._finding = FaceFinding(backend.face_finder, self._pictures)
        self._models = ModelsDesk(local=host in _LOOPBACK, module=backend.errands)
        library, drafts = Library(self._pictures), DraftBook(drafts_dir())
        scenes = SceneDesk(pictures=self._pictures, library=library, drafts=drafts)
        self._sharing = Sharing(pictures=self._pictures, library=library, show=scenes.show, exports=exports_dir)
        forgetting = Forgetting(pictures=self._pictures, library=library, queue=self._queue, show=scenes.show)
        reports = Reports(queue=self._queue, exports=exports_dir)
        self._preferences = PreferenceBook(preferences_file())
        more = {
            **self._cutting.answers,
            **self._sharing.answers,
            **forgetting.answers,
            **reports.answers,
            **self._preferences.answers,
            **self._finding.answers,
            **self._models.answers,
            **Notices(notices_file()).answers,
            "cost": cost_answer,
            "forecast": answer_forecast,
        }
        self._desk = Desk(
            queue=self._queue,
            library=library,
            pictures=self._pictures,
            drafts=drafts,
            local=host in _LOOPBACK,
            missing_weights=backend.missing_weights,
            clips=clips_dir,
            exports=exports_dir,
            notes=ClipNotes(clip_notes_dir()),
            workshop=self._workshop,
            marked=lambda: self._preferences.read().mark,
            language=lambda: self._preferences.read().language,
            more=more,
        )
        programs = Programs(queue=self._queue, library=library, pictures=self._pictures, backend=backend)
        self._blocks = page(self._desk.ask, programs.endpoints)

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
        self._finding.close()
        self._models.close()
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
                receive_shared=self._sharing.receive,
                receive_clip=self._desk.receive_clip,
                ask=self._desk.ask,
                models=self._models,
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


def page(ask: Callable[[Any], dict[str, Any]], endpoints: Mapping[str, Callable[..., Any]]) -> gr.Blocks:
    """Build the page around one server function; `endpoints` are what programs may call, by name."""

    def answer(message: Any) -> dict[str, Any]:
        return ask(message)

    answer.__name__ = "ask"
    with gr.Blocks(title="LumosX Studio", analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML(
            value="", html_template=_TEMPLATE, js_on_load=script(), server_functions=[answer], apply_default_css=False
        )
        for name, function in endpoints.items():
            api(_for_programs(function), api_name=name, concurrency_limit=None)
    return blocks


def _for_programs(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as Gradio wants it: types to look at, and user errors as Gradio's own, whose sentence arrives."""
    hints = get_type_hints(function)
    result = hints["return"]
    yields = get_origin(result) is Iterator

    def each(*args: Any) -> Iterator[Any]:
        try:
            yield from function(*args)
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from error

    def once(*args: Any) -> Any:
        try:
            return function(*args)
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from error

    wrapped = each if yields else once
    wrapped.__name__, wrapped.__doc__ = function.__name__, function.__doc__
    shown = {**hints, "return": get_args(result)[0] if yields else result}
    wrapped.__annotations__ = shown
    parameters = [one.replace(annotation=hints[one.name]) for one in inspect.signature(function).parameters.values()]
    setattr(wrapped, "__signature__", inspect.Signature(parameters, return_annotation=shown["return"]))  # noqa: B010
    return wrapped
