"""What other regions may have of this one's image parts. Denied unless something here allows it.

A part is for another region when it belongs to a version of a public image, or when a request that was passed on, and
signed, names it for that region (`passed_on`; nothing does so yet). Any other reads as absent: which parts exist is
nobody's business.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from arable.domain.chunks import ChunkList
from arable.domain.errors import NotFound, Unavailable
from arable.domain.image_files import PartChunks
from arable.services.call import Surroundings
from arable.store import images
from arable.store.database import Database, Tx

PassedOn = Callable[[Tx, str, str], bool]
"""Whether a signed request that was passed on lets that region have the part with that SHA-256."""


def _nothing(_tx: Tx, _region: str, _sha256: str) -> bool:
    return False


@dataclass(frozen=True)
class GridDesk:
    """For the grid port. All of it blocks: asynchronous callers give it a thread."""

    database: Database
    around: Surroundings
    passed_on: PassedOn = _nothing

    def part(self, region: str, sha256: str) -> ChunkList:
        """The part's chunks, for a region that may have it. Raises `NotFound` for any other."""
        with self.database.read() as tx:
            if not images.is_public(tx, sha256) and not self.passed_on(tx, region, sha256):
                raise NotFound("there is no such part for this region")
        return self._files.chunks(sha256)

    def read(self, part: ChunkList, numbers: Sequence[int]) -> list[bytes]:
        """These chunks of it."""
        return self._files.read(part.sha256, numbers)

    @property
    def _files(self) -> PartChunks:
        if self.around.chunks is None:
            raise Unavailable("this management server has no image store")
        return self.around.chunks
