"""What would have to be done for the cloud to be as the documents say: looked up first, all of it, then carried out.

Things are recognised by their names among one's own; rules by what they are about. While no public address has a
document's name, one without a name may be meant: of the network that the document names, and of several the one that
has the document's rules already, else the one taken first. One without a network is used before another one is taken.
`address:` in the document pins it down.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from arable.cli import farm_files, names
from arable.cli.differences import differences
from arable.cli.documents import Document
from arable.cli.faults import Failed
from arable.cli.kinds import RANK
from arable.cli.nouns import NOUNS, group_class, query_of
from arable.cli.steps import DEFAULT_NETWORK, MEMBERS, Deed, Pending, Step, network_of

if TYPE_CHECKING:
    from arable.cli.speaking import Cli
    from arable.client.arable import Arable


_ON_THE_WAY_OUT = ("destroyed", "expunging", "leaving", "erasing")


class Planner:
    """Looks things up, each once. `made` gets the ids of what is created on the way."""

    def __init__(self, cli: "Cli", documents: Iterable[Document]) -> None:
        self._cli = cli
        self.documents = _ordered(list(documents))
        self._by_name = {str(each): each for each in self.documents}
        self.made: dict[str, Any] = {}
        self.next_versions: set[str] = set()
        """Blueprints of these documents that are to get another version, and have not got it yet."""
        self._ids: dict[tuple[str, str], str] = {}
        self._account = ""

    def plan(self) -> list[Step]:
        """All steps, in the order in which they can be done."""
        return [self.step(document) for document in self.documents]

    def step(self, document: Document) -> Step:
        """What is to be done for one document, as things are now."""
        try:
            found = self.find(document)
        except Pending as pending:
            return Step(document, Deed.CREATE, pending=[str(pending)])
        step = Step(document, Deed.NOTHING, found)
        if found is None:
            step.deed = Deed.CREATE
            step.pending = self._pending(document)
            return step
        self.made[str(document)] = found
        step.differences = differences(self, document, found)
        if any(each.impossible for each in step.differences):
            step.deed = Deed.IMPOSSIBLE
        elif step.differences:
            step.deed = Deed.REPLACE if document.kind.noun == "rule" else Deed.CHANGE
        if document.kind.name == "blueprint" and step.deed is Deed.CHANGE:
            self.next_versions.add(str(document))
        if document.kind.name == "farm" and step.deed in (Deed.NOTHING, Deed.CHANGE):
            step.follows = [each for each in farm_files.newest_of(document) if each in self.next_versions]  # fmt: skip
            step.deed = Deed.CHANGE if step.follows else step.deed
        return step

    def find(self, document: Document) -> Any:
        """The thing that is meant, as the API tells of it; None if there is none."""
        if (known := self.made.get(str(document))) is not None:
            return known
        match document.kind.name:
            case "settings":
                return self._cli.cloud.settings.get()
            case "limits":
                return self._cli.cloud.limits.get(
                    self.reference(document, "account") or self.account
                )
            case "address":
                return self._address(document)
            case "forward" | "firewall" | "static-nat" | "between":
                return self._rule(document)
            case _:
                return self._named(document)

    @property
    def account(self) -> str:
        """One's own."""
        if not self._account:
            self._account = self._cli.cloud.users.whoami().account
        return self._account

    @property
    def cloud(self) -> "Arable":
        """The API."""
        return self._cli.cloud

    def machine(self, id_: str) -> Any:
        """A machine as it is."""
        return self._cli.cloud.machines.get(id_)

    def reference(self, document: Document, name: str) -> str | None:
        """The id behind a reference of a document; raises `Pending` if it will only come."""
        text = document.fields.get(name)
        if text is None:
            return None
        return self.id_of(document.kind.refers[name], str(text), document)

    def id_of(self, noun: str, text: str, document: Document) -> str:
        """The id of what is called so, in the documents or in the cloud."""
        own = f"{noun}/{text}"
        if own in self.made:
            return str(self.made[own].id)
        if own in self._by_name and self._by_name[own] is not document:
            found = self.find(self._by_name[own])
            if found is None:
                raise Pending(own)
            self.made[own] = found
            return str(found.id)
        key = (noun, text)
        if key not in self._ids:
            try:
                self._ids[key] = names.id_of(self._cli, NOUNS[noun], text)
            except Failed as error:
                if own == f"network/{DEFAULT_NETWORK}" and self._makes_default():
                    raise Pending(own) from None
                raise Failed(f"{document.where}: {error.what}", todo=error.todo) from error
        return self._ids[key]

    def _makes_default(self) -> bool:
        """Whether a machine of the documents makes the default network, which comes by itself."""
        return any(
            each.kind.name == "machine" and self.find(each) is None for each in self.documents
        )

    def _pending(self, document: Document) -> list[str]:
        """References of a new thing that are not there yet; those that will never be raise `Failed`."""
        found = []
        wanted = [(noun, document.fields.get(name)) for name, noun in document.kind.refers.items()]
        if document.kind.name == "machine":
            nics = [nic.get("network") for nic in document.fields.get("networks") or ()]
            wanted += [("network", name) for name in nics if name != DEFAULT_NETWORK]
        if document.kind.name == "farm":
            wanted += farm_files.references(document, self.documents)
        if document.kind.name == "balancer":
            wanted += [
                ("machine", each.get("machine")) for each in document.fields.get(MEMBERS) or ()
            ]
        for noun, text in wanted:
            if text is None:
                continue
            try:
                self.id_of(noun, str(text), document)
            except Pending as pending:
                found.append(str(pending))
        return found

    def _named(self, document: Document) -> Any:
        noun = NOUNS[document.kind.noun]
        group = getattr(self._cli.cloud, noun.group)
        query = query_of(group_class(noun))
        known = {each.name for each in msgspec.structs.fields(query)}
        asked: dict[str, Any] = {noun.named: document.name} if noun.named in known else {}
        if document.kind.own and "account" in known:
            asked["account"] = self.account
        for name in ("zone", "domain", "parent"):
            if name in known and name in document.kind.refers:
                try:
                    asked[name] = self.reference(document, name)
                except Pending:
                    return None
        asked = {name: each for name, each in asked.items() if each is not None}
        found = [
            each
            for each in group.all(msgspec.convert(asked, type=query))
            if getattr(each, noun.named) == document.name
            and getattr(each, "state", "") not in _ON_THE_WAY_OUT
            and getattr(each, "stays", True)  # a disk that came with a machine is the machine's
        ]
        if len(found) > 1:
            some = ", ".join(each.id for each in found[:5])
            raise Failed(f"{document.where}: several are called {document.name}: {some}", todo="say in which zone or domain")  # fmt: skip
        return found[0] if found else None

    def _address(self, document: Document) -> Any:
        """The address that is said, or called so; else a nameless one that may be meant."""
        from arable.wire.addresses import AddressQuery

        own = list(self._cli.cloud.addresses.all(AddressQuery(account=self.account)))
        if (pinned := document.fields.get("address")) is not None:
            return next((each for each in own if each.address == pinned), None)
        zone = self.reference(document, "zone")
        here = [each for each in own if zone is None or each.zone == zone]
        called = [each for each in here if each.name and each.name == document.ask.name]
        if len(called) > 1:
            raise Failed(f"{document.where}: several are called {document.name}", todo="say in which zone")  # fmt: skip
        chosen = called[0] if called else self._nameless(document, here)
        if chosen is not None:
            self.made[str(document)] = chosen
        return chosen

    def _nameless(self, document: Document, own: Iterable[Any]) -> Any:
        """The address of the network that has the document's rules already, or was taken first."""
        try:
            network = self.id_of("network", network_of(document), document)
        except Pending:
            network = None
        taken = {self.made[key].id for key in self.made if key.startswith("address/")}
        pinned_down = {
            each.fields["address"]
            for each in self.documents
            if each.kind.name == "address" and "address" in each.fields
        }
        wanted = self._wanted_ports(document)
        best: tuple[int, int, str] | None = None
        chosen = None
        for each in own:
            if (
                each.id in taken
                or each.name is not None
                or each.address in pinned_down
                or each.network not in (network, None)
            ):
                continue
            ports = self._ports(each.id) if each.network else set()
            if each.source_nat and not ports & wanted:
                continue
            order = (-len(ports & wanted), 0 if each.network else 1, f"{each.taken_at} {each.id}")
            if best is None or order < best:
                best, chosen = order, each
        return chosen

    def _wanted_ports(self, document: Document) -> set[tuple[str, int]]:
        return {
            (each.ask.protocol, each.ask.first_port)
            for each in self.documents
            if each.kind.name == "forward" and each.fields.get("address") == document.name
        }

    def _ports(self, address: str) -> set[tuple[str, int]]:
        from arable.wire.rules import RuleQuery

        rules = self._cli.cloud.rules.all(RuleQuery(address=address, kind="forward"))
        return {(each.protocol, each.first_port or 0) for each in rules}

    def _rule(self, document: Document) -> Any:
        from arable.wire.rules import RuleQuery

        name = document.kind.name
        address = self.reference(document, "address")
        to_network = name in ("firewall", "between")
        asked: dict[str, Any] = {
            "kind": name,
            "address": address,
            "network": self.reference(document, "network") if to_network else None,
            "source": self.reference(document, "source"),
        }
        query = msgspec.convert({k: v for k, v in asked.items() if v}, type=RuleQuery)
        ask = document.ask
        for each in self._cli.cloud.rules.all(query):
            if name == "static-nat":
                return each
            if (each.protocol, each.first_port) != (ask.protocol, ask.first_port):
                continue
            if name == "forward":
                return each
            last = ask.last_port or ask.first_port
            if name == "between":
                cidr = ask.cidr or self._cli.cloud.networks.get(str(each.source)).cidr
                if (each.cidr, each.last_port) == (cidr, last):
                    return each
                continue
            if (each.direction, each.cidr, each.last_port) == (ask.direction, ask.cidr, last):
                return each
        return None


def _ordered(documents: list[Document]) -> list[Document]:
    """What is referred to before what refers to it; else as they were written."""
    made: list[Document] = []
    left = sorted(documents, key=lambda each: RANK[each.kind.name])
    waiting = {str(each) for each in left}
    while left:
        ready = [each for each in left if not (_same_kind_references(each) & waiting)]
        if not ready:
            round_ = ", ".join(str(each) for each in left[:5])
            raise Failed(f"these documents refer to each other in a circle: {round_}")
        first = ready[0]
        made.append(first)
        left.remove(first)
        waiting.discard(str(first))
    return made


def _same_kind_references(document: Document) -> set[str]:
    """Between kinds the table's order decides; only domains refer to their own kind."""
    fields: Mapping[str, Any] = document.fields
    return {
        f"{noun}/{fields[name]}"
        for name, noun in document.kind.refers.items()
        if noun == document.kind.noun and name in fields and fields[name] != document.name
    }
