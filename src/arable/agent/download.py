"""Image parts from the management server, in the background: a step never waits for a network.

`fetch` answers `Waiting` while a part is on its way and gives its bytes when it is here; who is told when that is
(`nudge`) makes the next step. What was received is kept over failures and restarts, and continued by a range. The
bytes are not believed here: whoever admits them checks their digest, and takes the file away by reading it to the end,
so a part that was damaged is fetched anew. Whoever has its folder on the same file system moves the file there instead, and no
part is ever received into what is kept free there for guests.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from arable.agent.join import Identity
from arable.agent.patience import Waiting
from arable.domain.errors import CloudError, NoRoom, NotFound, Unavailable
from arable.drivers.storage.protocol import Received
from arable.drivers.storage.room import Room

log = logging.getLogger(__name__)

_PIECE = 1 << 20
_AT_ONCE = 2
_STALL = 60.0  # seconds without a byte


@dataclass(slots=True)
class _Job:
    got: int = 0
    size: int = 0
    failed: CloudError | None = None

    def told(self) -> str:
        return f"{self.got * 100 // self.size} % are here" if self.size else "it is being fetched"


class Downloads:
    """A `Fetch` for storage drivers that `Receives`."""

    def __init__(
        self,
        directory: Path,
        servers: Sequence[str],
        identity: Callable[[], Identity],
        nudge: Callable[[], None],
    ) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._room = Room(directory)
        self._servers = list(servers)
        self._identity = identity
        self._nudge = nudge
        self._jobs: dict[str, _Job] = {}
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="download")
        self._closing = False

    def close(self) -> None:
        """Stop; what was received is kept."""
        self._closing = True
        self._threads.shutdown(wait=True, cancel_futures=True)

    def keep(self, needed: Collection[str]) -> None:
        """Nobody will ask for any others: what was received of them goes, unless it is being received just now."""
        with self._lock:
            for path in self._directory.iterdir():
                name = path.name.partition(".")[0]
                job = self._jobs.get(name)
                if name not in needed and (job is None or job.failed):
                    self._jobs.pop(name, None)
                    path.unlink(missing_ok=True)

    def received(self, sha256: str) -> Received | None:
        """What is here of the part."""
        for name, whole in ((sha256, True), (f"{sha256}.part", False)):
            path = self._directory / name
            with suppress(FileNotFoundError):
                about = path.stat()
                return Received(path, about.st_size, about.st_dev, whole)
        return None

    def __call__(self, sha256: str) -> Iterator[bytes]:
        """The part's bytes; raises `Waiting` until they are here; once for each failure `Unavailable`, or `NoRoom`."""
        whole = self._directory / sha256
        if whole.exists():
            return _taken(whole)
        with self._lock:
            job = self._jobs.get(sha256)
            if job is None:
                job = self._jobs[sha256] = _Job()
                self._threads.submit(self._work, sha256, job)
            elif job.failed:
                del self._jobs[sha256]
                raise job.failed
            elif whole.exists():  # finished between the two looks
                return _taken(whole)
        raise Waiting(job.told())

    def _work(self, sha256: str, job: _Job) -> None:
        why: CloudError = Unavailable("there are no servers")
        for server in self._servers:
            try:
                self._get(server, sha256, job)
            except NoRoom as error:
                (self._directory / f"{sha256}.part").unlink(missing_ok=True)
                why = error
                break
            except (CloudError, httpx.HTTPError, OSError) as error:
                told = f"{server}: {getattr(error, 'public', error) or type(error).__name__}"
                log.warning("part %s was not fetched from %s", sha256[:12], told)
                why = Unavailable(told)
            except Exception as error:
                log.exception("fetching %s", sha256[:12])
                why = Unavailable(type(error).__name__)
            else:
                with self._lock:
                    self._jobs.pop(sha256, None)
                self._nudge()
                return
        job.failed = why
        self._servers = self._servers[1:] + self._servers[:1]
        self._nudge()

    def _get(self, server: str, sha256: str, job: _Job) -> None:
        part = self._directory / f"{sha256}.part"
        have = part.stat().st_size if part.exists() else 0
        headers = {"range": f"bytes={have}-"} if have else {}
        url = f"https://{server}/agent/v1/images/{sha256}"
        context = self._identity().context()
        with (
            httpx.Client(verify=context, trust_env=False, timeout=_STALL) as client,
            client.stream("GET", url, headers=headers) as answer,
        ):
            if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                part.unlink(
                    missing_ok=True
                )  # all of it is here, or too much: not worth finding out
                raise Unavailable("what was kept of the part does not fit; fetched anew next time")
            if answer.status_code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
                raise NotFound(f"status {answer.status_code}")
            continued = answer.status_code == httpx.codes.PARTIAL_CONTENT
            job.got = have if continued else 0
            length = int(answer.headers.get("content-length", 0))
            job.size = job.got + length
            with self._room.claimed(length):
                pass  # or it is not even begun
            with part.open("ab" if continued else "wb") as file:
                for piece in (
                    answer.iter_raw()
                ):  # as they come: a collected piece would be lost with the connection
                    if self._closing:
                        raise Unavailable("the agent is leaving")
                    with self._room.claimed(len(piece)):  # others come at the same time
                        file.write(piece)
                    job.got += len(piece)
        if job.size and job.got != job.size:
            raise Unavailable(f"the server hung up after {job.got} of {job.size} bytes")
        part.replace(self._directory / sha256)


def _taken(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece
    finally:
        path.unlink(missing_ok=True)
