"""What a step does, by the API's own calls; tried out by the same calls, with `dry_run`."""

from typing import TYPE_CHECKING, Any

import msgspec

from arable.cli.documents import Document
from arable.cli.nouns import NOUNS
from arable.cli.plans import Planner
from arable.cli.steps import Deed, Step, network_of

if TYPE_CHECKING:
    from arable.cli.speaking import Cli
    from arable.client.connection import How


class Doer:
    """Does steps one after the other; gathers what is on its way then. `tries` only tries."""

    def __init__(self, cli: "Cli", planner: Planner, *, tries: bool) -> None:
        self._cli = cli
        self._planner = planner
        self._how: How = {"dry_run": True} if tries else {}
        self._tries = tries
        self.operations: list[str] = []
        self.passwords: dict[str, str] = {}

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
        group = getattr(self._cli.cloud, NOUNS[kind.noun].group)
        answer = getattr(group, kind.call)(self._ask(document), **self._how)
        made: Any = answer
        if kind.name == "machine":
            made = answer.machines[0]
            if answer.passwords:
                self.passwords[document.name] = answer.passwords[made.id]
            self._later(answer.operation)
        elif kind.noun == "rule":
            made = answer.rule
            self._later(answer.operation)
        if self._tries:
            return
        self._planner.made[str(document)] = made
        if kind.name == "address":
            self._associate(document, made.id)

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
            case _:
                self._update(step)

    def _update(self, step: Step, leave: frozenset[str] = frozenset()) -> None:
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
            group.update(step.found.id, change(**values), **self._how)

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
