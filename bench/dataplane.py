"""What a customer's packets and blocks meet: how soon rules and leases work, what balancer and disks cost, how true limits are.

Emulated hosts on this machine (namespaces, Open vSwitch in user space, as the tests of the drivers have them), and for
the rule's way from the API to the packet a whole small lab (`examples/lab-small.yaml`) with a machine in it.
"""

import argparse
import json
import re
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # hosts, guests and the world are emulated there

from arable.domain.balancer import BalancerWish, MemberWish, Traffic  # noqa: E402
from arable.domain.errors import Unavailable  # noqa: E402
from arable.domain.ids import BalancerId  # noqa: E402
from arable.drivers import namespaces  # noqa: E402
from arable.drivers.appliance import jail  # noqa: E402
from arable.drivers.appliance.namespace import NamespaceAppliances  # noqa: E402
from arable.drivers.appliance.vm.driver import STARTS_SECONDS, VmAppliances  # noqa: E402
from arable.drivers.appliance.vm.libvirt_machines import LibvirtMachines  # noqa: E402
from arable.drivers.hypervisor.daemon import LibvirtDaemon  # noqa: E402
from arable.drivers.network.links import Links  # noqa: E402
from arable.lab import cache, router_image  # noqa: E402
from arable.processes import up  # noqa: E402
from arable.processes.leaving import until_told  # noqa: E402
from arable.processes.up import EXAMPLES, Wanted  # noqa: E402
from arable.runtime.clock import RealClock  # noqa: E402
from arable.wire.machines import DeployIn  # noqa: E402
from arable.wire.rules import FirewallIn, ForwardIn  # noqa: E402
from bench.disks import disks  # noqa: E402
from bench.figures import Table, machine, median, percentile, ratio, result, shown  # noqa: E402
from bench.quiet import await_quiet  # noqa: E402
from bench.start_overhead import customer  # noqa: E402
from drivers import make_drivers as make  # noqa: E402
from drivers import services  # noqa: E402
from drivers.emulated_hosts import (  # noqa: E402
    Host,
    bound,
    cabled_hosts,
    configure,
    move,
    namespace,
    reaches,
    station,
)
from drivers.town import PUBLIC, Town  # noqa: E402

WORLD = "203.0.113.200"
PARTS = ("leases", "balancer", "routers", "limits", "disks", "rules")
_PORT = 5201
_SO_RCVBUFFORCE = 33  # of Linux; Python has no word for it
_WITHIN = 120.0


