"""What a machine may read at http://169.254.169.254/: documents by their paths, in the forms of EC2 and CloudStack.

Pure. Who asks is known by the address from which they ask, which nobody can forge at their port, so each machine has
documents of its own and there is no path to another one's. Paths are ours, and only what documents say comes from the
seed: nothing a customer wrote is ever a path, a header or a line of configuration.
"""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address

from arable.appliance.router import Lease, Router
from arable.domain.inside import CALLS, PREFIX
from arable.domain.seed import facts

ADDRESS = IPv4Address("169.254.169.254")
PORT = 80
VERSIONS = ("latest", "2009-04-04", "1.0")
"""The first part of paths: what cloud-init and the tools of EC2 ask for. All of them mean the same."""

Documents = Mapping[str, str]
_NOCLOUD = "nocloud"  # cloud-init's own form, below no version


def by_address(router: Router, leases: Iterable[Lease]) -> Mapping[str, Documents]:
    """The documents of everyone in the network that has any."""
    return {str(lease.address): documents(router, lease) for lease in leases if lease.seed}


def answer(found: Documents, path: str) -> str | None:
    """The document at that path, of any version; a folder lists what is in it. None: there is nothing."""
    parts = [part for part in path.split("/") if part]
    if not parts:
        return "\n".join(VERSIONS)
    if parts[0] in VERSIONS and parts[1:2] != [_NOCLOUD]:
        parts = parts[1:]
    elif parts[0] != _NOCLOUD:
        return None
    name = "/".join(parts).strip("/")
    if name in found and not (path.endswith("/") and f"{name}/" in found):
        return found[name]
    return found.get(f"{name}/" if name else "/")


def call(method: str, path: str) -> str | int:
    """The path of the call that this asks for, to be handed on; or the status with which it is refused. 0: it is none."""
    if not path.startswith(f"{PREFIX}/"):
        return 0
    wanted = path.removeprefix(PREFIX)
    if (method, wanted) in CALLS:
        return wanted
    return 405 if any(wanted == each for _, each in CALLS) else 404


def documents(router: Router, lease: Lease) -> Documents:
    """By path below a version. One that ends in a slash is a folder."""
    if lease.seed is None:
        return {}
    known = facts(lease.seed)
    identity = known.values.get("instance-id", "")
    zone, offering = (known.values.get(n, "") for n in ("availability-zone", "service-offering"))
    public = router.seen_as(lease.address)
    meta = {
        "availability-zone": zone,
        "cloud-identifier": "arable",
        "hostname": f"{lease.name}.{router.domain}",
        "instance-id": identity,
        "instance-type": offering,
        "local-hostname": lease.name,
        "local-ipv4": str(lease.address),
        "mac": lease.mac,
        "placement/availability-zone": zone,
        "public-ipv4": str(public or ""),
        "public-keys": "\n".join(known.keys),
        "service-offering": offering,
        "vm-id": identity,
    }
    for at, key in enumerate(known.keys):
        meta[f"public-keys/{at}/openssh-key"] = key
    made = {f"meta-data/{name}": text for name, text in meta.items() if text}
    made |= {
        "user-data": lease.seed.user_data,
        f"{_NOCLOUD}/meta-data": lease.seed.meta_data,
        f"{_NOCLOUD}/user-data": lease.seed.user_data,
        f"{_NOCLOUD}/vendor-data": "",
    }
    made = {**made, **_folders(made)}
    if known.keys:
        made["meta-data/public-keys/"] = "\n".join(
            f"{at}=key-{at}" for at in range(len(known.keys))
        )
    return made


def _folders(of: Iterable[str]) -> dict[str, str]:
    within: dict[str, set[str]] = {}
    for path in of:
        parts = path.split("/")
        for depth in range(len(parts)):
            folder = "".join(f"{part}/" for part in parts[:depth]) or "/"
            more = "/" if depth < len(parts) - 1 else ""
            within.setdefault(folder, set()).add(parts[depth] + more)
    made = {}
    for folder, names in within.items():
        kept = {name for name in names if not (name.endswith("/") and name[:-1] in names)}
        kept.discard(f"{_NOCLOUD}/")
        made[folder] = "\n".join(sorted(kept))
    return made
