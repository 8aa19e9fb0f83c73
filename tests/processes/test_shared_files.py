"""A machine on a file that its hosts have mounted, with real agents and QEMU on three hosts: never twice, nothing lost."""

import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from arable.drivers.storage import file_locks
from arable.drivers.storage.file.exports import LEASED
from arable.drivers.storage.protocol import export_name
from drivers import make_drivers as make
from processes.shared_site import Site, ended

pytestmark = pytest.mark.real

LENGTH = 6.0


@pytest.fixture
def site(tmp_path_factory) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path_factory.mktemp("wf"), stack, length=LENGTH, by="file")


def leased(site: Site, epoch: int) -> Path:
    return site.pool / LEASED / export_name(site.volume, epoch)


def tried(*command: object) -> str:
    """What a tool says that some host runs; what is written by it is a byte of 9 at the place of the guest's."""
    words = ["qemu-io", "-f", "qcow2", *map(str, command)]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


def test_a_frozen_host_has_its_guest_killed_before_another_starts_it_from_the_same_file(
    site,
) -> None:
    site.export(1, site.a)
    site.place(1, site.a)
    site.runs(site.a)
    first = site.qemu(site.a)
    site.boots(site.a)
    with site.shell(site.a) as sh:
        sh.run("tr '\\0' 7 < /dev/zero | dd of=/dev/vda bs=64k count=1 conv=fsync iflag=fullblock")
    site.a.signal(signal.SIGSTOP)
    site.export(2, site.b)
    site.place(2, site.b)
    seen: list[int] = []
    died = threading.Event()

    def watch() -> None:
        if ended(first, 60 + LENGTH):
            seen.append(site.qemu(site.b))
            died.set()

    threading.Thread(target=watch, daemon=True).start()
    site.runs(site.b)
    assert died.wait(5), "the guest of the frozen host runs on"
    assert seen == [0], "the next one was there before it was gone"
    assert "its lease is over" in (site.a.home / "watch" / "watchdog.log").read_text()
    # What the old host could still try: by the name that it was told, and past that.
    assert "No such file" in tried("-c", "write -P 9 0 512", leased(site, 1))
    path = site.pool / "volumes" / f"{site.volume}.qcow2"
    assert path.samefile(leased(site, 2))
    make.wait_until(lambda: file_locks.in_use(path), "the next one to have opened it")
    assert 'Failed to get "write" lock' in tried("-c", "write -P 9 0 512", path)
    assert "64 KiB" in (said := tried("-r", "-U", "-c", f"read -P {ord('7')} 0 64k", path))
    assert "failed" not in said, "what the old holder wrote in its time is there"
    second = site.qemu(site.b)
    site.a.signal(signal.SIGCONT)
    make.wait_until(lambda: "epoch 1 is over" in site.a.log, "the one that woke up to know it")
    assert site.qemu(site.a) == 0
    assert site.qemu(site.b) == second
