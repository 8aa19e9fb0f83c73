"""A fleet of simulated hosts: many real agents over simulated drivers, in one process.

Run by `arable up --lab sim` as `python -m arable.processes.fleet DIRECTORY`; each directory below it that holds an
`agent.yaml` is a host. The agents, their channels and their ledgers are those of production; only the hardware
behind the drivers is made up, so everything but the machines themselves is real.
"""

import asyncio
import logging
import signal
import sys
from pathlib import Path

from arable.agent.config import read
from arable.processes.agent import work
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy

CONFIG = "agent.yaml"


async def live(directory: Path) -> None:
    """Every host below the directory, until told to leave; one agent that fails takes all along, to be noticed."""
    configs = [read(path) for path in sorted(directory.glob(f"*/{CONFIG}"))]
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    clock, entropy = RealClock(), Entropy.system()
    agents = [asyncio.create_task(work(config, clock, entropy)) for config in configs]
    leaving = asyncio.create_task(told.wait())
    try:
        done, _ = await asyncio.wait({leaving, *agents}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (leaving, *agents):
            task.cancel()
        await asyncio.gather(leaving, *agents, return_exceptions=True)


def main() -> None:
    """The directory is the one argument."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    asyncio.run(live(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
