"""Run the whole test suite: what needs no special machine, in parallel; the simulated world; the real drivers and the lab.

Without root or the tools, the second part is left out and said to be: no test of it would be worth anything.
"""

import os
import shutil
import subprocess
import sys

SEEDS, STEPS = "200", "250"  # what fits; `make world` plays longer stories
TOOLS = ("qemu-system-x86_64", "libvirtd", "ovs-vsctl", "nft", "dnsmasq", "bwrap", "ip")


def main(more: list[str]) -> int:
    """All parts, whatever became of those before; the exit code of the first that failed."""
    python = [sys.executable, "-m", "pytest", "-q", *more]
    failed = subprocess.run([*python, "-m", "not real", "-n", "2"], check=False).returncode
    if not more:
        world = [sys.executable, "-m", "arable.sim.run", "--seeds", SEEDS, "--steps", STEPS]
        failed = subprocess.run(world, check=False).returncode or failed
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if os.geteuid() != 0 or missing:
        why = f"missing: {', '.join(missing)}" if missing else "not root"
        print(f"The tests of real drivers and the lab are left out ({why}).")
        return failed
    real = subprocess.run([*python, "-m", "real"], check=False).returncode
    return failed or real


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
