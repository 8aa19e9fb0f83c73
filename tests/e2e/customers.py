"""Customers of a cloud under test: an account each, its machines by name, and terminals in them."""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field

from arable.client.arable import Arable
from arable.runtime.entropy import Entropy
from arable.wire.accounts import AccountIn, FirstUserIn
from arable.wire.machines import DeployIn, DestroyIn, MachineOut, MachineQuery
from arable.wire.networks import NetworkOut
from arable.wire.rules import ForwardIn, RuleOut
from arable.wire.users import KeyIn
from e2e.guest_terminal import Terminal, terminal

DEPLOYED_WITHIN = 300
ONLY_BLUES = "10.1.1.77"
READY = "wget -q -O /dev/null http://127.0.0.1/ && ip route | grep -q default"


@dataclass
class Customer:
    """An account with a user who may do everything in it."""

    name: str
    url: str
    api: Arable
    token: str
    account: str
    terminals: dict[str, Terminal] = field(default_factory=dict)
    _open: ExitStack = field(default_factory=ExitStack)

    def deploy(self, name: str, **but: object) -> str:
        """Ask for machines; the operation."""
        usual: dict[str, object] = {"name": name, "image": "tiny", "offering": "tiny"}
        return self.api.machines.deploy(DeployIn(**usual | but)).operation  # type: ignore[arg-type]

    def wait(self, *operations: str) -> None:
        """Until they are done; fails with their story when one fails."""
        for operation in operations:
            self.api.operations.wait(operation, seconds=DEPLOYED_WITHIN)

    def machines(self) -> dict[str, MachineOut]:
        return {machine.name: machine for machine in self.api.machines.all()}

    def machine(self, name: str) -> MachineOut:
        (found,) = self.api.machines.all(MachineQuery(name=name))
        return found

    def address(self, name: str) -> str:
        """A machine's address in its network."""
        return self.machine(name).nics[0].address

    def network(self) -> NetworkOut:
        (found,) = self.api.networks.all()
        return found

    def at(self, name: str) -> Terminal:
        """A terminal in a machine; it stays open for the next one who asks."""
        if name not in self.terminals:
            way = terminal(self.api, self.url, self.machine(name).id)
            self.terminals[name] = self._open.enter_context(way)
        return self.terminals[name]

    def hang_up(self) -> None:
        """Close the terminals: what they are connected to ended, or will."""
        self.terminals.clear()
        self._open.close()
        self._open = ExitStack()

    def open_way(self, name: str) -> tuple[str, RuleOut]:
        """A public address whose port 80 leads to the machine's; and the rule."""
        source_nat = next(one for one in self.api.addresses.all() if one.source_nat)
        ask = ForwardIn(
            address=source_nat.id, first_port=80, machine=self.machine(name).id, open=True
        )
        made = self.api.rules.forward(ask)
        self.wait(made.operation)
        return source_nat.address, made.rule

    def destroy(self, names: Iterable[str]) -> None:
        """At once, with their disks."""
        ask = DestroyIn(force=True, expunge=True)
        self.wait(
            *[self.api.machines.destroy(self.machine(name).id, ask).id for name in list(names)]
        )

    def close(self) -> None:
        self.hang_up()
        self.api.close()


def customer(operator: Arable, url: str, name: str) -> Customer:
    """A new account."""
    password = Entropy.system().secret(24)
    account = operator.accounts.create(
        AccountIn(name=name, user=FirstUserIn(name=name, password=password))
    )
    with Arable(url) as visitor:
        visitor.sign_in(name, password)
        secret = visitor.keys.create(KeyIn(name="e2e")).secret
    assert secret, "a fresh key is told"
    return Customer(name, url, Arable(url, secret), secret, account.id)
