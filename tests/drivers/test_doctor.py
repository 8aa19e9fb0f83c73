"""The doctor's verdicts on this machine, and on machines that lack one thing each."""

from pathlib import Path

import pytest

from arable.domain.units import GIB, MIB
from arable.drivers import doctor, namespaces
from arable.drivers.doctor import Finding, Health
from arable.drivers.this_machine import Answer, Space, ThisMachine

STATE = Path("/state")


class Machine:
    """A machine that has everything but what a test takes away."""

    def __init__(self, *lacks: str, root: bool = True, cores: int = 8) -> None:
        self._lacks = lacks
        self._root = root
        self._cores = cores
        self.disk = Space(100 * GIB, 50 * GIB, nameless_files=True)
        self.memory_free = 16 * GIB

    def run(self, *command: str, stdin: str = "") -> Answer:
        said = " ".join(command) + " " + stdin
        for lack in self._lacks:
            if lack in said:
                return Answer(False, f"{command[0]}: No such file or directory")
        return Answer(True, f"{command[0]} 1.2\nand more")

    def finds(self, program: str) -> bool:
        return program not in self._lacks

    def imports(self, module: str) -> bool:
        return f"python {module}" not in self._lacks

    def exists(self, path: str) -> bool:
        return not any(lack in path for lack in self._lacks)

    def read(self, path: str) -> str:
        if path == "/proc/meminfo":
            free = self.memory_free // 1024
            return f"MemTotal:  33554432 kB\nMemFree: 1 kB\nMemAvailable:  {free} kB\n"
        return "" if "cgroup2" in self._lacks else "cpuset cpu io memory pids"

    def kvm(self, cache: Path) -> Answer:
        return Answer("/dev/kvm" not in self._lacks, f"tried, and kept in {cache}")

    def jail(self) -> Answer:
        return Answer("bwrap" not in self._lacks, "no bwrap" if "bwrap" in self._lacks else "")

    def is_root(self) -> bool:
        return self._root

    def cores(self) -> int:
        return self._cores

    def space(self, folder: Path) -> Space:
        return self.disk


def findings(machine: Machine) -> dict[str, Finding]:
    return {found.name: found for found in doctor.examine(STATE, machine)}


def test_each_thing_is_named_once() -> None:
    examined = doctor.examine(STATE, Machine())
    assert len({found.name for found in examined}) == len(examined) == len(doctor.PROBES)


def test_what_is_well_needs_nothing_done_and_what_is_not_says_what_it_means_and_what_to_do() -> (
    None
):
    everything_fails = Machine("", root=False, cores=1)
    everything_fails.disk = Space(GIB, 0, nameless_files=False)
    everything_fails.memory_free = 0
    for machine in (Machine(), everything_fails):
        for found in findings(machine).values():
            assert found.found, found
            assert bool(found.todo) is bool(found.means) is (found.health is not Health.OK), found


@pytest.mark.parametrize(
    ("lack", "name", "health", "todo"),
    [
        ("unshare --net --mount", "namespaces", Health.MISSING, "namespaces"),
        ("type veth", "links", Health.MISSING, "iproute2"),
        ("mode tap", "links", Health.MISSING, "tun"),
        ("nft -f", "nftables", Health.MISSING, "nftables"),
        ("ovs-vswitchd", "Open vSwitch", Health.MISSING, "openvswitch-switch"),
        ("ovsdb-server", "Open vSwitch", Health.MISSING, "openvswitch-switch"),
        ("ovs-dpctl", "Open vSwitch", Health.LIMITED, "kernel"),
        ("dnsmasq", "DHCP and DNS", Health.MISSING, "dnsmasq-base"),
        ("qemu-system-x86_64", "hypervisor", Health.MISSING, "qemu-system-x86"),
        ("libvirtd", "hypervisor", Health.MISSING, "libvirt-daemon"),
        ("python libvirt", "hypervisor", Health.MISSING, "libvirt-python"),
        ("/dev/kvm", "KVM", Health.LIMITED, "virtualisation"),
        ("bwrap", "jail", Health.MISSING, "bubblewrap"),
        ("qemu-img", "disk tool", Health.MISSING, "qemu-utils"),
        ("qemu-storage-daemon", "shared disks", Health.LIMITED, "qemu-system-common"),
        ("tgtd", "iSCSI targets", Health.LIMITED, "package tgt"),
        ("postgres", "PostgreSQL", Health.LIMITED, "postgresql"),
        ("type vlan", "VLAN devices", Health.LIMITED, "8021q"),
        ("wireguard-go", "WireGuard", Health.LIMITED, "package wireguard-go"),
        ("/dev/net/tun", "WireGuard", Health.LIMITED, "modprobe tun"),
    ],
)
def test_what_is_lacking_is_named_with_its_cure(lack, name, health, todo) -> None:
    found = findings(Machine(lack))[name]
    assert found.health is health
    assert todo in found.todo
    # Nothing else is blamed for it, but for VLAN devices, which are tried on a veth.
    ill = {other for other, told in findings(Machine(lack)).items() if told.health is not Health.OK}
    assert ill <= {name, "VLAN devices"}


