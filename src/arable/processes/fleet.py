"""A fleet of simulated hosts: many real agents over simulated drivers, in one process.

Run by `arable up --lab sim` as `python -m arable.processes.fleet DIRECTORY`; each directory below it that holds an
`agent.yaml` is a host. The agents, their channels and their ledgers are those of production; only the hardware
behind the drivers is made up, so everything but the machines themselves is real. What they ran dies with the process,
as if all hosts had lost power at once, and is started again by the next one.
"""

import asyncio
import os
import sys
from pathlib import Path

from arable.agent.config import AgentConfig, read
from arable.domain.errors import BadInput
from arable.processes.agent import live
from arable.processes.log_option import LOG, VERBOSE
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy
from arable.runtime.log import Form, configure

CONFIG = "agent.yaml"


def hosts(directory: Path) -> list[AgentConfig]:
    """Of every host below the directory; raises `BadInput` where there is none, or two want to be the same."""
    configs = [read(path) for path in sorted(directory.glob(f"*/{CONFIG}"))]
    if not configs:
        raise BadInput(f"no directory below {directory} holds an {CONFIG}")
    if len({config.directory.resolve() for config in configs}) < len(configs):
        raise BadInput(f"two hosts below {directory} name the same directory")
    return configs


def run(directory: Path) -> None:
    """All of them, until SIGTERM or Ctrl-C."""
    asyncio.run(live(hosts(directory), RealClock(), Entropy.system()))


def main() -> None:
    """The directory is the one argument."""
    form = Form(os.environ.get(LOG) or Form.TEXT)
    configure(form, "agents", verbose=bool(os.environ.get(VERBOSE)))
    run(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
