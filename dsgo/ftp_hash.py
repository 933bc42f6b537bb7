"""SHA-256 of what is being sent or stored, beside the transfer instead of between its blocks."""

from __future__ import annotations

import hashlib
import queue
import threading
from pathlib import Path

BLOCK = 1 << 20
INLINE = 1 << 21  # bytes; for less a thread is not worth its start
WAITING = 2  # blocks of a stream that may wait to be hashed


class StreamHash:
    """SHA-256 of a stream. `hashlib` lets go of the interpreter lock, so a long stream is hashed on a core of its own.

    A block must stay as it is. `close` must follow, and `hexdigest` may.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._length = 0
        self._blocks: queue.Queue | None = None
        self._thread: threading.Thread | None = None

    def update(self, block: bytes) -> None:
        """Take the next block; waits while too many are waiting."""
        self._length += len(block)
        if self._thread is None:
            if self._length <= INLINE:
                self._digest.update(block)
                return
            self._blocks = queue.Queue(WAITING)
            self._thread = threading.Thread(target=self._work, name="sha256", daemon=True)
            self._thread.start()
        self._blocks.put(block)

    def _work(self) -> None:
        while (block := self._blocks.get()) is not None:
            self._digest.update(block)

    def close(self) -> None:
        """Wait for the last block."""
        if self._thread is not None:
            self._blocks.put(None)
            self._thread.join()
            self._thread = None

    def hexdigest(self) -> str:
        """The hash of all blocks. Closes."""
        self.close()
        return self._digest.hexdigest()


class FileHash:
    """SHA-256 of the first `size` bytes of the file `path`, which is read beside whatever else reads it.

    A long file is read in a thread of its own. `close` must follow.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path, self._size = path, size
        self._digest = hashlib.sha256()
        self._failure: OSError | None = None
        self._given_up = False
        self._thread: threading.Thread | None = None
        if size > INLINE:
            self._thread = threading.Thread(target=self._work, name="sha256", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        buffer = memoryview(bytearray(min(BLOCK, self._size)))
        left = self._size
        try:
            with self._path.open("rb", buffering=0) as file:
                # A file cut short meanwhile gives a hash that will not agree.
                while left and not self._given_up and (count := file.readinto(buffer[:left])):
                    self._digest.update(buffer[:count])
                    left -= count
        except OSError as error:
            self._failure = error

    def hexdigest(self) -> str:
        """The hash, waited for. Raises OSError if the file could not be read."""
        if self._thread is None:
            self._work()
        else:
            self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self._digest.hexdigest()

    def close(self) -> None:
        """Stop reading."""
        self._given_up = True
        if self._thread is not None:
            self._thread.join()
