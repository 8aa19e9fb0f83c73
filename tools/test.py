"""Run the whole test suite: what needs no special machine, in parallel; then the simulated world beside the real drivers and the lab.

Without root or the tools, the second part is left out and said to be: no test of it would be worth anything.
"""

import os
import shutil
import subprocess
import sys

# What fits; `make world` plays longer stories.
WORLD = [sys.executable, "-m", "arable.sim.run", "--seeds", "200", "--steps", "250"]
TOOLS = ("qemu-system-x86_64", "libvirtd", "ovs-vsctl", "nft", "dnsmasq", "bwrap", "ip")


def main(more: list[str]) -> int:
    """All parts, whatever became of those before; the exit code of the first that failed."""
    python = [sys.executable, "-m", "pytest", "-q", *more]
    failed = subprocess.run([*python, "-m", "not real", "-n", "2"], check=False).returncode
    # The world computes and the real tests mostly wait, so they share the machine well.
    world = None if more else subprocess.Popen(WORLD)
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if os.geteuid() != 0 or missing:
        why = f"missing: {', '.join(missing)}" if missing else "not root"
        print(f"The tests of real drivers and the lab are left out ({why}).", flush=True)
        real = 0
    else:
        real = subprocess.run([*python, "-m", "real"], check=False).returncode
    played = world.wait() if world else 0
    return failed or real or played


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
