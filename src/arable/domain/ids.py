"""Names for things that last. One type per kind, so that the type checker finds mixed-up ids.

An id is text, `<kind>-<20 letters and digits>`, and is that same text in the store, on the wire and in logs.
The first nine characters are the time of birth in milliseconds, so ids sort by age and new rows land at the
end of every index; the last eleven are chance. Distinct static types over plain text rather than wrapper
objects: an id crosses SQL and JSON millions of times, and wrapping it there cost more than the call it named
(docs/decisions/0001-ids-are-text.md).
"""

import re
from typing import NewType

from arable.domain.errors import BadInput

DomainId = NewType("DomainId", str)
AccountId = NewType("AccountId", str)
UserId = NewType("UserId", str)
KeyId = NewType("KeyId", str)
SessionId = NewType("SessionId", str)
ZoneId = NewType("ZoneId", str)
PodId = NewType("PodId", str)
HostId = NewType("HostId", str)
PoolId = NewType("PoolId", str)
OfferingId = NewType("OfferingId", str)
DiskOfferingId = NewType("DiskOfferingId", str)
ImageId = NewType("ImageId", str)
UploadId = NewType("UploadId", str)  # of a file of an image
FarmId = NewType("FarmId", str)
MachineId = NewType("MachineId", str)
VolumeId = NewType("VolumeId", str)
StorageZoneId = NewType("StorageZoneId", str)  # a farm's own is called by the farm's id
SnapshotId = NewType("SnapshotId", str)
ReplicaId = NewType("ReplicaId", str)  # of a volume, in another pool
NetworkId = NewType("NetworkId", str)
NicId = NewType("NicId", str)
AddressId = NewType("AddressId", str)  # a public IP
RangeId = NewType("RangeId", str)  # a range of public IPs
Ipv6RangeId = NewType("Ipv6RangeId", str)  # these begin with `prefix`
RuleId = NewType("RuleId", str)
BalancerId = NewType("BalancerId", str)
VpnId = NewType("VpnId", str)  # of a site, or of remote access: these begin with `access`
VpnPeerId = NewType("VpnPeerId", str)  # of a site, the id of its VPN; or a client's
OperationId = NewType("OperationId", str)
GroupId = NewType("GroupId", str)  # a placement group
JoinTokenId = NewType("JoinTokenId", str)
SegmentId = NewType("SegmentId", str)  # a management server's own name
AlertId = NewType("AlertId", str)
AlertRouteId = NewType("AlertRouteId", str)
SshKeyId = NewType("SshKeyId", str)
BlueprintId = NewType("BlueprintId", str)
TierId = NewType("TierId", str)
ElementId = NewType("ElementId", str)
RolloutId = NewType("RolloutId", str)
SecretId = NewType("SecretId", str)  # of a farm
PlanId = NewType("PlanId", str)  # a service plan
OrderId = NewType("OrderId", str)
TransferId = NewType("TransferId", str)
RegionId = NewType("RegionId", str)
GridTokenId = NewType("GridTokenId", str)
EvictionId = NewType("EvictionId", str)
SignKeyId = NewType("SignKeyId", str)

KINDS = frozenset(
    [
        "domain",
        "account",
        "user",
        "key",
        "session",
        "zone",
        "pod",
        "host",
        "pool",
        "offering",
        "diskoffering",
        "image",
        "upload",
        "farm",
        "machine",
        "volume",
        "storagezone",
        "snapshot",
        "replica",
        "network",
        "nic",
        "address",
        "range",
        "prefix",
        "rule",
        "balancer",
        "vpn",
        "access",
        "vpnclient",
        "operation",
        "jointoken",
        "group",
        "alert",
        "alertroute",
        "sshkey",
        "blueprint",
        "tier",
        "element",
        "rollout",
        "secret",
        "plan",
        "order",
        "transfer",
        "region",
        "gridtoken",
        "instruction",
    ]
)

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
LENGTH = 20  # of what `Ids` makes, behind the hyphen
_SHAPE = re.compile(r"[a-z]+-[0-9a-z]{1,32}")
_MADE = re.compile(rf"[0-9a-z]{{{LENGTH}}}")


def check(kind: str, text: str, field: str = "id") -> str:
    """`text` if it is an id of that kind; raises `BadInput` naming the field otherwise."""
    if not text.startswith(f"{kind}-") or not _SHAPE.fullmatch(text):
        raise BadInput(f"not a {kind} id: it looks like {kind}-…", field=field)
    return text


def kind_of(text: str) -> str:
    """The kind an id names, or empty text when it is no id: `pod-a` is a name that somebody gave."""
    kind, _, rest = text.partition("-")
    return kind if kind in KINDS and _MADE.fullmatch(rest) else ""
