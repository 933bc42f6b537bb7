"""SHA-256 of what is being sent or stored, beside the transfer instead of between its blocks."""

from __future__ import annotations

import hashlib
import queue
import threading

INLINE = 1 << 21  # bytes; for less a thread is not worth its start
WAITING = 2  # blocks that may wait; with the one being hashed and the one being filled a ring of 4 buffers suffices
RING = WAITING + 2


class StreamHash:
    """SHA-256 of a stream. `hashlib` lets go of the interpreter lock, so a long stream is hashed on a core of its own.

    A block must stay as it is until `WAITING + 1` further ones were given. `close` must follow, and `hexdigest` may.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._length = 0
        self._blocks: queue.Queue | None = None
        self._thread: threading.Thread | None = None

    def update(self, block: bytes | memoryview) -> None:
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
