"""A machine that writes all the time moves between two hosts with real agents, QEMU and NBD, and loses nothing."""

import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import libvirt
import pytest

from arable.domain.manifest import Heir, MoveWish
from arable.drivers.hypervisor.session import run_events
from arable.runtime.clock import RealClock
from drivers import make_drivers as make
from drivers.guest_shell import Shell
from processes.shared_site import Host, Site, ended, listening

pytestmark = pytest.mark.real

# Numbers, one after the other, each on the disk before the next one is begun.
COUNT = (
    "(n=0; while [ ! -e /tmp/stop ]; do n=$((n+1)); printf %-512d $n |"
    " dd of=/dev/vda bs=512 seek=$n conv=notrunc,fsync 2>/dev/null || echo $n >> /tmp/failed;"
    " echo $n > /tmp/n.new; mv /tmp/n.new /tmp/n; done; echo yes > /tmp/done) & true"
)


class Moving(Site):
    """The site, and what a control plane wishes of it for a move."""

    def sets_out(self, source: Host, epoch: int, to: int, **but) -> Host:
        """All three are told; the target first, and the source where to."""
        target = self.b if source is self.a else self.a
        self.export(epoch, source, Heir(host=target.name, epoch=to))
        move = MoveWish(source=source.name, target=target.name, epoch=to, **but)
        pattern = rf"is awaited from {source.name} at (\S+)"
        target.kill()
        before = len(re.findall(pattern, said(target)))
        self.tell(target, self.guest(to, move=move))
        make.wait_until(lambda: len(re.findall(pattern, said(target))) > before, "a way in")
        address = re.findall(pattern, said(target))[-1]
        going = MoveWish(source=source.name, target=target.name, epoch=to, address=address, **but)
        self.tell(source, self.guest(epoch, generation=to * 10, move=going))
        return target

    def ends(self, target: Host, to: int) -> None:
        """It is there."""
        self.export(to, target)
        other = self.b if target is self.a else self.a
        other.kill()
        other.wish()
        other.start()
        self.tell(target, self.guest(to))

    def shown(self, host: Host) -> int:
        """How libvirt there sees the machine."""
        run_events()
        line = libvirt.open(self.daemons[host.name].uri)
        try:
            return int(line.lookupByName(self.machine).state()[0])
        except libvirt.libvirtError:
            return libvirt.VIR_DOMAIN_NOSTATE
        finally:
            line.close()

    def goes(self, host: Host) -> bool:
        return self.shown(host) == libvirt.VIR_DOMAIN_RUNNING

    @contextmanager
    def timed(self, source: Host, target: Host) -> Iterator[list[float]]:
        """Seconds between the machine's last moment here and its first one there, once it is there."""
        clock, found = RealClock(), list[float]()
        leaving = threading.Event()

        def look() -> None:
            last = clock.monotonic()
            while not leaving.is_set():
                if self.goes(source):
                    last = clock.monotonic()
                elif self.goes(target):
                    found.append(clock.monotonic() - last)
                    return
                leaving.wait(0.005)

        watcher = threading.Thread(target=look, daemon=True)
        watcher.start()
        try:
            yield found
        finally:
            leaving.set()
            watcher.join()


def said(host: Host) -> str:
    """By its agent, if it was started yet."""
    path = host.home.parent / f"{host.home.name}.log"
    return path.read_text(errors="replace") if path.exists() else ""


@pytest.fixture
def site(tmp_path_factory) -> Iterator[Moving]:
    with ExitStack() as stack:
        # What is wished is told by starting agents anew, which a lease has to outlast however busy this machine is.
        yield Moving(tmp_path_factory.mktemp("mv"), stack, length=90.0)


def started(site: Moving) -> int:
    site.export(1, site.a)
    site.place(1, site.a)
    site.runs(site.a)
    site.boots(site.a)
    with site.shell(site.a) as sh:
        sh.run(COUNT)
        sh.run("while [ ! -s /tmp/n ]; do sleep 1; done")
    return site.qemu(site.a)


def counted(sh: Shell) -> int:
    return int(sh.run("cat /tmp/n"))


def counts_on(sh: Shell) -> int:
    """How far it is, once it has gone on from where it was."""
    sh.run("was=$(cat /tmp/n); while [ $(cat /tmp/n) = $was ]; do sleep 1; done")
    return counted(sh)


def all_there(sh: Shell) -> None:
    """Nothing that was written is missing or older than it should be."""
    sh.run("touch /tmp/stop; while [ ! -e /tmp/done ]; do sleep 1; done")
    count = counted(sh)
    sh.run("echo 3 > /proc/sys/vm/drop_caches")
    read = (
        f"dd if=/dev/vda bs=512 skip=1 count={count} 2>/dev/null | tr -d '\\0' | tr -s ' ' '\\n'"
        f" | grep -v '^$' > /tmp/is; seq 1 {count} > /tmp/should; cmp /tmp/is /tmp/should"
    )
    sh.run(read)
    assert sh.run("cat /tmp/failed 2>/dev/null; true").strip() == ""
    assert sh.run("dmesg | grep -ci 'i/o error'; true").strip() == "0"


def test_a_machine_moves_there_and_back_while_it_writes_and_loses_nothing(site) -> None:
    started(site)
    gaps = []
    counts = [0]
    source = site.a
    for epoch in (1, 2):
        target = site.b if source is site.a else site.a
        with site.timed(source, target) as gap:
            site.sets_out(source, epoch, epoch + 1)
            make.wait_until(lambda at=target: site.goes(at), f"it there: {target.log[-1500:]}")
            make.wait_until(lambda was=gap: bool(was), "how long it took")
            gaps += gap
        make.wait_until(lambda at=source: site.qemu(at) == 0, "it gone here")
        assert ("172.31.7.1", 49152) not in listening(target)
        with site.shell(target) as sh:
            counts.append(counts_on(sh))
            assert counts[-1] > counts[-2]
        site.ends(target, epoch + 1)
        source = target
    with site.shell(site.a) as sh:
        assert counts_on(sh) > counts[-1]
        all_there(sh)
    print("seconds it stood still:", [round(gap, 2) for gap in gaps])


def test_a_killed_target_and_a_killed_source_on_the_way_leave_one_machine_that_runs(site) -> None:
    first = started(site)
    slow = {"bytes_per_second": 4 << 20}
    site.sets_out(site.a, 1, 2, **slow)
    make.wait_until(lambda: "sets out for" in site.a.log, "it to set out")
    make.wait_until(lambda: site.qemu(site.b) > 0, "a copy")
    os.kill(site.qemu(site.b), signal.SIGKILL)
    assert not ended(first, 3.0), "it goes on at the source"
    assert site.goes(site.a)
    with site.shell(site.a) as sh:
        counts_on(sh)
        all_there(sh)
    # Another attempt, with another epoch; and now the source's own end.
    site.sets_out(site.a, 1, 4, **slow)
    make.wait_until(lambda: site.a.log.count("sets out for") == 2, "it to set out again")
    os.kill(first, signal.SIGKILL)
    make.wait_until(lambda: site.qemu(site.a) not in (0, first), "it to be started again", 120)
    assert not site.goes(site.b)
