"""A farm in a lab with real agents and guests: how soon it answers, how soon it is larger, and whom that costs anything.

The farm is that of `make demo`. Beside it starts plain QEMU, with the same kernel,
memory, seed and share of the processors, under the same load: what the guest itself takes is in both.
"""

import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import yaml

from arable.client.arable import Arable
from arable.domain.errors import Unavailable
from arable.domain.ids import VolumeId
from arable.drivers.storage.seeds import Seeds
from arable.lab import cache, guest_image
from arable.lab.guest_image import MEMORY_MIB, GuestImage
from arable.lab.visitors import Called, Visitors, visitors
from arable.processes import demo_farm, up
from arable.processes.demo_farm import Servers
from arable.processes.up import EXAMPLES, Cloud, Wanted
from arable.runtime.clock import RealClock
from arable.wire.blueprints import BlueprintIn
from arable.wire.events import EventQuery
from arable.wire.farms import FarmIn, FarmQuery
from arable.wire.tiers import TierChange
from bench.quiet import await_quiet
from bench.start_overhead import Share, customer, deployed, ended, share_of, shared

SOME, MOST = 3, 5
"""So many web servers there are at most: a peak shall not make it more than one at the first step, and then five."""
CALM, STEP, RUSH = 4.0, 13.0, 23.0
"""Requests a second: with five for each, for two, for three, and for five."""
_KNOCKS = 10.0  # a second, until a farm answers
_PATIENCE = 0.5  # seconds that one of them waits for its answer
_WITHIN = 300.0
_LOOK = 0.01
_PATH = "/who"


@dataclass
class Found:
    """What was measured, in seconds."""

    answered: list[float] = field(default_factory=list)  # from applying to the first answer
    decided: list[float] = field(default_factory=list)  # from more load to the policy's word
    runs: list[float] = field(default_factory=list)  # from more load until the new guest was seen
    serves: list[float] = field(default_factory=list)  # until it was seen well
    grown: list[float] = field(default_factory=list)  # from more load to the new server's answer
    plain: list[float] = field(default_factory=list)  # from QEMU's start to its answer, then
    plain_idle: list[float] = field(default_factory=list)  # the same without load
    all_grown: list[float] = field(default_factory=list)  # from more load until five serve
    shrunk: list[float] = field(default_factory=list)  # from less load until two are left
    stood_by: list[float] = field(default_factory=list)  # as `grown`, where one was kept ready
    requests: int = 0
    failed: int = 0
    first_failure: str = ""
    slowest: float = 0.0  # of the answers


def measured(times: int, cycles: int, wait: float) -> Found:
    """So many farms are applied; the last one grows and shrinks so many times."""
    found, clock = Found(), RealClock()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="arable-bench-")))
        up.check_machine(folder)
        topology = up.topology_of(EXAMPLES / "lab-small.yaml")
        wanted = Wanted(data=folder / "cloud", topology=topology, api="127.0.0.1:0")
        cloud = stack.enter_context(up.cloud(wanted, clock, lambda text: print(f"  {text}")))
        client = stack.enter_context(customer(cloud))
        guest = guest_image.build(cache.folder("guest"))
        for _ in topology.regions[0].zones[0].pods[0].hosts:
            deployed(cloud, client)  # once for each host: it has the image from then on
        blueprint, farm = _documents()
        client.blueprints.create(blueprint)
        seed = _seed(folder, str(blueprint.user_data))
        for number in range(times):
            await_quiet(wait)
            began = time.monotonic()
            client.farms.create(farm)
            at = _address(client)
            with _visitors(cloud, at, _KNOCKS) as knocking:
                found.answered.append(_new(knocking, set(), "the farm does not answer") - began)
            print(f"  {number + 1}: answered after {found.answered[-1]:.2f} s", flush=True)
            _until(lambda: _servers(client).serving == (1, 2), "not all serve")
            share = _share(client)
            found.plain_idle.append(plain(guest, folder, seed, share))
            if number < times - 1:
                client.operations.wait(client.farms.delete(_farm(client)).id)
        for _ in range(cycles):
            await_quiet(wait)
            with _visitors(cloud, at, CALM) as callers:
                boot = partial(plain, guest, folder, seed, share)
                _cycle(client, callers, found, boot)
                _with_one_ready(client, callers, found, boot)
                _counted(callers, found)
    return found


