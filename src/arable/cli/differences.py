"""Where a thing is not as its document says. Only what the document says is compared."""

from typing import TYPE_CHECKING, Any

import msgspec

from arable.cli import farm_files
from arable.cli.documents import Document
from arable.cli.steps import DEFAULT_NETWORK, MEMBERS, Difference, Pending, network_of

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
        case "volume":
            return _volume(planner, document, found)
        case "forward":
            return _forward(planner, document, found)
        case "balancer":
            return _balancer(planner, document, found)
        case "vpn" | "remote-access":
            return _vpn(planner, document, found)
        case "static-nat":
            return _leads(planner, document, found)
        case "farm":
            return farm_files.differences(planner, document, found)
        case "blueprint":
            return _blueprint(planner, document, found)
        case "firewall" | "between":
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
                made.append(Difference("networks", sorted(has), text, "attach it with `arable nic attach`"))  # fmt: skip
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


def _volume(planner: "Planner", document: Document, found: Any) -> list[Difference]:
    made = _plain(planner, document, found, frozenset({"mib"}))
    mib = document.ask.mib
    if mib is not None and found.mib != mib:
        made.append(Difference("mib", found.mib, mib, "volumes only grow" if mib < found.mib else ""))  # fmt: skip
    if (said := document.fields.get("machine")) is not None:
        try:
            machine: str | None = planner.reference(document, "machine")
        except Pending:
            machine = None
        if machine is None or found.machine != machine:
            why = "another machine has it; detach it first" if found.machine else ""
            made.append(Difference("machine", found.machine, said, why))
    return made


def _forward(planner: "Planner", document: Document, found: Any) -> list[Difference]:
    """A rule can't be changed, only replaced by another."""
    ask = document.ask
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
    return made + _leads(planner, document, found)


def _balancer(planner: "Planner", document: Document, found: Any) -> list[Difference]:
    """Members are those that are said, if any are: no others."""
    made = _plain(planner, document, found, frozenset({MEMBERS}))
    if MEMBERS in document.fields:
        wanted = {one.machine: (one.port, one.weight) for one in document.ask.members}
        has = {
            (one.machine if one.machine in wanted else one.machine_name): (one.port, one.weight)
            for one in found.members
        }
        if has != wanted:
            said = [f"{name}:{port}" for name, (port, _) in wanted.items()]
            is_ = [f"{name}:{port}" for name, (port, _) in has.items()]
            made.append(Difference(MEMBERS, is_, said))
    return made


def _vpn(planner: "Planner", document: Document, found: Any) -> list[Difference]:
    """One port may be said in two ways."""
    made = _plain(planner, document, found, frozenset({_ALLOW}))
    if _ALLOW in document.fields:
        wanted = [
            {**each, "last_port": None} if each["last_port"] == each["first_port"] else each
            for each in msgspec.to_builtins(document.ask.allow)
        ]
        has = msgspec.to_builtins(found.allow)
        if has != wanted:
            made.append(Difference(_ALLOW, has, wanted))
    return made


_ALLOW = "allow"


def _blueprint(planner: "Planner", document: Document, found: Any) -> list[Difference]:
    """Its newest version is compared; another one is made where that differs."""
    newest = found.versions[0]
    made = _plain(
        planner, document, newest, frozenset({"disks", "update", "check", "keeps", "ports"})
    )
    has = msgspec.to_builtins(newest)
    wanted = msgspec.json.decode(msgspec.json.encode(document.ask))
    for disk in wanted["disks"]:
        disk["offering"] = planner.id_of("disk-offering", disk["offering"], document)
    made += [
        Difference(name, has[name], wanted[name])
        for name in ("disks", "update", "check", "keeps", "ports")
        if name in document.fields and wanted[name] is not None and has[name] != wanted[name]
    ]
    if document.fields.get("public", found.public) != found.public:
        made.append(Difference("public", found.public, document.ask.public, "it can't be changed"))
    return made


def _leads(planner: "Planner", document: Document, found: Any) -> list[Difference]:
    if found.nic in _nics(planner, document):
        return []
    return [Difference("machine", found.nic, document.fields["machine"])]


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
    limits = {
        name: getattr(each := getattr(found, name), "limit", each)
        for name in document.fields
        if name != "account"
    }
    return [
        Difference(name, limit, document.fields[name])
        for name, limit in limits.items()
        if limit != document.fields[name]
    ]
