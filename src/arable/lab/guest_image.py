"""Builds the small guest that the lab, the tests and the demonstration run: Debian's kernel, busybox, three servers.

It is a real Linux with what a customer's machine needs (cloud-init's NoCloud seed, DHCP, SSH, the guest agent, a
power button that works), boots in seconds even on an emulated processor, and is made of packages that are on the
machine already plus one kernel package. What it does inside is in `guest/`; the image is a function of those
files and packages, named by a digest of them, and built once.
"""

import hashlib
import inspect
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from arable.domain.errors import Unavailable
from arable.lab import busybox, cpio, debian_kernel, debian_package, elf
from arable.lab.cache import publish
from arable.lab.cpio import Archive

COMMAND_LINE = (
    "console=ttyS0 quiet panic=-1 mitigations=off"
    # A second of an emulated start, for what no guest of a lab uses.
    " cryptomgr.notests audit=0 lsm= no_timer_check noreplace-smp"
    " initcall_blacklist=crypto_kdf108_init,init_kprobes,init_kprobe_trace,trace_eval_init"
)
MEMORY_MIB = 128
"""What the guest needs. The kernel alone takes 62 MiB of address space before it frees a part of them."""

_SCRIPTS = Path(__file__).parent / "guest"
_BUILDERS = [inspect.getfile(each) for each in (busybox, cpio, debian_kernel, debian_package, elf)]
_PLACES = {  # of `guest/` in the image, and whether it is started as a program
    "init": ("init", True),
    "seed": ("lib/arable/seed", False),
    "cloud-config.awk": ("lib/arable/cloud-config.awk", False),
    "multipart.awk": ("lib/arable/multipart.awk", False),
    "dhcp": ("lib/arable/dhcp", True),
    "plugged": ("lib/arable/plugged", True),
    "index.cgi": ("www/cgi-bin/index.cgi", True),
    "chpasswd": ("sbin/chpasswd", True),
    "power-button": ("sbin/shutdown", True),
}
_PROGRAMS = {  # and the packages they come from
    "blkid": "busybox",  # which the one without libraries has not
    "dropbear": "dropbear-bin",
    "qemu-ga": "qemu-guest-agent",
}
_MODULES = [
    "virtio_pci",
    "virtio_blk",
    "virtio_scsi",
    "sd_mod",
    "virtio_net",
    "virtio_rng",
    "virtio_console",
    "virtio_balloon",
    "button",
    "evdev",
    "isofs",
]
_FILES = {
    "etc/group": "root:x:0:\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/modules": " ".join(_MODULES) + "\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/profile": "PS1='\\h:\\w# '\n",
    "etc/shells": "/bin/sh\n",
    "run/arable/hostname": "guest\n",
}
_FOLDERS = ["dev", "etc/dropbear", "mnt", "proc", "run/arable/ip", "run/seed", "sys", "var/log"]


@dataclass(frozen=True, slots=True)
class GuestImage:
    """A built image: what a machine boots directly. `key` changes whenever anything in it does."""

    key: str
    kernel: Path
    initrd: Path
    command_line: str = COMMAND_LINE


def build(cache: Path, say: Callable[[str], None] = lambda _line: None) -> GuestImage:
    """The image in `cache`, built first if it isn't there. `say` hears of each step that takes time.

    Builders side by side don't disturb each other. Raises `Unavailable` with what is missing on this machine.
    """
    package = debian_kernel.package(cache, say)
    shell = busybox.program(cache, say)
    files = _ours() | {"bin/busybox": _File(shell.read_bytes(), 0o755)} | _programs()
    key = _key(package, files)
    image = GuestImage(key, cache / key / "vmlinux", cache / key / "initrd")
    if image.initrd.exists():
        return image
    say("unpacking the kernel")
    kernel = debian_kernel.read(package, _MODULES)
    say("packing the guest")
    partial = cache / f"partial-{os.getpid()}-{key}"
    partial.mkdir(parents=True)
    try:
        (partial / "vmlinux").write_bytes(kernel.program)
        (partial / "initrd").write_bytes(
            _compressed(_archive(kernel, files, busybox.applets(shell)).pack())
        )
        publish(partial, cache / key)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return image


@dataclass(frozen=True, slots=True)
class _File:
    data: bytes
    permissions: int = 0o644


def _ours() -> dict[str, _File]:
    """What we wrote ourselves."""
    made = {path: _File(text.encode()) for path, text in _FILES.items()}
    for name, (path, started) in _PLACES.items():
        made[path] = _File((_SCRIPTS / name).read_bytes(), 0o755 if started else 0o644)
    made["etc/acpi/PWRF/00000080"] = made["sbin/shutdown"]
    made["etc/shadow"] = _File(b"root:*:19000:0:99999:7:::\n", 0o600)
    return made


def _programs() -> dict[str, _File]:
    """Debian's programs and the libraries they want, at the paths where they expect each other."""
    made = {}
    for name, package in _PROGRAMS.items():
        program = "busybox" if package == "busybox" else name
        found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if not found:
            raise Unavailable(f"{name} is not installed here: install the Debian package {package}")
        for path in [Path(found), *_libraries(found)]:
            place = f"bin/{name}" if path == Path(found) else str(path).lstrip("/")
            made[place] = _File(path.read_bytes(), 0o755)
    return made


def _libraries(program: str) -> Iterable[Path]:
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    for word in told.stdout.split():
        if word.startswith("/"):
            yield Path(word)


def _archive(
    kernel: debian_kernel.Kernel, files: dict[str, _File], applets: Iterable[str]
) -> Archive:
    archive = Archive()
    # The first process talks to this device before it can mount /dev.
    archive.character_device("dev/console", 5, 1)
    archive.directory("tmp", 0o1777)
    archive.directory("root/.ssh", 0o700)
    archive.directory("root", 0o700)
    archive.link("var/run", "/run")
    for folder in _FOLDERS:
        archive.directory(folder)
    for path, file in files.items():
        archive.file(path, file.data, file.permissions)
    for applet in applets:
        if f"bin/{applet}" not in files:
            archive.link(f"bin/{applet}", "busybox")
    base = f"lib/modules/{kernel.release}"
    for name, module in kernel.modules.items():
        archive.file(f"{base}/{kernel.paths[name]}", module)
    archive.file(f"{base}/modules.dep", _dependencies(kernel).encode())
    return archive


def _dependencies(kernel: debian_kernel.Kernel) -> str:
    """`modules.dep`, as `depmod` would write it: each module with all it needs, the deepest last."""
    lines = []
    for name, path in kernel.paths.items():
        below = [other for other in kernel.closure([name]) if other != name]
        needed = " ".join(kernel.paths[other] for other in reversed(below))
        lines.append(f"{path}: {needed}".rstrip())
    return "\n".join(lines) + "\n"


def _compressed(archive: bytes) -> bytes:
    """In lz4's old format, the one the kernel reads."""
    try:
        done = subprocess.run(
            ["lz4", "-l", "-9", "-c"], input=archive, capture_output=True, check=True
        )
    except FileNotFoundError as error:
        raise Unavailable("lz4 is not installed here") from error
    return done.stdout


def _key(package: Path, files: dict[str, _File]) -> str:
    """A digest of all that goes in. This module is part of it: it decides how things are put together."""
    digest = hashlib.sha256(package.name.encode())
    for source in (__file__, *_BUILDERS):
        digest.update(Path(source).read_bytes())
    for path, file in sorted(files.items()):
        digest.update(f"{path} {file.permissions:o} {len(file.data)}\n".encode())
        digest.update(file.data)
    return digest.hexdigest()[:16]