def _cycle(client: Arable, callers: Visitors, found: Found, boot: Callable[[], float]) -> None:
    """From two to three, to five, and back."""
    _until(lambda: len(callers.calls) > 5 * CALM, "nobody calls")
    # Those who knocked until it answered were many: it may have grown for them.
    _until(lambda: _servers(client) == Servers((1, 2)), "it is not small at first")
    _until(lambda: len({each.who for each in callers.calls[-8:]}) == 2, "not two answer")
    known = {each.who for each in callers.calls[-8:]}
    began, moment = time.monotonic(), time.time()
    callers.rate = STEP
    found.grown.append(_new(callers, known, "it does not grow", began) - began)
    _until(lambda: _servers(client) == Servers((1, 2, 3)), "there are not three")
    for kind, into in (
        ("tier.scaled", found.decided),
        ("machine.running", found.runs),
        ("element.serving", found.serves),
    ):
        told = client.events.all(EventQuery(kind=kind))
        into.append(min(t for e in told if (t := e.at.timestamp()) > moment) - moment)
    found.plain += [boot(), boot()]
    print(f"  a third after {found.grown[-1]:.2f} s, plain QEMU {found.plain[-1]:.2f}", flush=True)
    (tier,) = client.tiers.all()
    client.tiers.update(tier.id, TierChange(most=MOST))
    began = time.monotonic()
    callers.rate = RUSH
    _until(lambda: _servers(client) == Servers((1, 2, 3, 4, 5)), "there are not five")
    found.all_grown.append(time.monotonic() - began)
    print(f"  all five after {found.all_grown[-1]:.2f} s", flush=True)
    began = time.monotonic()
    callers.rate = CALM
    _until(lambda: _servers(client) == Servers((1, 2)), "it does not shrink")
    found.shrunk.append(time.monotonic() - began)
    client.tiers.update(tier.id, TierChange(most=SOME))


def _with_one_ready(
    client: Arable, callers: Visitors, found: Found, boot: Callable[[], float]
) -> None:
    """From two to three again, where the third one runs already and gets nobody; and back."""
    (tier,) = client.tiers.all()
    client.tiers.update(tier.id, TierChange(standby=1))
    _until(lambda: client.tiers.get(tier.id).ready == 1, "none is ready")
    calls = len(callers.calls)
    _until(lambda: len(callers.calls) > calls + 5 * CALM, "nobody calls")
    known = {each.who for each in callers.calls[calls:]}
    began = time.monotonic()
    callers.rate = STEP
    found.stood_by.append(_new(callers, known, "it does not grow", began) - began)
    found.plain += [boot(), boot()]
    print(
        f"  a third that was ready after {found.stood_by[-1]:.2f} s, plain QEMU {found.plain[-1]:.2f}",
        flush=True,
    )
    callers.rate = CALM
    _until(lambda: client.tiers.get(tier.id).ready == 1, "none is ready again")
    client.tiers.update(tier.id, TierChange(standby=0))
    _until(lambda: _servers(client) == Servers((1, 2)), "it does not shrink")


def _counted(callers: Visitors, found: Found) -> None:
    """What became of all requests."""
    failures = callers.failures()
    found.requests += len(callers.calls)
    found.failed += len(failures)
    found.slowest = max(found.slowest, *(each.seconds for each in callers.calls))
    if failures and not found.first_failure:
        found.first_failure = failures[0].failure
    told = f": {failures[0].failure}" if failures else ""
    print(f"  {len(callers.calls)} requests, {len(failures)} failed{told}", flush=True)


def _documents() -> tuple[BlueprintIn, FarmIn]:
    """Those of the demonstration."""
    made: dict[str, Any] = {}
    for each in yaml.safe_load_all(demo_farm.FILE.read_text()):
        made[each.pop("kind")] = each
    return msgspec.convert(made["blueprint"], BlueprintIn), msgspec.convert(made["farm"], FarmIn)


