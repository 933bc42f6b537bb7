"""Downloads that survive a broken line: resumed, checked before they are accepted, kept with their sha256."""

from __future__ import annotations

import fcntl
import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError, ReadTimeoutError

from dsgo.errors import SourceError

TIMEOUT_S = (10, 60)  # to connect, and between two pieces
ATTEMPTS = 5  # in a row without a new byte
FIRST_PAUSE_S = 0.5  # doubled after each attempt in vain
CHUNK_BYTES = 1 << 18
BUSY = {408, 425, 429, 500, 502, 503, 504}  # replies that may be better next time


class _Broken(Exception):
    """The transfer stopped in a way that is worth another attempt."""


def fetch(url: str, folder: Path, check: Callable[[Path, str], None], *, reuse: bool = True) -> Path:
    """Download a file into `folder`, or take the one that is there.

    Args:
        url: an http(s) address.
        folder: made if absent. Beside the file lies `<file>.sha256`; an unfinished one is `<file>.part`.
        check: is called with the file and its address, and raises SourceError when the file is not what it should be;
            such a file is never kept.
        reuse: take a file that was downloaded before, if its sha256 still holds.

    Raises:
        SourceError: the server cannot be reached, refuses, or sends something else; names the address.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = Path(urlsplit(url).path).name or "download"
    file = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{name}"
    with _beside(file, ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two processes must not write one part
        if reuse and _is_intact(file):
            return file
        part = _beside(file, ".part")
        _download(url, part)
        try:
            check(part, url)
        except SourceError:
            part.unlink()
            raise
        _beside(file, ".sha256").write_text(f"{sha256(part)}  {name}\n")
        part.replace(file)
        _beside(part, ".from").unlink(missing_ok=True)
    return file


def sha256(file: Path) -> str:
    """Hex sha256 of a file of any size."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def forget(file: Path) -> None:
    """Remove a downloaded file that turned out to be damaged."""
    file.unlink(missing_ok=True)
    _beside(file, ".sha256").unlink(missing_ok=True)


def _beside(file: Path, suffix: str) -> Path:
    return file.with_name(file.name + suffix)


def _is_intact(file: Path) -> bool:
    try:
        return _beside(file, ".sha256").read_text().split()[0] == sha256(file)
    except (OSError, IndexError):
        return False


def _download(url: str, part: Path) -> None:
    """Bring `part` to its full length, going on where it ends."""
    failures, pause_s = 0, FIRST_PAUSE_S
    while True:
        before = _size(part)
        try:
            _transfer(url, part)
            return
        except (requests.ConnectionError, requests.Timeout, HTTPError, _Broken) as error:
            failures = 0 if _size(part) > before else failures + 1
            if failures >= ATTEMPTS:
                raise SourceError(
                    url, _reason(error), "Check the address and the connection, then try again."
                ) from error
            if failures:
                time.sleep(pause_s)
                pause_s *= 2
            else:
                pause_s = FIRST_PAUSE_S
        except requests.RequestException as error:
            raise SourceError(url, f"cannot be requested: {error}") from error


def _transfer(url: str, part: Path) -> None:
    have, origin = _size(part), _beside(part, ".from")
    headers = {"Accept-Encoding": "identity"}  # so that bytes on the line are bytes of the file
    version = json.loads(origin.read_text()) if have and origin.exists() else None
    if version:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as reply:
        if reply.status_code == 416:  # nothing follows what is there: it is whole, or of another file
            if reply.headers.get("Content-Range") == f"bytes */{have}":
                return
            part.unlink()
            raise _Broken("the file has changed on the server")
        if reply.status_code in BUSY:
            raise _Broken(f"the server answers {reply.status_code} {reply.reason}")
        if reply.status_code not in (200, 206):
            raise SourceError(url, f"the server answers {reply.status_code} {reply.reason}.", "Check the address.")
        resumed = reply.status_code == 206 and reply.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if not resumed:
            have = 0
            # A strong validator says whether the rest, asked for later, belongs to this very file.
            validator = reply.headers.get("ETag", "")
            validator = validator if validator.startswith('"') else reply.headers.get("Last-Modified", "")
            origin.write_text(json.dumps(validator))
        length = reply.headers.get("Content-Length")
        total = have + int(length) if length else None
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(
                desc=part.name.removesuffix(".part").split("-", 1)[1],
                total=total,
                initial=have,
                unit="B",
                unit_scale=True,
                file=sys.stderr,
                mininterval=0.2 if sys.stderr.isatty() else 10,  # a log gets a line now and then
            ) as bar,
        ):
            # Not iter_content: it gathers whole chunks and loses the last one when the connection breaks. When fewer
            # bytes come than the server announced, urllib3 raises.
            while piece := reply.raw.read1(CHUNK_BYTES):
                file.write(piece)
                bar.update(len(piece))


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _reason(error: Exception) -> str:
    if isinstance(error, _Broken):
        return f"{error}."
    if isinstance(error, (requests.Timeout, ReadTimeoutError)):
        return "the server does not answer in time."
    if "Connection refused" in str(error):
        return "the connection was refused: no server listens there."
    if "NameResolution" in str(error) or "getaddrinfo" in str(error):
        return "the server's name is not known."
    return f"the connection broke: {error}."