def main(argv: Sequence[str]) -> None:
    """See `--help`."""
    parser = argparse.ArgumentParser(prog="bench dataplane", description=__doc__)
    parser.add_argument("--times", type=int, default=10, help="of what is done several times")
    parser.add_argument("--rules", type=int, default=50, help="changes of a rule")
    parser.add_argument("--seconds", type=int, default=3, help="of each flood of packets")
    parser.add_argument("--only", action="append", choices=PARTS, help="not all of it")
    parser.add_argument(
        "--wait", type=float, default=0.0, help="seconds at most for the machine to be quiet"
    )
    options = parser.parse_args(argv)
    parts = options.only or PARTS
    print(machine(), flush=True)
    results: list[str] = []
    with until_told(), ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="arable-bench-")))
        if set(parts) - {"rules", "disks"}:
            hosts = stack.enter_context(cabled_hosts(folder))
            if "leases" in parts:
                await_quiet(options.wait)
                results += leases(hosts, folder / "leases", options.times)
            if "balancer" in parts:
                await_quiet(options.wait)
                results += balancer(hosts, folder / "balancer", options.times // 2, options.seconds)
            if "routers" in parts:
                await_quiet(options.wait)
                results += routers(hosts, folder / "r", options.times // 2, options.seconds)
            if "limits" in parts:
                await_quiet(options.wait)
                results += limits(hosts, options.seconds)
        if "disks" in parts:
            await_quiet(options.wait)
            results += disks(folder / "disks", options.times, options.seconds)
        if "rules" in parts:
            await_quiet(options.wait)
            results += rules(folder / "cloud", options.rules)
    print("\n".join(results))


# -- from nothing to the first lease --------------------------------------------------------------


def leases(hosts: Sequence[Host], folder: Path, times: int) -> list[str]:
    """From the wish's arrival at the host of the appliance to a lease of a guest on the other one."""
    made, whole = [], []
    for number in range(times):
        with town(hosts, folder / str(number)) as there:
            guest = there.guest(10, addressed=False)
            began = time.perf_counter()
            there.program()
            made.append(time.perf_counter() - began)
            told = services.lease(guest, there.folder)
            whole.append(time.perf_counter() - began)
            if told.get("ip") != "10.1.1.10":
                raise Unavailable("the guest got no lease")
    table = Table("Seconds from a wish to the first lease", ("step", "median", "least", "most", "ratio"))  # fmt: skip
    for name, values in (("the appliance runs", made), ("a guest has its lease", whole)):
        table.add(name, shown(median(values)), shown(min(values)), shown(max(values)), ratio(median(values), median(made)))  # fmt: skip
    print(table.text())
    return [result("appliance_lease_s", median(whole), "s", "1")]


# -- the balancer, and haproxy as anybody would start it ------------------------------------------


def balancer(hosts: Sequence[Host], folder: Path, times: int, seconds: int) -> list[str]:
    """TCP through the appliance's haproxy, in turns with a bare one: same place, same configuration, no packet filter."""
    ours, bare = [], []
    with world(hosts[0]) as outside, town(hosts, folder) as there:
        guest = there.guest(10)
        member = MemberWish(nic=there.leases[0].nic, to="10.1.1.10", port=_PORT)
        wish = BalancerWish(
            id=BalancerId(make.fresh("balancer")),
            public=PUBLIC,
            port=_PORT,
            traffic=Traffic.TCP,
            members=(member,),
        )
        with serving(guest):
            for _ in range(times):
                there.program(balancers=(wish,))
                ours.append(stream(outside, PUBLIC, seconds))
                with unguarded(there):
                    bare.append(stream(outside, PUBLIC, seconds))
    table = Table("Mbit/s of one TCP stream through a balancer", ("haproxy", "median", "least", "most", "ratio to bare"))  # fmt: skip
    for name, values in (("bare", bare), ("the appliance's", ours)):
        table.add(name, shown(median(values)), shown(min(values)), shown(max(values)), ratio(median(values), median(bare)))  # fmt: skip
    print(table.text())
    return [result("balancer_ratio", median(ours) / median(bare), "ratio", "0.90")]


@contextmanager
def serving(guest: str) -> Iterator[None]:
    """A server of iperf3 in a guest."""
    words = ["iperf3", "-s", "-p", str(_PORT)]
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    server = namespaces.inside(guest, lambda: subprocess.Popen(words, **quiet))  # type: ignore[call-overload]
    try:
        yield
    finally:
        server.kill()
        server.wait()


@contextmanager
def unguarded(there: Town) -> Iterator[None]:
    """A bare haproxy in the appliance's place: as root, without a jail, a master or a packet filter."""
    (folder,) = there.folder.glob("routers/*/haproxy")
    bare = there.folder / "bare"
    bare.mkdir(exist_ok=True)
    text = (folder / "haproxy.cfg").read_text().replace("/appliance/", f"{bare}/")
    text = re.sub(r"(?m)^ +(server-state-file|load-server-state-from-file).*\n", "", text)
    (bare / "haproxy.cfg").write_text(text)
    for pid in jail.running(there.netns, "haproxy"):
        jail.end(pid)
    inside(there.netns, ["nft", "flush", "ruleset"])
    words = ["haproxy", "-db", "-f", str(bare / "haproxy.cfg")]
    started = namespaces.inside(
        there.netns, lambda: subprocess.Popen(words, stdin=subprocess.DEVNULL)
    )
    try:
        make.wait_until((bare / "admin.sock").exists, "a bare haproxy")
        yield
    finally:
        started.kill()
        started.wait()
        (bare / "admin.sock").unlink(missing_ok=True)


def stream(netns: str, address: str, seconds: int) -> float:
    """Mbit/s that arrive."""
    words = ["iperf3", "-c", address, "-p", str(_PORT), "-t", str(seconds), "-J"]
    told = json.loads(inside(netns, words))
    return float(told["end"]["sum_received"]["bits_per_second"]) / 1e6


def inside(netns: str, words: Sequence[str]) -> str:
    """What a program in there prints."""

    def run() -> str:
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=120).stdout

    return namespaces.inside(netns, run)


# -- a router that is a namespace, and one that is a virtual machine -----------------------------------


def routers(hosts: Sequence[Host], folder: Path, times: int, seconds: int) -> list[str]:
    """TCP through a port forward of one and of the other, for the same guest, one after the other."""
    clock = RealClock()
    with world(hosts[0]) as outside, town(hosts, folder) as there, ExitStack() as stack:
        guest, network = there.guest(10), there.wish.network
        there.opened(first_port=_PORT, last_port=_PORT, to_port=_PORT)
        stack.enter_context(serving(guest))
        plain = [stream(outside, PUBLIC, seconds) for _ in range(times)]
        there.routers.remove(network)
        daemon = LibvirtDaemon(
            folder / "lv", clock, hosts[1].netns, capabilities=cache.folder("qemu")
        )
        stack.callback(daemon.stop)
        daemon.start()
        image = router_image.build(cache.folder("guest")).folder
        machines = LibvirtMachines(daemon.uri, image, folder / "kvm", clock)
        stack.callback(machines.close)
        within = VmAppliances(folder / "vms", hosts[1].network, machines, clock)
        stack.callback(within.close)
        stack.callback(within.remove, network)
        began = time.perf_counter()
        within.ensure(there.wish, there.leases)
        make.wait_until(lambda: within.appliances()[network].running, "the router's machine", 3 * STARTS_SECONDS)  # fmt: skip
        started = time.perf_counter() - began
        machine = [stream(outside, PUBLIC, seconds) for _ in range(times)]
    table = Table("Mbit/s of one TCP stream through a port forward", ("router", "median", "least", "most", "ratio"))  # fmt: skip
    for name, values in (("a namespace", plain), ("a virtual machine", machine)):
        table.add(name, shown(median(values)), shown(min(values)), shown(max(values)), ratio(median(values), median(plain)))  # fmt: skip
    print(table.text())
    print(f"the machine's router ran after {started:.1f} s")
    return [result("vm_router_ratio", median(machine) / median(plain), "ratio", "none")]


# -- limits of ports ------------------------------------------------------------------------------


def limits(hosts: Sequence[Host], seconds: int) -> list[str]:
    """A guest's port, flooded in both directions with twice its limit; frames that arrive, by their size on the wire."""
    here, there = hosts
    table = Table("Limits of ports", ("limit and direction", "asked kbit/s", "measured", "ratio"))
    errors = []
    for kbps in (2_000, 10_000, 50_000):
        limited = make.tap(address="10.1.1.11", mac="02:00:00:00:01:11", vlan=105, rate_kbps=kbps)
        free = make.tap(address="10.1.1.12", mac="02:00:00:00:01:12", vlan=105, rate_kbps=0)
        with station(here, limited) as one, station(there, free) as other:
            if not reaches(one, free.address):
                raise Unavailable("the two guests do not reach each other")
            for name, sender, receiver, to in (
                ("from the machine", one, other, free.address),
                ("to the machine", other, one, limited.address),
            ):
                measured = flood(sender, receiver, to, kbps, seconds)
                errors.append(abs(measured / kbps - 1) * 100)
                table.add(f"{kbps // 1000} Mbit/s {name}", str(kbps), shown(measured), ratio(measured, kbps))  # fmt: skip
    print(table.text())
    return [result("rate_limit_error_percent", max(errors), "%", "10")]


def flood(sender: str, receiver: str, address: str, kbps: int, seconds: int) -> float:
    """Kbit/s of frames that arrive once the burst is over, by the receiver's clock, of twice as much that is sent."""
    payload, overhead = 1400, 42
    ear = bound(receiver, (address, 7000), socket.SOCK_DGRAM)
    ear.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 24)
    mouth = bound(sender, ("0.0.0.0", 0), socket.SOCK_DGRAM)
    pace = 2 * kbps * 1000 / 8 / (payload + overhead)  # frames a second
    began, sent, arrivals, frame = time.monotonic(), 0, [], bytes(payload)
    try:
        while (now := time.monotonic() - began) < seconds + 1.5:
            while sent < now * pace:
                mouth.sendto(frame, (address, 7000))
                sent += 1
            while select.select([ear], [], [], 0.001)[0]:
                ear.recv(2048)
                arrivals.append(time.monotonic())
                if time.monotonic() - began > now + 0.01:
                    break
    finally:
        mouth.close()
        ear.close()
    if len(arrivals) < 10:
        raise Unavailable("nothing arrives")
    start = arrivals[0] + 1.0
    counted = [at for at in arrivals if at >= start]
    return (len(counted) - 1) * (payload + overhead) * 8 / 1000 / (counted[-1] - counted[0])


