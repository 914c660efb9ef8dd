"""What stands before the whole server: which names it answers to, from where a request may come, which doors of Gradio
are open, and on a shared studio who is asking."""

from __future__ import annotations

import asyncio
import html
import os
import socket
from collections.abc import Iterable
from urllib.parse import parse_qs, urlsplit

import psutil
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.errors import UserError
from studio.instance import ANY_HOST, HELLO
from studio.languages import heard, language_of, say, speaking
from studio.visitors import Visitors

ENTER = "/studio/enter"

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ANYBODY = (HELLO, "/favicon.ico", "/robots.txt", "/manifest.json", "/theme.css", "/gradio_api/theme.css",
            "/gradio_api/startup-events")  # fmt: skip
_ANYBODY_BELOW = ("/assets/", "/static/", "/svelte/")
_PAGE = ("/", "/config", "/config/", "/gradio_api/info", "/gradio_api/info/", "/gradio_api/app_id",
         "/gradio_api/component_server", "/gradio_api/component_server/")  # fmt: skip
_PAGE_BELOW = ("/studio/", "/gradio_api/heartbeat/")
_PROGRAMS = ("/gradio_api/queue/join", "/gradio_api/queue/data", "/gradio_api/cancel", "/gradio_api/reset",
             "/gradio_api/reset/", "/gradio_api/openapi.json", "/gradio_api/queue/status")  # fmt: skip
_PROGRAMS_BELOW = ("/gradio_api/call/",)
_MESSAGE_BYTES = 16 * 2**20
_PASSWORD_BYTES = 4096
_WRONG_S = 1.0
_DAY_S = 86_400

_DOOR = """<!doctype html><html lang="{language}"><meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>LumosX Studio</title><style>body{{font:1rem system-ui;max-width:22rem;margin:20vh auto;padding:0 1rem}}
input,button{{font:inherit;padding:.5rem;width:100%;box-sizing:border-box;margin-top:.5rem}}</style>
<h1>LumosX Studio</h1><form method="post" action="{action}"><label>{label}
<input type="password" name="password" autocomplete="current-password" autofocus required></label>
<button>{button}</button></form><p role="alert">{said}</p></html>"""


def middleware(host: str, visitors: Visitors | None = None, *, framed: bool = False) -> list[Middleware]:
    """Return what guards the whole server that listens on `host`.

    `visitors`: the studio is shared by these. `framed`: the page is shown inside another site's, as on a Space.
    """
    guards = [Middleware(Speaking), Middleware(KnownHosts, names=known_names(host)), Middleware(SameOrigin)]
    doors = Middleware(Doors, programs=visitors is None)
    admission = [Middleware(Admission, visitors=visitors, framed=framed)] if visitors else []
    return [*guards, doors, *admission]


def known_names(host: str) -> frozenset[str]:
    """Return the names by which the server may be called: those of this machine where it listens on all addresses, and
    what `LUMOSX_NAMES` (with commas between) or a Space's own variable adds."""
    names = [*_LOOPBACK, host]
    if host in ANY_HOST:
        name = socket.gethostname()
        names += [name, f"{name}.local"]
        names += [one.address.split("%")[0] for addresses in psutil.net_if_addrs().values() for one in addresses]
    names += [part for key in ("LUMOSX_NAMES", "SPACE_HOST") for part in os.environ.get(key, "").split(",")]
    return frozenset(name.strip().lower() for name in names if name.strip())


