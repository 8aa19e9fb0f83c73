"""Where a thing is not as its document says. Only what the document says is compared."""

from typing import TYPE_CHECKING, Any

import msgspec

from arable.cli.documents import Document
from arable.cli.steps import DEFAULT_NETWORK, Difference, Pending, network_of

if TYPE_CHECKING:
    from arable.cli.plans import Planner


def differences(planner: "Planner", document: Document, found: Any) -> list[Difference]:
    """All of them."""
    match document.kind.name:
        case "settings":
            return _settings(document, found)
        case "limits":
            return _limits(document, found)
        case "machine":
            return _machine(planner, document, found)
        case "address":
            return _address(planner, document, found)
        case "forward":
            return _forward(planner, document, found)
        case "firewall":
            return []
        case _:
            return _plain(planner, document, found)


def _plain(
    planner: "Planner", document: Document, found: Any, skip: frozenset[str] = frozenset()
) -> list[Difference]:
    kind = document.kind
    changeable = (
        {each.name for each in msgspec.structs.fields(kind.change)} if kind.change else set()
    )
    out = msgspec.to_builtins(found)
    made = []
    for name, said in document.fields.items():
        if name in kind.once or name in skip or name in ("name", *kind.extra) or name not in out:
            continue
        wanted = msgspec.to_builtins(getattr(document.ask, name))
        has = out[name]
        if name in kind.refers:
            if wanted is None or said == has:
                continue
            try:
                wanted = planner.id_of(kind.refers[name], str(said), document)
            except Pending:
                wanted = said
        if wanted is None or _same(has, wanted):
            continue
        why = "" if name in changeable else "it can't be changed"
        made.append(Difference(name, has, said, why))
    return made


def _same(has: Any, wanted: Any) -> bool:
    if isinstance(has, list | tuple) and isinstance(wanted, list | tuple):
        return list(has) == list(wanted)
    return bool(has == wanted)


def _machine(planner: "Planner", document: Document, found: Any) -> list[Difference]:
    skip = frozenset({"offering", "networks", "group", "start", "version"})
    made = _plain(planner, document, found, skip)
    said = document.fields
    try:
        offering = planner.reference(document, "offering")
    except Pending:
        offering = ""  # still to come, so another one
    if offering is not None and offering != found.offering:
        off = "" if found.state == "stopped" else "stop the machine first: it can be resized when it is off"  # fmt: skip
        made.append(Difference("offering", found.offering, said["offering"], off))
    if (version := said.get("version")) is not None and version != found.image_version:
        made.append(Difference("version", found.image_version, version, "it can't be changed"))
    if "start" in said and (found.wish == "running") != bool(said["start"]):
        made.append(Difference("start", found.wish == "running", said["start"]))
    if said.get("group") is not None:
        try:
            group: str | None = planner.reference(document, "group")
        except Pending:
            group = None
        if group not in found.groups:
            made.append(Difference("group", found.groups, said["group"], "machines join groups when they are deployed"))  # fmt: skip
    if said.get("networks"):
        has = {nic.network for nic in found.nics}
        for nic in said["networks"]:
            text = nic.get("network") or DEFAULT_NETWORK
            try:
                known = planner.id_of("network", text, document) in has
            except Pending:
                known = False
            if not known:
                made.append(Difference("networks", sorted(has), text, "machines get their ports when they are deployed"))  # fmt: skip
    return made


def _address(planner: "Planner", document: Document, found: Any) -> list[Difference]:
    made = []
    name = document.ask.name
    if name is not None and found.name != name:
        made.append(Difference("name", found.name, name))
    text = network_of(document)
    try:
        network: str | None = planner.id_of("network", text, document)
    except Pending:
        network = None
    if network is None or found.network != network:
        why = "it belongs to another network; release it first" if found.network else ""
        made.append(Difference("network", found.network, text, why))
    return made


def _forward(planner: "Planner", document: Document, found: Any) -> list[Difference]:
    """A rule can't be changed, only replaced by another."""
    ask, said = document.ask, document.fields
    wanted = {
        "last_port": ask.last_port or ask.first_port,
        "to_port": ask.to_port or ask.first_port,
        "open": ask.open,
    }
    if ask.open:
        wanted["cidr"] = ask.cidr
    made = [
        Difference(name, getattr(found, name), value)
        for name, value in wanted.items()
        if getattr(found, name) != value
    ]
    if found.nic not in _nics(planner, document):
        made.append(Difference("machine", found.nic, said["machine"]))
    return made


def _nics(planner: "Planner", document: Document) -> set[str]:
    """Ports of the machine that a forward leads to; none while the machine is still to come."""
    try:
        id_ = planner.reference(document, "machine")
    except Pending:
        return set()
    return {nic.id for nic in planner.machine(id_ or "").nics}


def _settings(document: Document, found: Any) -> list[Difference]:
    has = {each.name: each for each in found.settings}
    made = []
    for name, value in document.ask.values.items():
        if name not in has:
            made.append(Difference(f"values.{name}", None, value, "there is no such setting"))
        elif (has[name].default if value is None else value) != has[name].value:
            made.append(Difference(f"values.{name}", has[name].value, value))
    return made


def _limits(document: Document, found: Any) -> list[Difference]:
    return [
        Difference(name, getattr(found, name).limit, value)
        for name, value in document.fields.items()
        if name != "account" and getattr(found, name).limit != value
    ]
