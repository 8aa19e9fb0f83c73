"""What an operator needs for tests of infrastructure: real image files, a real authority, and someone to ask."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from make_cloud import Cloud, make_cloud

from arable.domain.access import Caller
from arable.domain.manifest import Inventory
from arable.drivers.storage.image_store import ImageStore
from arable.runtime.ca import Authority, new_request
from arable.runtime.tickets import Tickets
from arable.services import agents, hosts, pods
from arable.services.call import Call, Prelude
from arable.store.database import Database
from arable.wire.agent import JoinIn, JoinOut
from arable.wire.hosts import JoinTokenIn
from arable.wire.pods import PodIn

INVENTORY = Inventory(cpus=8, cpu_mhz=16_000, memory_mib=32_768, disk_mib=100_000, hypervisor="sim")


class Infra:
    """A cloud with an operator `o`."""

    def __init__(self, database: Database, directory: Path) -> None:
        self.cloud: Cloud = make_cloud(database)
        around = self.cloud.around
        (directory / "inbox").mkdir()
        self.cloud.around = replace(
            around,
            images=ImageStore(directory / "images"),
            authority=Authority.open(directory / "authority", around.clock, around.entropy),
            inbox=directory / "inbox",
            consoles=Tickets(around.clock, around.entropy),
        )
        self.directory = directory
        self.o: Caller = self.cloud.account("operator", role="operator")

    @property
    def around(self):
        return self.cloud.around

    def ask(self, use_case, *args: Any, by: Caller | None = None, **call: Any):
        return self.cloud.do(by or self.o, use_case, *args, **call)

    def refused(self, use_case, *args: Any, by: Caller | None = None, **call: Any):
        return self.cloud.refused(by or self.o, use_case, *args, **call)

    def prelude(self, by: Caller | None = None) -> Prelude:
        caller = by or self.o

        @contextmanager
        def look() -> Iterator[Call]:
            with self.cloud.database.read() as tx:
                yield Call(tx, caller, self.around)

        return Prelude(caller, self.around, look)

    def pod(self, name: str = "a", cidr: str = "10.20.1.0/24", **more: Any) -> str:
        return self.ask(pods.create, PodIn(zone="here", name=name, cidr=cidr, **more)).id

    def token(self, pod: str, **more: Any) -> str:
        return self.ask(hosts.create_token, JoinTokenIn(pod=pod, **more)).token

    def anew(self, host: str) -> str:
        """A token that lets a known host join anew."""
        return self.ask(hosts.create_token, JoinTokenIn(host=host)).token

    def join(self, token: str, name: str = "h1", **more: Any) -> JoinOut:
        self.around.clock.wait(timedelta(milliseconds=5))  # ids sort by age
        with self.cloud.database.write() as tx:
            return agents.join(tx, self.around, join_in(token, name, **more))

    def host(self, name: str = "h1", pod: str | None = None) -> JoinOut:
        pods_there = [row[0] for row in self.cloud.rows("select id from pod")]
        chosen = pod or (pods_there[0] if pods_there else self.pod())
        return self.join(self.token(chosen), name)


def join_in(token: str, name: str = "h1", **more: Any) -> JoinIn:
    request = more.pop("request", None) or new_request("host").request
    return JoinIn(
        **{"token": token, "name": name, "request": request, "inventory": INVENTORY, **more}
    )
