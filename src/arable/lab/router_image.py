"""Builds what a router's virtual machine runs: Debian's kernel, the programs of a router, Python and our own code.

A small initrd mounts a root file system that is a file, read by all routers of a host at once and written to by none: a
machine reads what it uses and unpacks nothing. It is made of what is on this machine already plus one kernel package, and is a
function of them, named by a digest of them and built once.
"""

import compileall
import hashlib
import inspect
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from py_compile import PycInvalidationMode

import arable
from arable.domain.errors import Unavailable
from arable.lab import busybox, cpio, debian_kernel, debian_package, elf
from arable.lab.cache import publish
from arable.lab.cpio import Archive

KERNEL, INITRD, ROOT = "vmlinux", "initrd", "root.img"

_SCRIPTS = Path(__file__).parent / "router"
_EARLY = ["virtio_pci", "virtio_blk"]
_MODULES = [
    *_EARLY,
    *("virtio_net", "virtio_rng", "virtio_console", "veth", "tun"),
    *(
        "nf_tables",
        "nf_conntrack",
        "nf_conntrack_netlink",
        "nf_nat",
        "nft_ct",
        "nft_nat",
        "nft_masq",
    ),
    *(
        "nft_chain_nat",
        "nft_reject",
        "nft_reject_inet",
        "nft_limit",
        "nft_fwd_netdev",
        "nft_dup_netdev",
    ),
]
_PROGRAMS = {  # and the packages they come from
    "bwrap": "bubblewrap",
    "conntrackd": "conntrackd",
    "dnsmasq": "dnsmasq-base",
    "haproxy": "haproxy",
    "keepalived": "keepalived",
    "nft": "nftables",
    "setpriv": "util-linux",
    "setsid": "util-linux",
    "wireguard-go": "wireguard-go",
}
_LAYERS = ("appliance", "domain", "drivers", "runtime")
_LIBRARIES = ("msgspec", "pyroute2")
_NOT_NEEDED = frozenset(
    (
        *("__pycache__", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages"),
        *("dist-packages", "test", "tests", "tkinter", "turtledemo", "hypervisor", "storage"),
    )
)
_FILES = {
    "etc/group": "root:x:0:\ndip:x:30:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/passwd": (
        "root:x:0:0:root:/:/bin/sh\n"
        "dnsmasq:x:109:65534:dnsmasq:/:/bin/false\n"
        "nobody:x:65534:65534:nobody:/:/bin/false\n"
    ),
    "etc/protocols": "ip 0 IP\nicmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6-icmp 58 IPv6-ICMP\n",
}
_FOLDERS = [
    "dev",
    "etc",
    "proc",
    "run",
    "sys",
    "tmp",
    "usr/bin",
    "usr/sbin",
    "usr/lib",
    "usr/lib64",
    "var",
]
_LINKS = {
    "bin": "usr/bin",
    "sbin": "usr/sbin",
    "lib": "usr/lib",
    "lib64": "usr/lib64",
    "var/run": "/run",
}
_SPARE_MIB = 16  # of file system beyond its files


@dataclass(frozen=True, slots=True)
class RouterImage:
    """A built image's folder, with its three files."""

    folder: Path

    @property
    def key(self) -> str:
        """Another one whenever anything in it is another."""
        return self.folder.name


def build(cache: Path, say: Callable[[str], None] = lambda _line: None) -> RouterImage:
    """The image in `cache`, built first if it isn't there. `say` hears of each step that takes time.

    Builders side by side don't disturb each other. Raises `Unavailable` with what is missing on this machine.
    """
    package = debian_kernel.package(cache, say)
    programs = {"busybox": busybox.program(cache, say)}
    programs |= {name: _program(name, package_) for name, package_ in _PROGRAMS.items()}
    image = RouterImage(cache / _key(package, programs.values()))
    if image.folder.exists():
        return image
    partial = cache / f"partial-{os.getpid()}-{image.key}"
    try:
        (partial / "root").mkdir(parents=True)
        say("unpacking the kernel")
        kernel = debian_kernel.read(package, _MODULES)
        (partial / KERNEL).write_bytes(kernel.program)
        (partial / INITRD).write_bytes(_initrd(kernel, programs["busybox"]))
        say("laying out a router's files")
        _lay_out(partial / "root", kernel, programs)
        say("packing them")
        _pack(partial / "root", partial / ROOT)
        shutil.rmtree(partial / "root")
        publish(partial, image.folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return image


def _program(name: str, package: str) -> Path:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin")
    if not found:
        raise Unavailable(f"{name} is not installed here: install the Debian package {package}")
    return Path(found).resolve()


def _initrd(kernel: debian_kernel.Kernel, shell: Path) -> bytes:
    archive = Archive()
    archive.character_device("dev/console", 5, 1)
    for folder in ("etc", "modules", "proc", "root", "sys"):
        archive.directory(folder)
    early = kernel.closure(_EARLY)
    archive.file("etc/modules", " ".join(early).encode())
    for name in early:
        archive.file(f"modules/{name}.ko", kernel.modules[name])
    archive.file("bin/busybox", shell.read_bytes(), 0o755)
    archive.file("init", (_SCRIPTS / "init").read_bytes(), 0o755)
    return archive.pack()


def _lay_out(root: Path, kernel: debian_kernel.Kernel, programs: dict[str, Path]) -> None:
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, target in _LINKS.items():
        (root / name).symlink_to(target)
    for name, text in _FILES.items():
        (root / name).write_text(text)
    for name, program in programs.items():
        _copy(program, root / "usr/bin" / name)
    for applet in busybox.applets(programs["busybox"]):
        path = root / "usr/bin" / applet
        if applet not in programs and not path.exists():
            path.symlink_to("busybox")
    early = kernel.closure(_EARLY)
    late = [name for name in kernel.closure(_MODULES) if name not in early]
    modules = root / "usr/lib/modules"
    modules.mkdir()
    for name in late:
        (modules / f"{name}.ko").write_bytes(kernel.modules[name])
    (root / "etc/modules").write_text(" ".join(late) + "\n")
    python = _lay_out_python(root)
    ours = root / "usr/lib/arable"
    for layer in _LAYERS:
        _copy_tree(Path(arable.__file__).parent / layer, ours / "arable" / layer)
    _copy(Path(arable.__file__), ours / "arable/__init__.py")
    for library in _LIBRARIES:
        _copy_tree(_home(library), ours / library)
    compileall.compile_dir(
        ours, quiet=2, stripdir=str(root), invalidation_mode=PycInvalidationMode.UNCHECKED_HASH
    )
    binaries = [
        *programs.values(),
        *(ours.rglob("*.so")),
        *(python.rglob("*.so")),
        Path(sys.executable),
    ]
    for found in _libraries(binaries):
        _copy(found, root / _place(found))
    start = (
        (_SCRIPTS / "start").read_text().replace("@PYTHON@", str(Path(sys.executable).resolve()))
    )
    (root / "usr/sbin/init").unlink(missing_ok=True)
    (root / "usr/bin/init").unlink(missing_ok=True)
    (root / "usr/sbin/init").write_text(start)
    (root / "usr/sbin/init").chmod(0o755)


def _lay_out_python(root: Path) -> Path:
    """The Python that runs us, at its own place; the folder of its library in the image."""
    program = Path(sys.executable).resolve()
    _copy(program, root / _place(program))
    home = Path(sysconfig.get_path("stdlib")).resolve()
    place = root / _place(home)
    _copy_tree(home, place)
    compileall.compile_dir(
        place, quiet=2, stripdir=str(root), invalidation_mode=PycInvalidationMode.UNCHECKED_HASH
    )
    return place


def _home(library: str) -> Path:
    spec = find_spec(library)
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable(f"the Python library {library} is not installed here")
    return Path(spec.submodule_search_locations[0])


def _copy_tree(source: Path, target: Path) -> None:
    def skip(_folder: str, names: list[str]) -> list[str]:
        config = [name for name in names if name.startswith("config-")]
        return [
            *config,
            *(name for name in names if name in _NOT_NEEDED),
            *(n for n in names if n.endswith(".a")),
        ]

    shutil.copytree(source, target, ignore=skip, dirs_exist_ok=True)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copy2(source, target)


def _place(path: Path) -> Path:
    """Where a file of this machine is in the image, in which /lib and the like are links."""
    parts = path.parts[1:]
    if parts[0] in ("bin", "sbin", "lib", "lib64"):
        return Path("usr", *parts)
    return Path(*parts)


def _libraries(programs: Iterable[Path]) -> Iterator[Path]:
    """What they want, at the paths where they look."""
    seen = set()
    for program in programs:
        for word in _run(["ldd", str(program)], check=False).split():
            if word.startswith("/") and word not in seen:
                seen.add(word)
                yield Path(word.rstrip(":"))


def _pack(root: Path, image: Path) -> None:
    size = sum(path.lstat().st_size + 2048 for path in root.rglob("*")) // (1 << 20)
    words = ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-b", "4096"]
    words += ["-E", "root_owner=0:0", "-d", str(root), str(image), f"{size * 5 // 4 + _SPARE_MIB}M"]
    _run(words)


def _run(words: list[str], *, check: bool = True) -> str:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
        )
    except FileNotFoundError:
        raise Unavailable(f"{words[0]} is not installed here") from None
    if check and done.returncode != 0:
        raise Unavailable(f"{words[0]} failed", detail=done.stderr)
    return done.stdout


def _key(package: Path, programs: Iterable[Path]) -> str:
    """A digest of all that goes in."""
    digest = hashlib.sha256(f"{package.name} {platform.python_version()}".encode())
    for library in _LIBRARIES:
        digest.update(f"{library} {version(library)}".encode())
    home = Path(arable.__file__).parent
    ours = [path for layer in _LAYERS for path in (home / layer).rglob("*.py")]
    builders = (busybox, cpio, debian_kernel, debian_package, elf)
    ours += map(Path, (__file__, *(inspect.getfile(each) for each in builders)))
    for path in [*sorted(ours), *sorted(_SCRIPTS.iterdir()), *programs]:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]
