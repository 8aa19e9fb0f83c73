"""Make this clone ready to work: Debian packages (when root), then a virtual environment from the lock file.

Runs on the system's own Python, before anything is installed. Safe to repeat; only what is missing is done.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"

DEBIAN = [
    "bubblewrap",
    "busybox",
    "chromium",
    "chromium-driver",
    "conntrackd",
    "cpio",
    "dnsmasq-base",
    "dropbear-bin",
    "ethtool",
    "gcc",
    "genisoimage",
    "haproxy",
    "iperf3",
    "iproute2",
    "keepalived",
    "kmod",
    "libvirt-clients",
    "libvirt-daemon",
    "libvirt-daemon-driver-qemu",
    "libvirt-daemon-system",
    "libvirt-dev",
    "lz4",
    "nftables",
    "openvswitch-switch",
    "pkg-config",
    "postgresql",
    "python3-dev",
    "python3-venv",
    "qemu-block-extra",
    "qemu-guest-agent",
    "qemu-system-x86",
    "qemu-utils",
    "tcpdump",
    "tgt",
    "wireguard-go",
    "wireguard-tools",
]


def missing_packages() -> list[str]:
    """Which Debian packages are not installed; all of them when that can't be asked."""
    asked = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *DEBIAN],
        capture_output=True,
        text=True,
        check=False,
    )
    present = {line.split()[0] for line in asked.stdout.splitlines() if line.endswith(" installed")}
    return [name for name in DEBIAN if name not in present]


def install_packages() -> None:
    """Install what is missing; without root or apt, say what will not work and go on."""
    if not shutil.which("apt-get"):
        print("setup: no apt-get here; only the simulated lab will work", file=sys.stderr)
        return
    wanted = missing_packages()
    if not wanted:
        return
    if os.geteuid() != 0:
        names = " ".join(wanted)
        print(f"setup: not root, so these are left out: {names}", file=sys.stderr)
        return
    print(f"setup: installing {len(wanted)} Debian packages", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "-qq", "update"], check=True, env=quiet)
    subprocess.run(
        ["apt-get", "-qq", "install", "-y", "--no-install-recommends", *wanted],
        check=True,
        env=quiet,
        stdout=subprocess.DEVNULL,
    )


def has_libvirt() -> bool:
    """Whether libvirt's headers are here, so that its Python binding can be built."""
    return bool(shutil.which("pkg-config")) and (
        subprocess.run(["pkg-config", "--exists", "libvirt"], check=False).returncode == 0
    )


def install_python() -> None:
    """Fill the virtual environment with exactly what the lock file says."""
    if not (VENV / "bin/python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    lock = (ROOT / "requirements.lock").read_text()
    if not has_libvirt():
        print("setup: no libvirt headers, so the libvirt driver is left out", file=sys.stderr)
        lock = without(lock, "libvirt-python")
    wanted = VENV / "requirements.lock"
    wanted.write_text(lock)
    pip = [str(VENV / "bin/python"), "-m", "pip", "-qq", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "install", "--require-hashes", "--no-deps", "--no-compile", "-r", str(wanted)],
        check=True,
    )
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-build-isolation", "-e", str(ROOT)], check=True
    )


def without(lock: str, name: str) -> str:
    """The lock file less one requirement and its hashes."""
    kept, skipping = [], False
    for line in lock.splitlines():
        if not line.startswith(" "):
            skipping = line.startswith(f"{name}==")
        if not skipping:
            kept.append(line)
    return "\n".join(kept) + "\n"


if __name__ == "__main__":
    install_packages()
    install_python()