# -- a rule, from the API to the packet -----------------------------------------------------------


def rules(folder: Path, times: int) -> list[str]:
    """A firewall rule is asked for, and somebody outside who knocks all the time gets through to the machine."""
    clock = RealClock()
    through, answered, shut = [], [], []
    wanted = Wanted(data=folder, topology=up.topology_of(EXAMPLES / "lab-small.yaml"), api="127.0.0.1:0")  # fmt: skip
    with ExitStack() as stack:
        up.check_machine(folder.parent)
        cloud = stack.enter_context(up.cloud(wanted, clock, lambda text: print(f"  {text}")))
        client = stack.enter_context(customer(cloud))
        site = cloud.site
        if site is None:
            raise Unavailable("this needs a real lab")
        deployed = client.machines.deploy(DeployIn(name="web", offering="tiny", image="tiny"))
        client.operations.wait(deployed.operation, seconds=_WITHIN)
        (address,) = client.addresses.all()
        way = ForwardIn(address=address.id, first_port=80, machine=deployed.machines[0].id)
        client.operations.wait(client.rules.forward(way).operation, seconds=_WITHIN)
        ask = FirewallIn(address=address.id, protocol="tcp", first_port=80)
        outside = site.place.namespace("internet")
        for number in range(times + 1):
            began = time.perf_counter()
            made = client.rules.firewall(ask)
            taken = time.perf_counter() - began
            knock(outside, address.address, open_=True)
            if number:  # the first one waits for the machine's server to start
                answered.append(taken * 1000)
                through.append((time.perf_counter() - began) * 1000)
            began = time.perf_counter()
            client.operations.wait(client.rules.delete(made.rule.id).id, seconds=_WITHIN)
            shut.append((time.perf_counter() - began) * 1000)
            knock(outside, address.address, open_=False)
    table = Table("Milliseconds from a rule's call", ("until", "median", "p99", "least", "ratio"))
    for name, values in (("the API's answer", answered), ("the packet that passes", through), ("a deleted rule's operation is done", shut)):  # fmt: skip
        table.add(name, shown(median(values)), shown(percentile(values, 99)), shown(min(values)), ratio(median(values), median(answered)))  # fmt: skip
    print(table.text())
    return [result("rule_effect_p99_ms", percentile(through, 99), "ms", "500")]


