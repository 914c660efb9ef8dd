"""The one place that talks to Hugging Face: list a repository's files, and fetch one from a given byte on.

huggingface_hub's own `hf_hub_download` starts a file anew after every interruption (its temporary file has a new name
each time), so its ranged transfer is used directly, with a file of ours that survives.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from engine.errors import WeightsError
from engine.weights.files import explained


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

    def listing(self, repository: str) -> RemoteListing:
        """All files of a repository. Raises `WeightsError` in one sentence when the hub cannot be reached."""
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

    def listing(self, repository: str) -> RemoteListing:
        from huggingface_hub import HfApi

        with _network_errors(repository):
            info = HfApi(endpoint=self._endpoint).model_info(repository, files_metadata=True, timeout=20)
        files = tuple(
            RemoteFile(
                path=sibling.rfilename,
                size_bytes=int(sibling.size),
                sha256=sibling.lfs.sha256 if sibling.lfs else None,
                git_sha1=None if sibling.lfs else sibling.blob_id,
            )
            for sibling in info.siblings or []
            if sibling.size is not None and _is_safe(sibling.rfilename)
        )
        if not info.sha:
            raise WeightsError(f"The hub did not say which revision of {repository} is current: try again later.")
        return RemoteListing(revision=info.sha, files=files)

    def fetch(
        self, repository: str, revision: str, file: RemoteFile, target: Path, on_bytes: Callable[[int], None]
    ) -> None:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers

        url = hf_hub_url(repository, file.path, revision=revision, endpoint=self._endpoint)
        with explained(target):
            sink = _Sink(target, on_bytes)
        with sink, _network_errors(repository):
            # A compressed answer has no ranges and another length.
            headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
            http_get(
                url,
                sink,
                resume_size=sink.tell(),
                headers=headers,
                expected_size=file.size_bytes,
                displayed_filename=file.path,
                tqdm_class=_NoBar,  # pyright: ignore[reportArgumentType]
            )


class _Sink(io.BufferedRandom):
    """The growing file: reports what is written, and turns a full disk into the error that says so."""

    def __init__(self, path: Path, on_bytes: Callable[[int], None]) -> None:
        self._path, self._on_bytes = path, on_bytes
        super().__init__(io.FileIO(path, "r+b" if path.exists() else "x+b"), 1 << 20)
        self.seek(0, os.SEEK_END)

    def write(self, buffer: Any, /) -> int:
        with explained(self._path):
            written = super().write(buffer)
        self._on_bytes(written)
        return written

    def truncate(self, pos: int | None = None, /) -> int:
        """The server ignored the range: what had arrived does not count any more."""
        before = os.fstat(self.fileno()).st_size
        with explained(self._path):
            after = super().truncate(pos)
        self._on_bytes(after - before)
        return after

    def close(self) -> None:
        with explained(self._path):
            super().close()


class _NoBar:
    """Stands in for tqdm, whose bar is drawn elsewhere, from our own events."""

    def __init__(self, **_: object) -> None: ...

    def __enter__(self) -> _NoBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def update(self, n: float | None = 1, /) -> None:
        """Drawn elsewhere."""


@contextmanager
def _network_errors(repository: str) -> Iterator[None]:
    """One sentence for whatever goes wrong on the way; the library's own warnings are kept off the screen."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise WeightsError(
            f"HF_HUB_OFFLINE forbids to reach {repository}: unset it, or use --from with your files."
        ) from error
    except HfHubHTTPError as error:
        code = error.response.status_code
        raise WeightsError(
            f"The hub answered {code} for {repository}: try again later, or use --from with files you have."
        ) from error
    except (HTTPError, OSError) as error:
        raise WeightsError(
            f"No connection to the hub for {repository} ({type(error).__name__}): check the network and run the same "
            "command again, it goes on where it stopped; or use --from with files you have."
        ) from error
    finally:
        logger.setLevel(level)


def _is_safe(path: str) -> bool:
    """A path below the download folder on every system."""
    parts = path.split("/")
    return all(part and part not in (".", "..") and not set(part) & set('\\:*?"<>|') for part in parts)
