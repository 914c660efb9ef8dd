"""The one place that talks to Hugging Face: list a repository's files, and fetch one from a given byte on.

huggingface_hub's own `hf_hub_download` starts a file anew in every run (its temporary file has a new name each time),
and its `http_get` forgets up to ten megabytes when a connection breaks. So only its session, its addresses, its headers
and its errors are used here, and the file that grows is ours.
"""

from __future__ import annotations

import io
import logging
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from engine.errors import WeightsError
from engine.weights.catalogue import CatalogueEntry
from engine.weights.files import explained

_ATTEMPTS = 4
_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file of a repository with what the hub knows about it: sha256 of large files, git's own sha1 of small ones."""

    path: str
    size_bytes: int
    sha256: str | None
    git_sha1: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteListing:
    """The files of a repository at one revision (a commit, so that a download never mixes two states)."""

    revision: str
    files: tuple[RemoteFile, ...]


class Hub(Protocol):
    """What a download needs of a hub."""

    def listing(self, repository: str, revision: str = "") -> RemoteListing:
        """All files of a repository, as they are now or at an earlier `revision`.

        Raises `WeightsError` in one sentence when the hub cannot be reached or no longer has that revision.
        """
        ...

    def fetch(
        self, repository: str, revision: str, file: RemoteFile, target: Path, on_bytes: Callable[[int], None]
    ) -> None:
        """Append to `target` the bytes it lacks; `on_bytes` is told of each piece (negative: bytes start anew).

        Raises `WeightsError` when the connection is lost, and leaves what has arrived.
        """
        ...


class HuggingFaceHub:
    """`Hub` on huggingface_hub; respects `HF_ENDPOINT`, `HF_TOKEN` and proxies as that library does."""

    def __init__(self, endpoint: str | None = None) -> None:
        self._endpoint = endpoint

    def listing(self, repository: str, revision: str = "") -> RemoteListing:
        from huggingface_hub import HfApi

        with _network_errors(repository), _strange_answers(repository):
            info = HfApi(endpoint=self._endpoint).model_info(
                repository, revision=revision or None, files_metadata=True, timeout=20
            )
            files = tuple(
                RemoteFile(
                    path=sibling.rfilename,
                    size_bytes=max(0, int(sibling.size)),
                    sha256=str(sibling.lfs.sha256) if sibling.lfs else None,
                    git_sha1=None if sibling.lfs or not sibling.blob_id else str(sibling.blob_id),
                )
                for sibling in info.siblings or []
                if sibling.size is not None and _is_safe(sibling.rfilename)
            )
        if not info.sha:
            raise WeightsError(f"The hub did not say which revision of {repository} is current: try again later.")
        return RemoteListing(revision=str(info.sha), files=files)

    def fetch(
        self, repository: str, revision: str, file: RemoteFile, target: Path, on_bytes: Callable[[int], None]
    ) -> None:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers

        url = hf_hub_url(repository, file.path, revision=revision, endpoint=self._endpoint)
        _fetch(url, build_hf_headers(), repository, file, target, on_bytes)


class PublishedFiles:
    """`Hub` for files at a plain address, whose sizes and digests are known beforehand. Nobody is told a token."""

    def __init__(self, wanted: CatalogueEntry) -> None:
        self._wanted = wanted

    def listing(self, repository: str, revision: str = "") -> RemoteListing:
        """What the catalogue says; asks nobody."""
        known = (*self._wanted.files, *filter(None, [self._wanted.archive]))
        files = tuple(
            RemoteFile(path=file.name, size_bytes=file.approximate_bytes, sha256=file.sha256, git_sha1=None)
            for file in known
        )
        return RemoteListing(revision="published", files=files)

    def fetch(
        self, repository: str, revision: str, file: RemoteFile, target: Path, on_bytes: Callable[[int], None]
    ) -> None:
        from huggingface_hub import constants

        address = published_address(self._wanted)
        where = urlsplit(address).netloc
        if constants.HF_HUB_OFFLINE:
            raise WeightsError(f"HF_HUB_OFFLINE forbids to reach {where}: unset it, or use files you have (--from).")
        _fetch(address + file.path, {}, where, file, target, on_bytes)


def published_address(wanted: CatalogueEntry) -> str:
    """Where the files of an entry are fetched from: its publisher, or a mirror that `LUMOSX_WEIGHTS_MIRROR` names
    (there the files lie under the entry's name)."""
    mirror = os.environ.get("LUMOSX_WEIGHTS_MIRROR", "").rstrip("/")
    return f"{mirror}/{wanted.name}/" if mirror else wanted.address


