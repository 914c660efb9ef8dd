"""One studio per data home: who is believed to run, which port is taken, what a second start does."""

from __future__ import annotations

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import InputError, MachineError, OutputError
from studio import app
from studio.browser import window_command
from studio.instance import (
    Instance,
    browse_host,
    forget_instance,
    free_ports,
    hello,
    new_key,
    note_instance,
    running_instance,
    state_file,
)
from tests.patience import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUMOSX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def answering() -> Iterator[tuple[str, str]]:
    """A server that greets as a studio does: its address and its key."""
    key = new_key()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(hello(key)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", key
    server.shutdown()
    thread.join()
    server.server_close()


def _note(url: str, key: str) -> Instance:
    instance = Instance(pid=os.getpid(), url=url, key=key)
    note_instance(instance)
    return instance


def test_a_running_studio_is_found_by_its_answer(answering: tuple[str, str]) -> None:
    assert running_instance() is None
    assert _note(*answering) == running_instance()
    if os.name == "posix":
        assert state_file().stat().st_mode & 0o077 == 0  # the key is nobody else's business


def test_somebody_else_on_that_port_is_not_the_studio(answering: tuple[str, str]) -> None:
    _note(answering[0], "another key")
    assert running_instance() is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": "x", "url": 3}', '{"pid": 1, "url": "x", "key": "y"}'])
def test_a_note_that_makes_no_sense_counts_as_none(text: str, home: Path) -> None:
    home.mkdir()
    state_file().write_text(text)
    assert running_instance() is None


def test_a_note_left_by_a_dead_studio_counts_as_none() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _note(f"http://127.0.0.1:{port}/", "key")
    assert running_instance() is None


def test_a_note_is_removed_by_its_own_run_only() -> None:
    _note("http://127.0.0.1:1/", "mine")
    forget_instance("other")
    assert state_file().exists()
    forget_instance("mine")
    assert not state_file().exists()
    forget_instance("mine")


def test_a_second_start_opens_the_first(answering: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    _note(*answering)
    assert app.serve(7860, "127.0.0.1", False, False) == 0
    assert capsys.readouterr().out == f"The studio is already running: {answering[0]}\n"


def test_a_taken_port_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port not in free_ports("127.0.0.1", port)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_is_none_is_a_sentence(port: int) -> None:
    with pytest.raises(InputError, match="from 1 to 65535"):
        free_ports("127.0.0.1", port)


def test_a_host_of_another_machine_is_a_sentence() -> None:
    with pytest.raises(MachineError, match="--host or --port"):
        free_ports("203.0.113.7", 7860)


def test_a_home_that_cannot_be_written_is_a_sentence(home: Path) -> None:
    home.write_text("a file stands here")
    with pytest.raises(OutputError, match="LUMOSX_HOME"):
        _note("http://127.0.0.1:1/", "key")


def test_a_user_error_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        app.main(["--no-browser", "--port", "70000"])
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err


def test_names_for_the_browser() -> None:
    assert [browse_host(host) for host in ("127.0.0.1", "0.0.0.0", "::1", "::")] == [
        "127.0.0.1",
        "127.0.0.1",
        "[::1]",
        "127.0.0.1",
    ]


def test_a_window_needs_a_browser_that_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert window_command("http://127.0.0.1:7860/") is None
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    command = window_command("http://127.0.0.1:7860/")
    assert command is not None
    assert command[:2] == [str(program), "--app=http://127.0.0.1:7860/"]


def test_starting_loads_nothing_heavy() -> None:
    code = "import sys, studio.app; print(sorted({'torch', 'gradio', 'numpy', 'PIL', 'av'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert done.stdout.strip() == "[]"
