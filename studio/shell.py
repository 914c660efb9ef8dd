"""The stock Gradio shell: one page, one component that carries the studio, and the server with its guards."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast, get_args, get_origin, get_type_hints

import gradio as gr
from gradio.context import LocalContext
from gradio.events import api
from starlette.requests import Request

from engine.errors import MachineError, UserError
from engine.paths import clips_dir, jobs_file
from engine.pictures import PictureStore
from studio.access import Access, is_loopback
from studio.backend import Backend
from studio.callers import RememberedCallers
from studio.guards import middleware
from studio.home import home_of, personal_home
from studio.job_store import JobStore
from studio.jobs import JobQueue
from studio.languages import say
from studio.limits import Allowance
from studio.models_desk import ModelsDesk
from studio.room import Room
from studio.routes import PageRoutes
from studio.running import JobPlaces
from studio.theme import script, style, theme
from studio.visitor_queue import VisitorQueue
from studio.visitors import OwnRoom, Rooms, Visitors

_TEMPLATE = f'<div class="lx"><p class="quiet">{say("page_moment")}</p></div>'


class Shell:
    """Everything that lives as long as the server: queue, models, page, and the rooms of whoever uses it."""

    def __init__(self, *, backend: Backend, host: str, key: str, access: Access | None = None) -> None:
        """`access`: how the studio is shared; None makes it the owner's alone, as long as it listens on loopback."""
        self._host = host
        self._key = key
        self._backend = backend
        self._shared = access
        personal = personal_home()
        self._queue = JobQueue(
            backend.make_engine,
            PictureStore(personal.pictures),
            clips_dir,
            JobStore(jobs_file()),
            _places,
            RememberedCallers() if backend.lent else None,
            card_engines=backend.card_engines,
        )
        self._models = ModelsDesk(local=access is None and is_loopback(host), module=backend.errands)
        self._visitors: Visitors | None = None
        endpoints: Mapping[str, Callable[..., Any]] = {}
        if access is None:
            own = self._furnish("", None)
            endpoints = own.programs.endpoints
            self._rooms: Rooms = OwnRoom(own)
        else:
            self._visitors = Visitors(
                self._furnish, self._queue.forget_visitor, password=access.password, limits=access.limits
            )
            self._rooms = self._visitors
        self._blocks = page(lambda message: self._rooms.here().ask(message), endpoints)

    def _furnish(self, visitor: str, allowance: Allowance | None) -> Room:
        return Room(
            home=lambda: home_of(visitor),
            queue=VisitorQueue(self._queue, visitor, allowance, self._backend.lent),
            backend=self._backend,
            models=self._models,
            allowance=allowance,
        )

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
            if self._shared is not None and self._queue.paused:
                self._queue.pause(False)  # nobody here could let it go on
            self._queue.start()  # only now: loading a model would keep the page waiting
            return f"{base}:{port}/"
        raise MachineError("Every port nearby was taken while the studio started; start it again with another --port.")

    def close(self) -> None:
        """Stop what renders, to go on at the next start; wait for the worker, stop the server."""
        self._queue.close()
        self._rooms.close()
        self._models.close()
        self._blocks.close(verbose=False)

    def _ask_as(self, request: Request, message: Any) -> dict[str, Any]:
        """Answer a message in the name of a request, as Gradio does it for those that come its way."""
        LocalContext.blocks.set(self._blocks)
        LocalContext.request.set(cast("gr.Request", request))
        return self._rooms.here().ask(message)

    def _launch(self, port: int) -> None:
        here = self._rooms.here
        app_kwargs: dict[str, Any] = {
            "routes": PageRoutes(
                key=self._key,
                pictures=lambda: here().pictures,
                clips=lambda: here().clips(),
                exports=lambda: here().exports(),
                read_folder=lambda folder, title: here().read_folder(folder, title),
                receive_picture=lambda data, name: here().receive_picture(data, name),
                receive_shared=lambda path, name, keep: here().receive_shared(path, name, keep),
                receive_clip=lambda path, name: here().receive_clip(path, name),
                ask=lambda message: here().ask(message),
                ask_as=self._ask_as,
                models=self._models,
            ).all(),
            "middleware": middleware(self._host, self._visitors, framed=bool(self._shared and self._shared.framed)),
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


def _places(visitor: str) -> JobPlaces:
    return JobPlaces(pictures=PictureStore(home_of(visitor).pictures), clips=lambda: home_of(visitor).clips)


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