def test_either_version_of_cgroups_will_do() -> None:
    assert findings(Machine())["cgroups"].found.startswith("version 2")
    assert findings(Machine("cgroup2"))["cgroups"].found.startswith("version 1")
    neither = findings(Machine("cgroup2", "/cpu/"))["cgroups"]
    assert (neither.health, neither.found) == (Health.LIMITED, "no control over cpu")


@pytest.mark.parametrize(
    ("free", "nameless", "health"),
    [
        (5 * GIB, True, Health.OK),
        (1 * GIB, True, Health.LIMITED),
        (100 * MIB, True, Health.MISSING),
        (50 * GIB, False, Health.MISSING),
    ],
)
def test_the_disk_is_judged_by_its_room_and_its_kind(free, nameless, health) -> None:
    machine = Machine()
    machine.disk = Space(100 * GIB, free, nameless)
    assert findings(machine)["disk"].health is health


def test_little_memory_and_one_core_are_enough_for_a_little() -> None:
    machine = Machine(cores=1)
    machine.memory_free = 2 * GIB
    found = findings(machine)
    assert (found["memory"].found, found["memory"].health) == (
        "32.0 GiB, 2.0 GiB free",
        Health.LIMITED,
    )
    assert found["cores"].health is Health.LIMITED


def test_only_what_is_missing_makes_the_lab_a_simulated_one() -> None:
    limited = Machine("ovs-dpctl", "postgres", "type vlan", "wireguard-go", cores=1)
    assert doctor.can_be_real(doctor.examine(STATE, limited))
    for machine in (Machine(root=False), Machine("qemu-img"), Machine("unshare --net --mount")):
        assert not doctor.can_be_real(doctor.examine(STATE, machine))


def test_a_command_that_is_not_there_is_no_accident(tmp_path) -> None:
    asked = ThisMachine().run("no-such-program-anywhere")
    assert not asked.ok
    assert "No such file" in asked.text
    assert ThisMachine().read(str(tmp_path)) == ""
    assert ThisMachine().space(tmp_path / "not/yet/there").nameless_files


def test_without_bubblewrap_this_machine_has_no_jail(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not ThisMachine().jail().ok
    assert "missing" in ThisMachine().jail().text


@pytest.mark.real
def test_this_machine_can_be_real_and_is_left_as_it_was(tmp_path) -> None:
    probes = {"v0", "v1", "b0", "t0", "w0", "v0.5", "arable-probe", "ovs-system"}

    def traces() -> tuple[frozenset[str], set[str]]:
        links = ThisMachine().run("ip", "-o", "link").text
        names = {line.split(": ")[1].partition("@")[0] for line in links.splitlines()}
        return namespaces.names("arable-probe"), names & probes

    before = traces()
    examined = doctor.examine(tmp_path)
    assert traces() == before
    ill = [found for found in examined if found.health is Health.MISSING]
    assert not ill
    assert doctor.can_be_real(examined)


@pytest.mark.real
def test_a_dev_kvm_that_opens_is_not_believed_by_that_alone(tmp_path) -> None:
    # The answer and its reason come from the guest that was run, and are kept for the next time.
    told = ThisMachine().kvm(tmp_path / "kvm.json")
    assert told.text
    assert ThisMachine().kvm(tmp_path / "kvm.json") == told
    assert not ThisMachine().kvm(tmp_path / "kvm.json" / "below a file").ok