def _farm(client: Arable) -> str:
    (found,) = client.farms.all(FarmQuery(name=demo_farm.FARM))
    return found.id


def _address(client: Arable) -> tuple[str, int]:
    (balancer,) = client.balancers.all()
    assert balancer.address
    assert balancer.port
    return client.addresses.get(balancer.address).address, balancer.port


def _servers(client: Arable) -> Servers:
    (tier,) = client.tiers.all()
    return Servers.of(tier)


def _share(client: Arable) -> Share | None:
    """Of a processor, of one of the farm's machines."""
    (tier,) = client.tiers.all()
    machine = tier.elements[0].machine
    assert machine
    return share_of(machine)


def _visitors(cloud: Cloud, at: tuple[str, int], rate: float) -> Any:
    assert cloud.site, "a real lab"
    netns = cloud.site.place.namespace("internet")
    return visitors(netns, at, _PATH, rate, RealClock())


def _new(callers: Visitors, known: set[str], told: str, since: float = 0.0) -> float:
    """When somebody else than those answered first, from then on."""

    def look() -> Called | None:
        calls = (each for each in list(callers.calls) if each.at >= since)
        good = (each for each in calls if each.who and not each.failure)
        return next((each for each in good if each.who not in known), None)

    return float(_until(look, told).at)


def _until(look: Callable[[], Any], told: str) -> Any:
    end = time.monotonic() + _WITHIN
    while not (found := look()):
        if time.monotonic() > end:
            raise Unavailable(told)
        time.sleep(_LOOK)
    return found


def _seed(folder: Path, user_data: str) -> Path:
    """What an element is told at its first boot, but for whose it is."""
    text = user_data.replace("{{element.name}}", "plain")
    for each in ("seeds", "staging"):
        (folder / each).mkdir()
    seeds = Seeds(folder / "seeds", folder / "staging")
    return seeds.ensure(VolumeId("volume-plain"), "local-hostname: plain\n", text)


def plain(guest: GuestImage, folder: Path, seed: Path, share: Share | None) -> float:
    """Seconds from starting QEMU to the answer to a request for the page."""
    port = _free_port()
    argv = ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,tb-size=64"]
    argv += ["-m", str(MEMORY_MIB), "-smp", "1", "-display", "none", "-nodefaults"]
    argv += ["-no-user-config", "-serial", f"file:{folder / 'plain.log'}", "-kernel"]
    argv += [str(guest.kernel), "-initrd", str(guest.initrd), "-append", guest.command_line]
    argv += ["-drive", f"file={seed},format=raw,if=virtio,readonly=on"]
    argv += ["-netdev", f"user,id=n0,hostfwd=tcp:127.0.0.1:{port}-:80"]
    argv += ["-device", "virtio-net-pci,netdev=n0"]
    began = time.monotonic()
    with (
        subprocess.Popen(argv, stdin=subprocess.DEVNULL) as qemu,
        ended(qemu),
        shared(share, qemu.pid),
    ):
        return _first_answer(f"http://127.0.0.1:{port}{_PATH}") - began


def _first_answer(url: str) -> float:
    """When it came. Asked for as by a farm's visitors, who don't wait for each other: a request that came too soon must not hold up the next one."""
    answered, moments = threading.Event(), []

    def knock() -> None:
        if _answers_at(url):
            moments.append(time.monotonic())
            answered.set()

    end = time.monotonic() + _WITHIN
    with ThreadPoolExecutor(int(_KNOCKS * _PATIENCE) + 1) as knocking:
        while not answered.wait(1 / _KNOCKS):
            if time.monotonic() > end:
                raise Unavailable("plain QEMU's guest does not answer")
            knocking.submit(knock)
    return min(moments)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _answers_at(url: str) -> bool:
    """QEMU takes connections for its guest before there is anybody, and closes them again."""
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE) as said:
            return bool(said.read())
    except OSError:
        return False
