"""`python -m bench NAME [ARGS]`."""

import importlib
import sys

NAMES = {
    "start-overhead": "a real machine's start, against plain QEMU's",
    "deploy-rate": "deployments per second on 1,000 simulated hosts",
    "list-latency": "lists and single machines at 100,000 machines",
    "backup": "a cloud of 100,000 machines into one file, and back",
    "idle-cost": "memory and CPU of a server without anything to do",
    "scale": "10,000 hosts, 2,000 farms, 100,000 machines: rates, costs and delays",
    "farms": "farms: the first answer, growing and shrinking under load, thousands of them",
    "dataplane": "rules, leases, balancers, disks and limits: what a customer's packets and blocks meet",
    "global": "a machine in another region than its image, and the catalogue of a hundred regions",
    "failover": "how long nobody acts when the master dies, and until all farms are served",
}

MODULES = {"global": "regions"}
"""Where they are, if not in a module of that name (here: a word of the language)."""


def main(argv: list[str]) -> int:
    """Run one; the status is for the shell."""
    if not argv or argv[0] not in NAMES:
        told = "\n".join(f"  {name:16} {about}" for name, about in NAMES.items())
        print(f"usage: python -m bench NAME [ARGS]\n{told}", file=sys.stderr)
        return 2
    module = importlib.import_module(f"bench.{MODULES.get(argv[0], argv[0].replace('-', '_'))}")
    module.main(argv[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
