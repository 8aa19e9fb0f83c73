"""Whether KVM works here, found out by running a guest.

That `/dev/kvm` opens says little: under some nested hypervisors guests start, and then hang for ever in their first
wait for a timer. So we start one that does just this, with QEMU's firmware replaced by our own 64 KiB: twenty
timer interrupts, each waking the processor from a halt, then it leaves through a debug port. A working KVM takes
a tenth of a second; one that hangs costs five seconds, once, because the answer is kept in a file.
"""

import json
import os
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

_PATIENCE = 5  # seconds; fifty times what a busy machine needs
_DONE = (0x10 << 1) | 1  # how QEMU ends when the guest writes 0x10 to the debug port
_ROM_SIZE = 0x10000  # mapped twice: below 4 GiB, where the processor starts, and below 1 MiB
_CODE_AT = 0xFF00
_START_AT = 0xFFF0

# 16-bit code at f000:ff00 (GNU as, objdump -m i8086).
_CODE = bytes.fromhex(
    "fa"  # cli
    "31c0 8ed8 8ed0 bc007c"  # data and stack segment 0, stack below 0x7c00
    "2e660f011690ff"  # lgdtl, to reach all memory through fs:
    "0f20c0 40 0f22c0"  #   protected mode on
    "bb0800 8ee3"  #   fs = descriptor 1
    "48 0f22c0"  #   and off; fs keeps its limit
    "66bf0000e0fe"  # edi = the local interrupt controller
    "646766c787f0000000ff010000"  #   on
    "646766c7875003000000070000"  #   passes on what the old controller says
    "66c706200079ff00f0"  # interrupt 8 goes to the handler below
    "b011e620 b008e621 b004e621 b001e621 b0fee621"  # old controller: interrupts from 8, timer only
    "b034e643 b0a9e640 b004e640"  # timer: every millisecond
    "31db fb"  # count = 0; sti
    "f4 83fb14 72fa"  # halt until the count is 20
    "ba0105 b010 ee"  # tell QEMU that all is well
    "43 b020e620 cf"  # handler: count, acknowledge, return
    "90"
    "0000000000000000 ffff00000092cf00"  # descriptors: none, and all memory
    "0f00 80ff0f00"  # where they are
)
_START = bytes.fromhex("ea00ff00f0")  # jmp f000:ff00


@dataclass(frozen=True, slots=True)
class KvmFound:
    """The answer, and why, for people."""

    usable: bool
    told: str


def usable_kvm(cache: Path, *, device: Path = Path("/dev/kvm")) -> KvmFound:
    """Whether guests make progress under KVM. Asked again only after a restart of this machine."""
    boot = _boot()
    if known := _known(cache, boot):
        return known
    found = _try(device)
    cache.parent.mkdir(parents=True, exist_ok=True)
    partial = cache.with_name(f"{cache.name}.{os.getpid()}")
    partial.write_text(json.dumps({"boot": boot, **asdict(found)}) + "\n")
    partial.replace(cache)
    return found


def firmware() -> bytes:
    """The guest: what a processor finds in its ROM."""
    rom = bytearray(_ROM_SIZE)
    rom[_CODE_AT : _CODE_AT + len(_CODE)] = _CODE
    rom[_START_AT : _START_AT + len(_START)] = _START
    return bytes(rom)


def runs(accelerator: str) -> bool:
    """Whether the test guest gets to its end with this accelerator of QEMU ("kvm", "tcg")."""
    with tempfile.NamedTemporaryFile(prefix="arable-probe-") as rom:
        rom.write(firmware())
        rom.flush()
        command = ["qemu-system-x86_64", "-accel", accelerator, "-machine", "q35", "-m", "32"]
        command += ["-nodefaults", "-no-user-config", "-display", "none", "-bios", rom.name]
        command += ["-device", "isa-debug-exit,iobase=0x501,iosize=2"]
        try:
            done = subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=False)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == _DONE


def _try(device: Path) -> KvmFound:
    if not device.exists():
        return KvmFound(False, f"there is no {device}")
    if not os.access(device, os.R_OK | os.W_OK):
        return KvmFound(False, f"{device} may not be opened by this user")
    try:
        if runs("kvm"):
            return KvmFound(True, "a guest ran under KVM")
    except FileNotFoundError:
        return KvmFound(False, "qemu-system-x86_64 is not installed")
    return KvmFound(
        False, f"{device} opens, but a guest under KVM does not get past its first timer"
    )


def _known(cache: Path, boot: str) -> KvmFound | None:
    """What was found before; a file that is damaged or from before the last restart tells nothing."""
    try:
        kept = json.loads(cache.read_text())
        if kept["boot"] == boot:
            return KvmFound(bool(kept["usable"]), str(kept["told"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _boot() -> str:
    """Names this run of this machine's kernel."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
