"""A cloud in a lab, as tests see it: the operator's client, the lab to break, and names instead of ids."""

import socket
from dataclasses import dataclass

from arable.client.arable import Arable
from arable.lab.power import Site


@dataclass
class LabCloud:
    """It is up."""

    url: str
    operator: Arable
    site: Site

    def hosts(self) -> dict[str, str]:
        """The hosts' names by id."""
        return {host.id: host.name for host in self.operator.hosts.all()}

    def whereabouts(self) -> dict[str, str]:
        """The host of every machine that has one, by their names."""
        hosts = self.hosts()
        return {m.name: hosts[m.host] for m in self.operator.machines.all() if m.host}

    def vlan(self, network: str) -> int:
        """A network's tag."""
        vlan = self.operator.networks.get(network).vlan
        assert vlan, "operators are told"
        return vlan

    def netns(self, device: str) -> str:
        return self.site.place.namespace(device)


def free_address() -> str:
    """HOST:PORT where nobody listens: a server that is started again must be found where it was."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"