def _fetch(
    url: str, headers: dict[str, str], name: str, file: RemoteFile, target: Path, on_bytes: Callable[[int], None]
) -> None:
    """Append to `target` what it lacks, again and again while that helps; `name` is what sentences call the source."""
    # Of whichever HTTP library huggingface_hub is built on.
    from huggingface_hub.errors import HTTPError  # pyright: ignore[reportPrivateImportUsage]

    with explained(target):
        target.touch()
    for attempt in count():
        present = target.stat().st_size
        try:
            with _network_errors(name):
                _stream(url, headers, file.size_bytes, target, on_bytes)
            return
        except WeightsError as error:
            arrived = target.stat().st_size > present
            worth_it = _is_passing(error.__cause__) if isinstance(error.__cause__, HTTPError) else False
            if not worth_it or (attempt >= _ATTEMPTS and not arrived):
                raise
            time.sleep(1 if arrived else min(2**attempt, 8))


def _stream(url: str, known: dict[str, str], size_bytes: int, target: Path, on_bytes: Callable[[int], None]) -> None:
    """Append to `target` what it lacks, in one request."""
    from huggingface_hub import get_session
    from huggingface_hub.utils import hf_raise_for_status

    present = target.stat().st_size
    if present >= size_bytes:
        return
    # A compressed answer has no ranges and another length.
    headers = {**known, "Accept-Encoding": "identity"}
    if present:
        headers["Range"] = f"bytes={present}-"
    with get_session().stream("GET", url, headers=headers, timeout=_TIMEOUT_S) as response:
        hf_raise_for_status(response)
        with explained(target):
            file = target.open("r+b", buffering=0)
        with file:
            if present and response.status_code == 200:
                # The server ignored the range: what had arrived comes once more.
                file.truncate(0)
                on_bytes(-present)
            file.seek(0, os.SEEK_END)
            # As they arrive: pieces of a given size would be lost with the connection.
            for piece in response.iter_bytes():
                with explained(target):
                    _write_all(file, piece)
                on_bytes(len(piece))
                if file.tell() > size_bytes:
                    return  # another file than was announced, of any length: it is found out by its size
            if file.tell() < size_bytes:
                raise ConnectionError("the answer was too short")


def _write_all(file: io.FileIO, piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[file.write(rest) :]


def _is_passing(error: BaseException) -> bool:
    """Whether a failure may be over in a moment: a lost connection, a busy server."""
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in (408, 429) or error.response.status_code >= 500
    return True


@contextmanager
def _network_errors(repository: str) -> Generator[None, None, None]:
    """One sentence for whatever goes wrong on the way; the library's own warnings are kept off the screen."""
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HTTPError,  # pyright: ignore[reportPrivateImportUsage]
        OfflineModeIsEnabled,
        RevisionNotFoundError,
    )

    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise WeightsError(
            f"HF_HUB_OFFLINE forbids to reach {repository}: unset it, or use files you have (--from)."
        ) from error
    except RevisionNotFoundError as error:
        raise WeightsError(
            f"{repository} no longer publishes the files that this model was made of: remove the model, then download "
            "it again."
        ) from error
    except HfHubHTTPError as error:
        code = error.response.status_code
        raise WeightsError(
            f"The hub answered {code} for {repository}: try again later, or use files you have (--from)."
        ) from error
    except (HTTPError, OSError) as error:
        raise WeightsError(
            f"No connection to the hub for {repository} ({type(error).__name__}): check the network and try again, "
            "it goes on where it stopped; or use files you have (--from)."
        ) from error
    finally:
        logger.setLevel(level)


@contextmanager
def _strange_answers(repository: str) -> Generator[None]:
    """One sentence for an answer that is not the hub's, such as the page with which a hotel's network asks for a
    login."""
    from huggingface_hub.errors import HTTPError  # pyright: ignore[reportPrivateImportUsage]

    try:
        yield
    except (HTTPError, OSError):  # no answer at all: that is told elsewhere
        raise
    # What the library raises for JSON that is none, or that lacks anything, is any exception.
    except Exception as error:
        raise WeightsError(
            f"What came for {repository} is no answer of the hub: if your network asks for a login, open any page in a "
            "browser first, then try again."
        ) from error


def _is_safe(path: str) -> bool:
    """A path below the download folder on every system."""
    parts = path.split("/")
    return all(part and part not in (".", "..") and not set(part) & set('\\:*?"<>|') for part in parts)
