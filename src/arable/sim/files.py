"""A management server's store of image parts, in memory: judged and digested as the real one's are."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from arable.domain.errors import BadInput, NotFound, Unavailable
from arable.domain.image_files import PartSaid
from arable.domain.image_header import judge
from arable.domain.manifest import ImagePart


@dataclass(slots=True)
class MemoryUpload:
    """`Upload`."""

    said: PartSaid
    parts: dict[str, bytes]
    came: bytearray = field(default_factory=bytearray)

    def write(self, chunk: bytes) -> None:
        self.came += chunk

    def finish(self) -> ImagePart:
        said, content = self.said, bytes(self.came)
        sha256 = hashlib.sha256(content).hexdigest()
        if said.sha256 not in (None, sha256) or said.bytes not in (None, len(content)):
            raise BadInput("the bytes are not what was said", field="sha256")
        found = judge(content, len(content), said.role, said.format, said.limits)
        self.parts[sha256] = content
        return ImagePart(
            role=said.role,
            sha256=sha256,
            bytes=len(content),
            format=said.format,
            virtual_bytes=found.virtual_bytes,
        )

    def abandon(self) -> None:
        self.came.clear()


class MemoryFiles:
    """`ImageFiles`; `content` is what is in them."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}

    def begin(self, said: PartSaid) -> MemoryUpload:
        return MemoryUpload(said, self.content)

    def admit_path(self, path: Path, said: PartSaid) -> ImagePart:
        raise Unavailable(f"no files of servers here ({path}, {said.role})")

    def path(self, sha256: str) -> Path:
        raise NotFound(f"part {sha256} is in no file")

    def parts(self) -> frozenset[str]:
        return frozenset(self.content)

    def remove(self, sha256: str) -> None:
        self.content.pop(sha256, None)
