"""Debian's cloud kernel, taken out of its package: no root, nothing installed, no boot loader touched.

The package is fetched with apt (which checks its signature) and read as the archive it is. The kernel proper is
taken out of its self-extracting wrapper: QEMU starts the plain ELF by its PVH entry, and an emulated processor
is spared the decompression.
"""

import re
import struct
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from arable.domain.errors import Corrupt, Unavailable
from arable.lab import debian_package, elf

META_PACKAGE = "linux-image-cloud-amd64"
_DEPENDS = re.compile(r"Depends: (linux-image-\S+-cloud-amd64)$", re.MULTILINE)
_UNPACK = {
    b"\x02!L\x18": ["lz4", "-dc"],
    b"\xfd7zX": ["xz", "-dc", "--single-stream"],
    b"(\xb5/\xfd": ["zstd", "-dc"],
    b"\x1f\x8b": ["gzip", "-dc"],
}


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel and its modules. `modules` are by name ("virtio_net"), `needs` says what each wants loaded before."""

    release: str
    program: bytes
    modules: Mapping[str, bytes]
    needs: Mapping[str, tuple[str, ...]]
    paths: Mapping[str, str]  # of each module, below /lib/modules/RELEASE

    def closure(self, wanted: Iterable[str]) -> list[str]:
        """Those modules and all they need, each after what it needs."""
        order: list[str] = []

        def add(name: str) -> None:
            if name in order:
                return
            if name not in self.modules:
                raise Unavailable(f"the kernel {self.release} has no module {name}")
            for needed in self.needs[name]:
                add(needed)
            order.append(name)

        for name in wanted:
            add(name)
        return order


def package(cache: Path, say: Callable[[str], None]) -> Path:
    """The kernel's package in `cache`: the one that was fetched last, or Debian's newest now. `say` hears of that."""
    folder = cache / "kernel"
    found = debian_package.cached(folder, "linux-image-*.deb")
    if found is None:
        say("fetching Debian's cloud kernel")
        found = debian_package.fetch(folder, _newest)
    return found


def read(package: Path, wanted: Iterable[str]) -> Kernel:
    """The kernel in this package, with those modules and what they need."""
    wrapped, release = b"", ""
    modules: dict[str, bytes] = {}
    paths: dict[str, str] = {}
    for path, data in debian_package.files(package):
        if path.parent.name == "boot" and path.name.startswith("vmlinuz-"):
            wrapped, release = data, path.name.removeprefix("vmlinuz-")
        elif path.suffix == ".ko":
            name = path.stem.replace("-", "_")
            modules[name] = data
            parts = path.parts
            paths[name] = str(PurePosixPath(*parts[parts.index("modules") + 2 :]))
    if not wrapped:
        raise Corrupt(f"{package.name} holds no kernel")
    every = Kernel(release, b"", modules, _Needs(modules), paths)
    kept = every.closure(wanted)
    return Kernel(
        release,
        elf.compact(unwrapped(wrapped)),
        {name: modules[name] for name in kept},
        {name: every.needs[name] for name in kept},
        {name: paths[name] for name in kept},
    )


class _Needs(dict[str, tuple[str, ...]]):
    """What each module needs, read from it only when asked: of a thousand modules thirty are."""

    def __init__(self, modules: Mapping[str, bytes]) -> None:
        super().__init__()
        self._modules = modules

    def __missing__(self, name: str) -> tuple[str, ...]:
        self[name] = needs(self._modules[name])
        return self[name]


def needs(module: bytes) -> tuple[str, ...]:
    """What a module says it must have loaded before it."""
    for fact in elf.section(module, ".modinfo").split(b"\0"):
        key, _, value = fact.partition(b"=")
        if key == b"depends":
            return tuple(name.replace("-", "_") for name in value.decode().split(",") if name)
    return ()


def unwrapped(image: bytes) -> bytes:
    """The ELF kernel inside a bzImage (Documentation/x86/boot: the header at 0x1f1)."""
    if image[0x202:0x206] != b"HdrS":
        raise Corrupt("not a bzImage")
    sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (sectors + 1) * 512 + offset
    payload = image[start : start + length]
    for magic, tool in _UNPACK.items():
        if payload.startswith(magic):
            # The four bytes after the stream (its length) make some tools end with an error, after all the output.
            done = subprocess.run(tool, input=payload, capture_output=True, check=False)
            if done.stdout.startswith(b"\x7fELF"):
                return done.stdout
            raise Corrupt(f"{tool[0]} could not unpack the kernel", detail=str(done.stderr))
    raise Corrupt("the kernel is packed in a way we don't know")


def _newest() -> str:
    told = debian_package.run(["apt-cache", "depends", META_PACKAGE], check=False).decode()
    found = _DEPENDS.search(told)
    return found.group(1) if found else ""
