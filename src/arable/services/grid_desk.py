"""What other regions may have of this one's image parts. Denied unless something here allows it.

A part is for another region when it belongs to a version of a public image, or of an image of an account that operators
of this region federated with that one (`services/elsewhere.py`), or to what is on a shared volume that a farm's part there is to read: this region told it
so itself, and the part is of the image's own account. Any other reads as absent: which parts exist is nobody's
business.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from arable.domain.chunks import ChunkList
from arable.domain.errors import NotFound, Unavailable
from arable.domain.image_files import PartChunks
from arable.services.call import Surroundings
from arable.store import farm_regions, images
from arable.store.database import Database


@dataclass(frozen=True)
class GridDesk:
    """For the grid port. All of it blocks: asynchronous callers give it a thread."""

    database: Database
    around: Surroundings

    def part(self, region: str, sha256: str) -> ChunkList:
        """The part's chunks, for a region that may have it. Raises `NotFound` for any other."""
        with self.database.read() as tx:
            if not (
                images.shared_with(tx, sha256, region)
                or farm_regions.is_told_of(tx, region, sha256)
            ):
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
