"""Pictures: bytes by name in a local folder, S3, GCS or Azure, all through one library.

Names are ours and cannot be guessed; nothing of a provider's address is ever stored or passed on.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from core.errors import AetherflowError, NotFound

T = TypeVar("T")
THREADS = 16
EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


class BlobNotFound(NotFound):
    """No such picture (any more). Facts: `blob`."""

    code = "blob_not_found"


class BlobsUnavailable(AetherflowError):
    """The store does not answer or refuses."""

    code = "blobs_unavailable"


class Blobs:
    """Share one per process. `location`: file:///folder, memory:///, s3://bucket/prefix, gs://…, az://…

    The library's blocking calls run in threads of ours: its asynchronous ones may abort the interpreter when a process ends just after
    (PyO3/pyo3-async-runtimes#40).
    """

    def __init__(self, location: str) -> None:
        parts = urlsplit(location)
        if parts.scheme == "file":
            Path(url2pathname(parts.path)).mkdir(parents=True, exist_ok=True)
        self._store = from_url(location)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="blobs")

    async def put(self, folder: str, data: bytes, media_type: str, name: str | None = None) -> str:
        """Stores a picture and returns its new name, or under the name that it has in the folder, over an earlier one.

        Raises BlobsUnavailable.
        """
        name = f"{folder}/{name or secrets.token_urlsafe(18)}.{EXTENSIONS[media_type]}"
        await self._call(lambda: obstore.put(self._store, name, data), name)
        return name

    async def get(self, name: str) -> bytes:
        """A picture's bytes. Raises BlobNotFound or BlobsUnavailable."""
        return await self._call(lambda: bytes(obstore.get(self._store, name).bytes()), name)

    async def delete(self, name: str) -> None:
        """Removes a picture; one that is gone already is no error. Raises BlobsUnavailable."""
        with contextlib.suppress(BlobNotFound):
            await self._call(lambda: obstore.delete(self._store, name), name)

    def close(self) -> None:
        """Waits for running calls and ends the threads."""
        self._threads.shutdown()

    async def _call(self, call: Callable[[], T], name: str) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except FileNotFoundError:
            raise BlobNotFound(blob=name) from None
        except (BaseError, OSError) as error:
            raise BlobsUnavailable(problem=type(error).__name__) from error
