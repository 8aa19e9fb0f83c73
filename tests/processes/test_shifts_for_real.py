"""A machine's disk goes to another storage host while the machine writes to it: real agents, QEMU and NBD."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from arable.domain.manifest import DiskWish, ExportWish, Heir, SharedFrom, ShiftWish
from arable.domain.units import MIB
from arable.drivers import namespaces
from arable.drivers.network.links import Links
from drivers import make_drivers as make
from processes.shared_site import LEASES, Host, Site

pytestmark = pytest.mark.real

ATTEMPT = 7


@pytest.fixture
def site(tmp_path_factory) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path_factory.mktemp("ws"), stack, length=90.0, others=1)


def there(site: Site) -> SharedFrom:
    return SharedFrom(host=site.others[0].name, address=f"{site.others[0].address}:{LEASES}")


def copy(site: Site, *, beside: bool) -> ExportWish:
    """What is wished of the other storage host."""
    disk = DiskWish(volume=site.volume, pool=site.others[0].pool, bytes=64 * MIB)
    return ExportWish(
        machine=site.machine,
        generation=2 if beside else 3,
        holder=site.a.name,
        epoch=1,
        disks=(disk,),
        beside=beside,
    )


def wishes(site: Site, host: Host, **items) -> None:
    host.kill()
    host.wish(**items)
    host.start()


def moved(site: Site):
    """The wish of the machine, once it is known where its disk is."""
    wish = site.guest(1, generation=3)
    disk = replace(wish.disks[0], pool=site.others[0].pool, shared=there(site))
    return replace(wish, disks=(disk,))


def test_a_disk_goes_to_another_storage_host_under_a_guest_that_writes(site) -> None:
    site.export(1, site.a)
    site.place(1, site.a)
    site.runs(site.a)
    first = site.qemu(site.a)
    site.boots(site.a)
    with site.shell(site.a) as sh:
        sh.run("dd if=/dev/urandom of=/tmp/much bs=64k count=64 2>/dev/null")
        told = sh.run("sha256sum /tmp/much").split()[0]
        sh.run("dd if=/tmp/much of=/dev/vda bs=64k seek=900 conv=notrunc,fsync 2>/dev/null")
        # Each round writes elsewhere, and counts what it was told is written; who reads meanwhile finds a number.
        sh.run(
            "(n=0; while [ ! -e /tmp/enough ]; do"
            " (echo $n; cat /tmp/much) | head -c 65536 | dd of=/dev/vda bs=64k"
            " seek=$((n % 800)) conv=notrunc,fsync iflag=fullblock 2>/dev/null || echo no > /tmp/failed;"
            " echo $n > /tmp/next; mv /tmp/next /tmp/count; n=$((n + 1)); done; echo yes > /tmp/done) & true"
        )
        other = site.others[0]
        wishes(site, other, exports={site.machine: copy(site, beside=True)})
        site.export(1, site.a, Heir(host=site.a.name, epoch=ATTEMPT, away=True))
        site.tell(
            site.a, site.guest(1, generation=2, shift=ShiftWish(epoch=ATTEMPT, target=there(site)))
        )
        make.wait_until(lambda: site.servers(storage=other), "a server of the copy", 60)
        make.wait_until(lambda: not site.servers(), "the disk to be given away", 240)
        make.wait_until(lambda: "goes on with its disks elsewhere" in site.a.log, "it to go on", 60)
        at = int(sh.run("cat /tmp/count"))
        # The first storage host is gone for good, before anybody was told more.
        site.storage.kill()
        namespaces.inside(site.storage.netns, lambda: Links(site.storage.netns).remove("up0"))
        sh.run(f"while [ $(cat /tmp/count) -lt {at + 5} ]; do sleep 1; done", 120)
        site.a.kill()  # and so is an agent that remembers
        site.a.start()
        sh.run(f"while [ $(cat /tmp/count) -lt {at + 10} ]; do sleep 1; done", 120)
        wishes(site, other, exports={site.machine: copy(site, beside=False)})
        site.tell(site.a, moved(site))
        sh.run(f"while [ $(cat /tmp/count) -lt {at + 30} ]; do sleep 1; done", 120)
        sh.run("touch /tmp/enough; while [ ! -e /tmp/done ]; do sleep 1; done", 120)
        assert "no" not in sh.run("cat /tmp/failed 2>/dev/null; true")
        sh.run("echo 3 > /proc/sys/vm/drop_caches")
        read = "dd if=/dev/vda bs=64k skip=900 count=64 2>/dev/null | sha256sum"
        assert sh.run(read).split()[0] == told, "what was copied"
        last = int(sh.run("cat /tmp/count"))
        for n in {max(0, at - 30), at - 1, at, at + 1, last}:
            if n + 800 <= last:
                continue
            wanted = f"(echo {n}; cat /tmp/much) | head -c 65536 | sha256sum"
            read = f"dd if=/dev/vda bs=64k skip={n % 800} count=1 2>/dev/null | sha256sum"
            assert sh.run(read).split()[0] == sh.run(wanted).split()[0], f"write {n} of {last}"
        assert sh.run("dmesg | grep -ci 'i/o error'; true").strip() == "0"
    assert site.qemu(site.a) == first, "the same guest, never stopped"
    os.kill(first, signal.SIGKILL)
    site.runs(site.a)  # it starts anew where its disk is
