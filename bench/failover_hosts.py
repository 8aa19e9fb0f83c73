"""How long until every highly available machine of a lost host runs again, in a lab with real agents and guests.

A host that runs some is powered off as by its plug. The time goes from then until each of its machines has been seen
running on another host. Then the host gets its power back, and the next round takes the other one.
"""

import tempfile
import time
from pathlib import Path

from arable.client.arable import Arable
from arable.lab import fail
from arable.lab.power import Site
from arable.processes import up
from arable.processes.up import Wanted
from arable.runtime.clock import RealClock
from arable.wire.machines import DeployIn
from arable.wire.offerings import OfferingIn
from arable.wire.operations import OperationQuery

_TOPOLOGY = Path(__file__).parents[1] / "examples" / "lab-shared.yaml"
_WITHIN = 600.0
_STEP = 0.05


def measured(rounds: int, machines: int) -> list[tuple[float, float]]:
    """For each round the seconds until the first machine was given to another host, and until all of them run."""
    with tempfile.TemporaryDirectory(prefix="arable-bench-") as folder:
        wanted = Wanted(data=Path(folder), topology=up.topology_of(_TOPOLOGY), api="127.0.0.1:0")
        with (
            up.cloud(wanted, RealClock(), lambda _line: None) as made,
            made.operator() as operator,
        ):
            assert made.site
            _deploy(operator, machines)
            return [_round(made.site, operator) for _ in range(rounds)]


def _deploy(operator: Arable, count: int) -> None:
    size = OfferingIn(
        name="steady",
        cpus=1,
        cpu_mhz=500,
        memory_mib=128,
        root_mib=64,
        storage="shared",
        highly_available=True,
    )
    operator.offerings.create(size)
    asked = operator.machines.deploy(
        DeployIn(name="web", count=count, offering="steady", image="tiny")
    )
    operator.operations.wait(asked.operation, seconds=int(_WITHIN))


def _round(site: Site, operator: Arable) -> tuple[float, float]:
    names = {host.id: host.name for host in operator.hosts.all()}
    where = {machine.id: machine.host for machine in operator.machines.all()}
    lost = max(set(where.values()) - {None}, key=lambda host: list(where.values()).count(host))
    assert lost
    those = {machine for machine, host in where.items() if host == lost}
    looked_for = time.monotonic()
    while not any(each.kind == "peer" and each.sees for each in operator.hosts.get(lost).signals):
        _late(looked_for, "no other host looks after it")
        time.sleep(_STEP)
    begun = time.monotonic()
    fail.power_off(site, names[lost])
    given = 0.0
    while True:
        now = {m.id: m for m in operator.machines.all() if m.id in those}
        if not given and any(m.host != lost for m in now.values()):
            given = time.monotonic() - begun
        if all(m.host != lost and m.state == "running" for m in now.values()):
            break
        _late(begun, "the machines do not run again")
        time.sleep(_STEP)
    back = time.monotonic() - begun
    while list(operator.operations.all(OperationQuery(kind="host.recover", state=("running",)))):
        _late(begun, "the operation does not end")
        time.sleep(_STEP)
    fail.power_on(site, names[lost])
    while operator.hosts.get(lost).state != "up":
        _late(begun, "the host does not come back")
        time.sleep(_STEP)
    return given, back


def _late(begun: float, told: str) -> None:
    if time.monotonic() - begun > _WITHIN:
        raise SystemExit(told)
