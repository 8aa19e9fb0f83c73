"""The manifest in force, with what every step looks up in it kept at hand.

Changes are applied as they come and never scanned for again: a routing host may hold leases of thousands of
machines, and a change of one of them should cost one of them.
"""

from collections.abc import Mapping

import msgspec

from arable.domain.errors import BadInput
from arable.domain.ids import HostId, MachineId, NetworkId, NicId
from arable.domain.incarnation import is_later
from arable.domain.manifest import GuestWish, HostManifest, ItemKind, LeaseWish, Power
from arable.wire.agent import Change, apply

Leases = dict[NicId, LeaseWish]
NO_LEASES: Leases = {}


class Wishes:
    """What this host should be. `known` is False until a manifest came from the ledger or a server.

    `kept` are guests that a database wished for before an older copy of it was restored, which does not know them.
    They are left as they are until a manifest names them again, or has one of their volumes erased, or takes them back
    explicitly: a restored copy must not cost anybody a machine (docs/decisions/0005).
    """

    def __init__(
        self,
        host: HostId,
        manifest: HostManifest | None,
        kept: Mapping[MachineId, GuestWish] | None = None,
    ) -> None:
        self.known = manifest is not None
        self.manifest = manifest or HostManifest(host)
        self.kept: dict[MachineId, GuestWish] = dict(kept or {})
        self.departed: set[MachineId] = set()  # wished for once, no longer, and not yet told gone
        self.withdrawn: set[NetworkId] = set()  # the same for appliances
        self._leases = _by_network(self.manifest)

    def leases(self, network: NetworkId) -> Leases:
        """The leases of a network; never changed in place, so that the same object means the same leases."""
        return self._leases.get(network, NO_LEASES)

    def change(self, change: Change) -> None:
        """Take in a change; raises `BadInput`, and then nothing was taken in.

        A whole manifest is the newest truth whatever its generation; a difference must start from what is held
        and lead forward.
        """
        held = self.manifest
        other = bool(held.incarnation) and change.incarnation not in ("", held.incarnation)
        if is_later(held.incarnation, change.incarnation):
            raise BadInput(
                f"database {change.incarnation} was given up for {held.incarnation}, which is held"
            )
        if other and change.base:
            raise BadInput(
                f"a difference of database {change.incarnation}, and {held.incarnation} is held"
            )
        if change.base == 0:  # from nothing, said otherwise
            change = msgspec.structs.replace(change, base=None)
        if change.base is not None and not change.items and change.generation == change.base:
            if change.base != held.generation:
                raise BadInput(f"nothing new since {change.base}, and {held.generation} is held")
            return
        if change.base is not None and change.generation <= change.base:
            raise BadInput(f"change from generation {change.base} back to {change.generation}")
        manifest = apply(held, change)
        if change.base is None:
            missing = held.guests.keys() - manifest.guests.keys()
            if other:
                wanted = {m for m in missing if held.guests[m].power is Power.ON}
                self.kept |= {machine: held.guests[machine] for machine in wanted}
                missing -= wanted
            self.departed |= missing
            self.withdrawn |= held.appliances.keys() - manifest.appliances.keys()
            self._leases = _by_network(manifest)
        else:
            for item in change.items:
                if item.kind is ItemKind.GUEST and item.body is None:
                    self.kept.pop(MachineId(item.id), None)
                    self.departed.add(MachineId(item.id))
                elif item.kind is ItemKind.APPLIANCE and item.body is None:
                    self.withdrawn.add(NetworkId(item.id))
                elif item.kind is ItemKind.LEASE:
                    nic = NicId(item.id)
                    self._exchange(nic, held.leases.get(nic), manifest.leases.get(nic))
        self.departed -= manifest.guests.keys()
        self.withdrawn -= manifest.appliances.keys()
        if self.kept:
            self.kept = {
                machine: wish
                for machine, wish in self.kept.items()
                if machine not in manifest.guests
                and not any(disk.volume in manifest.scraps for disk in wish.disks)
            }
        self.manifest = manifest
        self.known = True

    def _exchange(self, nic: NicId, old: LeaseWish | None, new: LeaseWish | None) -> None:
        if old and nic in self.leases(old.network):  # one change may name an item twice
            kept = self._leases.pop(old.network).copy()
            del kept[nic]
            if kept:
                self._leases[old.network] = kept
        if new:
            self._leases[new.network] = {**self.leases(new.network), nic: new}


def _by_network(manifest: HostManifest) -> dict[NetworkId, Leases]:
    found: dict[NetworkId, Leases] = {}
    for nic, lease in manifest.leases.items():
        found.setdefault(lease.network, {})[nic] = lease
    return found