def knock(netns: str, address: str, *, open_: bool) -> None:
    """Return when a connection comes about; or, unless `open_`, when none does for a quarter of a second."""

    def act() -> None:
        lines: list[socket.socket] = []
        begun = time.monotonic()
        try:
            while True:
                line = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                line.setblocking(False)
                lines.append(line)
                with suppress(BlockingIOError):
                    line.connect((address, 80))
                ready = select.select([], lines, [], 0.005 if open_ else 0.25)[1]
                passed = [each for each in ready if not each.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)]  # fmt: skip
                if bool(passed) == open_:
                    return
                for each in (*ready, *lines[:-100]):
                    if each in lines:
                        lines.remove(each)
                        each.close()
                if time.monotonic() > begun + _WITHIN:
                    raise Unavailable(f"{address} stays {'shut' if open_ else 'open'}")
        finally:
            for each in lines:
                each.close()

    namespaces.inside(netns, act)


# -- where it happens -----------------------------------------------------------------------------


@contextmanager
def world(here: Host) -> Iterator[str]:
    """Somebody on the public VLAN."""
    with namespace("world") as name:
        Links(here.netns).make_veth("world0", "world1")
        move(here.netns, "world1", name, "eth0")
        here.daemon.plug_access("br-int", "world0", 50)
        Links(here.netns).raise_up("world0")
        configure(name, "eth0", WORLD)
        here.network.prepare()
        yield name


@contextmanager
def town(hosts: Sequence[Host], folder: Path) -> Iterator[Town]:
    """A network whose appliance is on the second host, and whose guests are on the first."""
    folder.mkdir(parents=True)
    routers = NamespaceAppliances(folder / "routers", hosts[1].network, RealClock(), netns=hosts[1].netns)  # fmt: skip
    with ExitStack() as stack:
        made = Town(hosts[0], routers, folder, stack)
        made.wish = replace(made.wish, generation=0)
        stack.callback(routers.remove, made.wish.network)
        yield made
