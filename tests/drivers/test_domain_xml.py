"""What libvirt is told of a guest beyond its machine: how to read the processor's features."""

from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest

from arable.drivers.hypervisor.domain_xml import Console, Tuning, facts, metadata, render
from arable.drivers.hypervisor.firmware import small
from drivers import make_drivers as make

CONSOLE = Console(Path("/run/a.sock"), Path("/run/a.log"))
QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"
LESS = (
    "{http://libvirt.org/schemas/domain/qemu/1.0}capabilities"
    "/{http://libvirt.org/schemas/domain/qemu/1.0}del[@capability='cpu-unavailable-features']"
)


def definition(accelerator: str) -> str:
    return render(make.guest(), CONSOLE, Tuning(accelerator, 2000, cap_cpu=False)).xml


@pytest.mark.parametrize(("accelerator", "less"), [("tcg", True), ("kvm", False)])
def test_only_an_emulated_processor_is_read_without_naming_its_features(accelerator, less) -> None:
    found = fromstring(definition(accelerator)).find(LESS)
    assert (found is not None) is less


def test_a_guest_under_kvm_has_the_hosts_processor_as_a_model_that_can_move() -> None:
    cpu = fromstring(definition("kvm")).find("cpu")
    assert cpu is not None
    assert cpu.attrib == {"mode": "host-model"}


@pytest.mark.parametrize("accelerator", ["tcg", "kvm"])
def test_a_guest_has_no_more_lines_to_its_host_than_are_used(accelerator) -> None:
    """Left to itself libvirt gives it 31: 64 queues that QEMU watches at each step of a disk (docs/performance.md)."""
    devices = fromstring(definition(accelerator)).find("devices")
    assert devices is not None
    (controller,) = devices.findall("controller[@type='virtio-serial']")
    lines = [channel.find("target[@type='virtio']") for channel in devices.findall("channel")]
    assert controller.get("ports") == str(1 + len([line for line in lines if line is not None]))


@pytest.mark.parametrize("accelerator", ["tcg", "kvm"])
def test_our_facts_come_back_as_they_went_in(accelerator) -> None:
    made = render(make.guest(), CONSOLE, Tuning(accelerator, 2000, cap_cpu=False))
    kept = fromstring(made.xml).find("metadata/{urn:arable:guest:1}guest")
    assert kept is not None
    attributes = " ".join(f'{name}="{value}"' for name, value in kept.attrib.items())
    assert facts(f"<guest {attributes}/>") == made.facts


def test_a_guest_that_arrives_waits_for_its_memory_and_is_the_same_otherwise() -> None:
    guest, tuning = make.guest(), Tuning("tcg", 2000, cap_cpu=False)
    usual, arriving = render(guest, CONSOLE, tuning), render(guest, CONSOLE, tuning, arrives=7)
    assert usual.facts.digest == arriving.facts.digest
    assert (usual.facts.arrives, arriving.facts.arrives) == (0, 7)
    words = fromstring(arriving.xml).findall(f"{QEMU}commandline/{QEMU}arg")
    assert [word.get("value") for word in words] == ["-incoming", "defer"]
    assert facts(metadata(arriving.facts)) == arriving.facts
    assert fromstring(usual.xml).find(f"{QEMU}commandline") is None


@pytest.mark.parametrize(
    ("kernel", "firmware", "loader"),
    [
        (Path("/k"), Path("/usr/share/qemu/qboot.rom"), "/usr/share/qemu/qboot.rom"),
        (Path("/k"), None, None),
        (None, Path("/usr/share/qemu/qboot.rom"), None),  # it boots from its disk, which takes a PC
    ],
)
def test_only_a_guest_with_a_kernel_of_its_own_has_the_small_firmware(
    kernel, firmware, loader
) -> None:
    tuning = Tuning("tcg", 2000, cap_cpu=False, firmware=firmware)
    found = fromstring(render(make.guest(kernel=kernel), CONSOLE, tuning).xml).find("os/loader")
    assert (None if found is None else (found.text, found.get("type"))) == (
        (loader, "rom") if loader else None
    )


def test_the_small_firmware_is_where_qemu_has_it_and_for_emulated_processors_alone(
    tmp_path: Path,
) -> None:
    places = (tmp_path / "none.rom", tmp_path / "qboot.rom")
    assert small("tcg", places) is None
    places[1].touch()
    assert small("tcg", places) == places[1]
    assert small("kvm", places) is None
