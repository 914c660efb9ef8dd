"""`weights …` from end to end: parsed arguments in, files and sentences out, the hub on the loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine import weights
from engine.cli.commands.weights import run
from engine.cli.parser import build_parser
from engine.errors import InputError, WeightsError
from tests.unit.loopback_hub import LoopbackHub, serving
from tests.unit.tiny_bundle import write_bundle

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUMOSX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def _weights(*words: str | Path) -> int:
    return run(build_parser().parse_args(["weights", *map(str, words)]))


def test_list_shows_licences_and_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert _weights("list") == 0
    text = capsys.readouterr().out
    assert text.count("Apache-2.0") == 3
    assert "Non-commercial research only" in text
    assert "weights download lumosx" in text
    assert "models_t5_umt5-xxl-enc-bf16.pth (the text encoder, about 11.4 GB)" in text
    assert "takes      To fetch: 23.3 GB. Free disk it wants at its fullest: 29.1 GB\n" in text


def test_list_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    _weights("list", "--json")
    nano, lumosx, segment_anything, faces, decoder = json.loads(capsys.readouterr().out)
    assert (nano["name"], nano["licence"], nano["repository"]) == ("nano", "Apache-2.0", None)
    assert (lumosx["installed"], lumosx["repository"]) == (False, "Alibaba-DAMO-Academy/LumosX")
    assert "not installed" in lumosx["problem"]
    assert segment_anything["address"].startswith("https://dl.fbaipublicfiles.com/")
    assert (faces["non_commercial"], lumosx["non_commercial"]) == (True, False)
    assert (decoder["name"], decoder["licence"], len(decoder["files"])) == ("preview-decoder", "MIT", 2)
    assert {"vae.pth", "umt5-xxl/", "LumosX_models/"} < {file["name"] for file in lumosx["files"]}


def test_listing_loads_no_torch() -> None:
    program = (
        "import sys; from engine.cli.parser import build_parser; from engine.cli.commands.weights import run;"
        "run(build_parser().parse_args(['weights', 'list'])); print([m for m in ('torch', 'huggingface_hub') if m in "
        "sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_convert_verify_and_remove(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    assert _weights("convert", bundle) == 0
    out, err = capsys.readouterr()
    assert "Licence: Apache-2.0" in out
    assert f"Ready: {weights.locate('lumosx')}" in out
    assert "convert transformer" in err
    assert _weights("verify", "lumosx") == 0
    assert "files are whole" in capsys.readouterr().out
    assert _weights("remove", "lumosx", "--yes") == 0
    assert not weights.model_folder("lumosx").exists()
    with pytest.raises(WeightsError, match="nothing to remove"):
        _weights("remove", "lumosx", "--yes")


def test_convert_to_another_place_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _weights("convert", write_bundle(tmp_path / "bundle", "pt"), "--out", tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "model_index.json").is_file()
    assert f"The engine looks in {weights.model_folder('lumosx')}" in capsys.readouterr().out


def test_remove_asks(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads = home / "models" / "downloads" / "lumosx"
    downloads.mkdir(parents=True)
    answers = iter(["", "no", "y"])
    asked: list[str] = []

    def answer(question: str) -> str:
        asked.append(question)
        return next(answers)

    monkeypatch.setattr("builtins.input", answer)
    _weights("remove", "lumosx")
    _weights("remove", "lumosx")
    assert downloads.exists()
    assert str(downloads) in asked[0]
    _weights("remove", "lumosx")
    assert not downloads.exists()


def test_remove_without_anybody_to_ask(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "models" / "downloads" / "lumosx").mkdir(parents=True)

    def nobody(_: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", nobody)
    with pytest.raises(InputError, match="add --yes"):
        _weights("remove", "lumosx")


def test_words_that_make_no_sense() -> None:
    with pytest.raises(InputError, match="nothing to download"):
        _weights("download", "nano")
    with pytest.raises(InputError, match="cannot be removed"):
        _weights("remove", "nano", "--yes")
    for action in ("download", "verify", "remove"):
        with pytest.raises(InputError, match="There are no weights “sora”"):
            _weights(action, "sora")


def _environment(address: str) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        environment.pop(name, None)
    return {**environment, "HF_ENDPOINT": address}


def _command(address: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    program = "import sys; from engine.cli.main import main; raise SystemExit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", program, "weights", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=_environment(address),
        check=False,
    )


def _published(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_download_from_nothing_to_a_model(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    server = LoopbackHub("Alibaba-DAMO-Academy/LumosX", _published(bundle))
    server.break_after = 200_000
    with serving(server):
        done = _command(server.address, "download")
    assert done.returncode == 0, done.stderr
    assert server.breaks > 0
    assert "Licence: Apache-2.0" in done.stdout
    assert "To fetch: 23.3 GB. Free disk it wants at its fullest: 29.1 GB" in done.stdout
    assert done.stdout.index("To fetch") < done.stdout.index("Ready")
    assert "Traceback" not in done.stderr
    assert weights.locate("lumosx").is_dir()
    assert weights.verify("lumosx") > 8


def test_download_with_files_at_hand_and_no_network(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    done = _command("http://127.0.0.1:9", "download", "--from", bundle)
    assert done.returncode == 0, done.stderr
    assert "without comparing their digests" in done.stdout
    assert weights.locate("lumosx").is_dir()
    done = _command("http://127.0.0.1:9", "download")
    assert done.returncode == 0, done.stderr  # it is whole: nobody is asked
    assert weights.remove("lumosx") > 0
    shutil.rmtree(bundle / "umt5-xxl")
    done = _command("http://127.0.0.1:9", "download", "--from", bundle)
    assert done.returncode == 2
    assert done.stderr.strip().count("\n") == 0
    assert "No connection to the hub" in done.stderr
