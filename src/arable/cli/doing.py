"""What a step does, by the API's own calls; tried out by the same calls, with `dry_run`."""

from typing import TYPE_CHECKING, Any

import msgspec

from arable.cli import farm_files
from arable.cli.documents import Document
from arable.cli.nouns import NOUNS
from arable.cli.plans import Planner
from arable.cli.steps import MEMBERS, Deed, Step, network_of
from arable.wire.balancers import BalancerChange

if TYPE_CHECKING:
    from arable.cli.speaking import Cli
    from arable.client.connection import How
    from arable.wire.farms import FarmStepOut

_ASYNCHRONOUS = {
    "rule": "rule",
    "balancer": "balancer",
    "vpn": "vpn",
    "remote-access": "access",
    "farm": "farm",
}
"""Nouns whose making answers with what was made, in that field, and an operation by which it comes into effect."""


class Doer:
    """Does steps one after the other; gathers what is on its way then. `tries` only tries."""

    def __init__(self, cli: "Cli", planner: Planner, *, tries: bool) -> None:
        self._cli = cli
        self._planner = planner
        self._how: How = {"dry_run": True} if tries else {}
        self._tries = tries
        self.operations: list[str] = []
        self.passwords: dict[str, str] = {}
        self.steps: dict[str, list[FarmStepOut]] = {}  # of farms

    def do(self, step: Step) -> None:
        """One step."""
        match step.deed:
            case Deed.CREATE:
                self._create(step.document)
            case Deed.REPLACE:
                self._later(self._cli.cloud.rules.delete(step.found.id, **self._how).id)
                if not self._tries:  # what was only tried is still there, and in the way
                    self._create(step.document)
            case Deed.CHANGE:
                self._change(step)
            case Deed.NOTHING | Deed.IMPOSSIBLE:
                pass

    def _later(self, operation: str) -> None:
        if not self._tries:
            self.operations.append(operation)

    def _create(self, document: Document) -> None:
        kind = document.kind
        answer: Any
        if kind.name == "farm":
            answer = farm_files.create(self._cli.cloud, document, self._how)
            self.steps[str(document)] = answer.steps
        else:
            group = getattr(self._cli.cloud, NOUNS[kind.noun].group)
            answer = getattr(group, kind.call)(self._ask(document), **self._how)
        made: Any = answer
        if kind.name == "machine":
            made = answer.machines[0]
            if answer.passwords:
                self.passwords[document.name] = answer.passwords[made.id]
            self._later(answer.operation)
        elif kind.noun in _ASYNCHRONOUS:
            made = getattr(answer, _ASYNCHRONOUS[kind.noun])
            self._later(answer.operation)
        if self._tries:
            return
        self._planner.made[str(document)] = made
        if kind.name == "address":
            self._associate(document, made.id)
        elif kind.name in ("volume", "image") and made.operation:  # it is being made of a snapshot
            self._later(made.operation)
            if kind.name == "image":  # nothing begins as one without a version
                self._cli.cloud.operations.wait(made.operation)
        if kind.name == "volume" and "machine" in document.fields:
            self._attach(document, made.id, made.operation)

    def _ask(self, document: Document) -> Any:
        """The request, with ids where names stood."""
        ids = {
            name: self._planner.reference(document, name)
            for name in document.kind.by_id
            if document.fields.get(name) is not None
        }
        return msgspec.structs.replace(document.ask, **ids)

    def _associate(self, document: Document, address: str) -> None:
        from arable.wire.addresses import AssociateIn

        network = self._planner.id_of("network", network_of(document), document)
        ask = AssociateIn(network=network)
        self._later(self._cli.cloud.addresses.associate(address, ask, **self._how).id)

    def _grow(self, document: Document, volume: str) -> None:
        """Before it goes to another machine: that one then sees its new size at once."""
        from arable.wire.volumes import ResizeVolumeIn

        ask = ResizeVolumeIn(mib=document.ask.mib)
        self._later(self._cli.cloud.volumes.resize(volume, ask, **self._how).id)

    def _attach(self, document: Document, volume: str, copying: str | None = None) -> None:
        """To a machine that has come to rest: one that starts is waited for, also where nothing else is."""
        from arable.wire.volumes import AttachVolumeIn

        id_ = self._planner.reference(document, "machine") or ""
        machine = self._planner.machine(id_)
        if machine.operation and not self._tries:
            self._cli.cloud.operations.wait(machine.operation)
        if copying:
            self._cli.cloud.operations.wait(copying)
        ask = AttachVolumeIn(machine=id_)
        self._later(self._cli.cloud.volumes.attach(volume, ask, **self._how).id)

    def _change(self, step: Step) -> None:
        document, cloud, how = step.document, self._cli.cloud, self._how
        match document.kind.name:
            case "settings":
                cloud.settings.update(document.ask, **how)
            case "limits":
                account = self._planner.reference(document, "account") or self._planner.account
                cloud.limits.update(account, document.ask, **how)
            case "address":
                self._update(step, leave=frozenset({"network"}))
                if any(each.field == "network" for each in step.differences):
                    self._associate(document, step.found.id)
            case "machine":
                self._change_machine(step)
            case "volume":
                self._update(step, leave=frozenset({"machine", "mib"}))
                if any(each.field == "mib" for each in step.differences):
                    self._grow(document, step.found.id)
                if any(each.field == "machine" for each in step.differences):
                    self._attach(document, step.found.id)
            case "balancer":
                self._change_balancer(step)
            case "farm":
                answer = farm_files.update(cloud, step.found.id, document, how)
                self.steps[str(document)] = answer.steps
                self._later(answer.operation)
            case "blueprint":
                version = farm_files.version_of(document)
                cloud.blueprints.create_version(step.found.id, version, **how)
                if not self._tries:
                    self._planner.next_versions.discard(str(document))
            case "vpn" | "remote-access":
                self._later(self._update(step).operation)
            case _:
                self._update(step)

    def _update(self, step: Step, leave: frozenset[str] = frozenset()) -> Any:
        document = step.document
        change = document.kind.change
        assert change is not None, "only what can be changed is"
        values = {
            each.field: getattr(document.ask, each.field)
            for each in step.differences
            if each.field not in leave
        }
        if values:
            group = getattr(self._cli.cloud, NOUNS[document.kind.noun].group)
            return group.update(step.found.id, change(**values), **self._how)
        return None

    def _change_balancer(self, step: Step) -> None:
        """Its own fields in one call, then each member that is not as it should be."""
        from arable.wire.balancers import MemberChange

        group, id_, ask = self._cli.cloud.balancers, step.found.id, step.document.ask
        but = {
            each.field: getattr(ask, each.field)
            for each in step.differences
            if each.field != MEMBERS
        }
        if but:
            change = BalancerChange(**but)
            self._later(group.update(id_, change, **self._how).operation)
        if not any(each.field == MEMBERS for each in step.differences):
            return
        has = {name: one for one in step.found.members for name in (one.machine, one.machine_name)}
        wanted = {one.machine: one for one in ask.members}
        for name, one in wanted.items():
            if name not in has:
                self._later(group.add_member(id_, one, **self._how).operation)
            elif (has[name].port, has[name].weight) != (one.port, one.weight):
                change_ = MemberChange(port=one.port, weight=one.weight)
                machine = has[name].machine
                self._later(group.update_member(id_, machine, change_, **self._how).operation)
        for one in step.found.members:
            if not {one.machine, one.machine_name} & wanted.keys():
                self._later(group.remove_member(id_, one.machine, **self._how).id)

    def _change_machine(self, step: Step) -> None:
        from arable.wire.machines import ResizeIn

        machines, id_ = self._cli.cloud.machines, step.found.id
        self._update(step, leave=frozenset({"offering", "start"}))
        for each in step.differences:
            if each.field == "offering":
                machines.resize(id_, ResizeIn(offering=step.document.ask.offering), **self._how)
        for each in step.differences:
            if each.field == "start":
                act = machines.start if step.document.ask.start else machines.stop
                self._later(act(id_, **self._how).id)