class KnownHosts:
    """Answers 400 to requests under a name that is not ours: another site's name may be made to point here."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        self._names = frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if _host_name(Headers(scope=scope).get("host", "")) not in self._names:
                await PlainTextResponse(say("guard_name"), 400)(scope, receive, send)
                return
        elif scope["type"] != "lifespan":  # the page uses no other kind of connection
            return
        await self._app(scope, receive, send)


class SameOrigin:
    """Refuses what a page of another site sends or loads from here; following a link to the page is allowed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            reading = scope["method"] in ("GET", "HEAD", "OPTIONS")
            origin, site = headers.get("origin"), headers.get("sec-fetch-site")
            elsewhere = origin is not None and urlsplit(origin).netloc != headers.get("host")
            following = reading and headers.get("sec-fetch-mode") == "navigate"
            if (elsewhere and not reading) or (site in ("cross-site", "same-site") and not following):
                await PlainTextResponse(say("guard_elsewhere"), 403)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class Doors:
    """Lets in what the page needs of Gradio's server, with `programs` also what programs call; nothing that reads or
    writes files, fetches addresses or shows how the server fares."""

    def __init__(self, app: ASGIApp, programs: bool) -> None:
        self._app = app
        self._exact = frozenset((*_ANYBODY, *_PAGE, *(_PROGRAMS if programs else ())))
        self._below = (*_ANYBODY_BELOW, *_PAGE_BELOW, *(_PROGRAMS_BELOW if programs else ()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path: str = scope["path"]
            parts = path.split("/")
            plain = ".." not in parts and "." not in parts and not any(sign in path for sign in ("\\", "\0", "//"))
            if not plain or not (path in self._exact or path.startswith(self._below)):
                await PlainTextResponse(say("guard_no_page"), 404)(scope, receive, send)
                return
            if path.startswith("/gradio_api/") and scope["method"] == "POST" and not _fits(Headers(scope=scope)):
                await PlainTextResponse(say("guard_too_large"), 413)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class Speaking:
    """Answers in the language that a request names; a page's own messages may name another one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wish = Headers(scope=scope).get("accept-language") if scope["type"] == "http" else None
        with speaking(language_of(wish)):
            await self._app(scope, receive, send)


class Admission:
    """Finds out who is asking and opens their room; gives a cookie to whoever comes to the page, after the password
    where one is set. Everything else is refused to whoever has none."""

    def __init__(self, app: ASGIApp, visitors: Visitors, framed: bool) -> None:
        self._app = app
        self._visitors = visitors
        self._framed = framed
        self._trying: asyncio.Lock | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, method = scope["path"], scope["method"]
        if path in _ANYBODY or path.startswith(_ANYBODY_BELOW) or (path == "/" and method == "HEAD"):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        visitor = self._visitors.known(request.cookies.get(self._visitors.cookie))
        if path == ENTER:
            await (await self._enter(request, visitor))(scope, receive, send)
        elif visitor is not None:
            await self._answer(visitor, scope, receive, send)
        elif path != "/" or method != "GET":
            await PlainTextResponse(say("guard_open_first"), 401)(scope, receive, send)
        elif self._visitors.locked:
            await _door("", 200)(scope, receive, send)
        else:
            await self._app(scope, receive, self._with_cookie(send, self._visitors.new_pass()))

    async def _answer(self, visitor: str, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            room = await run_in_threadpool(self._visitors.room, visitor)
        except UserError as error:
            await PlainTextResponse(heard(str(error)), 503)(scope, receive, send)
            return
        if scope["path"] == "/":  # whoever comes back stays known
            send = self._with_cookie(send, self._visitors.pass_of(visitor))
        with self._visitors.inside(room):
            if scope["method"] == "POST" and scope["path"].startswith("/studio/"):
                async with room.sending:
                    await self._app(scope, receive, send)
            else:
                await self._app(scope, receive, send)

    async def _enter(self, request: Request, visitor: str | None) -> Response:
        if not self._visitors.locked or visitor is not None:
            return RedirectResponse("/", 303)
        if request.method != "POST":
            return _door("", 200)
        try:
            form = parse_qs((await _small_body(request)).decode("utf-8", "replace"))
        except ClientDisconnect:
            return Response(status_code=400)
        if self._trying is None:
            self._trying = asyncio.Lock()
        async with self._trying:  # one try at a time, and a wrong one takes a second: nobody gets through a list
            if not self._visitors.admits(form.get("password", [""])[0]):
                await asyncio.sleep(_WRONG_S)
                return _door(say("door_wrong"), 403)
        answer = RedirectResponse("/", 303)
        answer.headers["set-cookie"] = self._cookie(self._visitors.new_pass())
        return answer

    def _with_cookie(self, send: Send, value: str) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.append("set-cookie", self._cookie(value))
                headers["cache-control"] = "no-store"
            await send(message)

        return sending

    def _cookie(self, value: str) -> str:
        # in another site's frame a browser sends only cookies that say so, each site's own
        site = "SameSite=None; Secure; Partitioned" if self._framed else "SameSite=Lax"
        days = self._visitors.limits.days
        return f"{self._visitors.cookie}={value}; Path=/; Max-Age={days * _DAY_S}; HttpOnly; {site}"


def _host_name(header: str) -> str:
    """The name in a Host header, without port and brackets; "" if it is none."""
    try:
        return (urlsplit(f"//{header}").hostname or "").lower()
    except ValueError:
        return ""


def _fits(headers: Headers) -> bool:
    size = headers.get("content-length", "")
    return size.isascii() and size.isdigit() and len(size) < 12 and int(size) <= _MESSAGE_BYTES


async def _small_body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body = (body + part)[:_PASSWORD_BYTES]
    return body


def _door(said: str, status: int) -> HTMLResponse:
    words = {"language": "language_tag", "label": "door_label", "button": "door_button"}
    page = _DOOR.format(
        action=ENTER, said=html.escape(said), **{name: html.escape(say(key)) for name, key in words.items()}
    )
    return HTMLResponse(page, status, headers={"Cache-Control": "no-store"})
