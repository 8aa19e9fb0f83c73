"""Shared volumes of farms' homes, as parts here read them: by copies that came as images do, and were verified as they are (0052).

What is on one is a version of an image of the account's own, NAME@REGION, by its digest: so one copy is there for all parts
that read it. An element has a disk of its own over that, which it can't write to. Bytes that are not here whole, with the
digest that home told, are nobody's to read.
"""

from dataclasses import replace

from arable.domain.errors import CloudError, Conflict
from arable.domain.farm import Farm
from arable.domain.ids import FarmId, ImageId, MachineId, VolumeId
from arable.domain.image import Image, ImageVersion, digest
from arable.domain.manifest import ImagePart, PartFormat, PartRole
from arable.domain.transfer import TransferState
from arable.domain.transfer import told as how_far
from arable.domain.units import MIB
from arable.domain.volume import MOST_OF_A_MACHINE, Volume
from arable.domain.volume_copies import CameVolume
from arable.services import catalogue
from arable.services.asks import tell
from arable.services.attachments import machine_of
from arable.services.call import Call, Surroundings
from arable.services.images import check_limit
from arable.store import came_volumes, farms, images, quotas, transfers, volumes
from arable.store.columns import micros
from arable.store.database import Tx
from arable.wire.farms import FarmPartSpec, FarmVolumeIn

_MARK = "@"
_MOST = 50


def called(name: str, region: str) -> str:
    """What a volume of that home is called here: no name that somebody gave has this mark."""
    return f"{name}{_MARK}{region}"


def is_one(name: str) -> bool:
    """Whether that is what a volume of another region is called here."""
    return _MARK in name


def take(call: Call, region: str, farm: Farm, spec: FarmPartSpec) -> None:
    """The part reads these from now on, and what is on them comes. Raises what is refused, naming the volume."""
    before = came_volumes.of_farm(call.tx, farm.id)
    for at, said in enumerate(spec.volumes):
        name = called(said.name, region)
        row = before.pop(name, None) or CameVolume(farm=farm.id, name=name)
        try:
            came_volumes.put(call.tx, _taken(call, region, row, said))
        except CloudError as error:
            told = (
                f"what is on the volume {said.name} of {region} can't be had here: {error.public}"
            )
            raise type(error)(told, field=f"volumes.{at}") from error
    came_volumes.drop(call.tx, farm.id, sorted(before))


def again(tx: Tx, around: Surroundings, farm: FarmId) -> None:
    """Fetch anew what was given up: its home can be reached, since it asks."""
    for row in came_volumes.of_farm(tx, farm).values():
        version = _version(tx, row.image, row.number)
        if version is not None and version.arriving:
            known = transfers.of(tx, version.image, version.number)
            if known is None or known.state is TransferState.FAILED:
                catalogue.bring(tx, around, version)


def waits(tx: Tx, farm: FarmId) -> str:
    """What a part waits for of what it reads; empty: all of it is here."""
    found = []
    for row in came_volumes.of_farm(tx, farm).values():
        version = _version(tx, row.image, row.number)
        if row.told or version is None:
            found.append(f"{row.name}: {row.told or 'is not here yet'}")
        elif version.arriving:
            found.append(_why(tx, row, version))
    return "; ".join(found)


def readable(tx: Tx, farm: FarmId, name: str) -> ImagePart:
    """What an element of the part that is made now reads under that name. Raises `Conflict` while nothing of it is here."""
    row = came_volumes.of_farm(tx, farm).get(name)
    if row is None:
        raise Conflict(f"{name}, which its blueprint reads, did not come with the farm")
    for number in (row.number, row.before):
        version = _version(tx, row.image, number)
        if version is not None and not version.arriving and version.disk is not None:
            return version.disk
    version = _version(tx, row.image, row.number)
    told = _why(tx, row, version) if version else f"{name}: {row.told or 'is not here yet'}"
    raise Conflict(f"its blueprint reads what is on its way: {told}")


def give(call: Call, id_: MachineId, name: str, part: ImagePart) -> None:
    """The machine, which is off, has a disk that shows it, and can't write to it."""
    mib = -(-part.virtual_bytes // MIB)
    machine = machine_of(call, id_)
    quotas.take(call.tx, machine.account, volumes=1, storage_mib=mib)
    disks = volumes.of_machines(call.tx, [machine.id]).get(machine.id, [])
    if not disks:
        raise Conflict(f"{machine.name} has no disk at all: it starts from memory alone")
    if len(disks) >= MOST_OF_A_MACHINE:
        raise Conflict(f"{machine.name} has {len(disks)} disks, and no more fit")
    taken = {disk.position for disk in disks}
    now = call.around.clock.now()
    made = Volume(
        id=VolumeId(call.around.ids.new("volume")),
        account=machine.account,
        zone=machine.zone,
        machine=machine.id,
        pool=disks[0].pool,
        position=next(place for place in range(1, len(disks) + 2) if place not in taken),
        name=f"{machine.name}-{name}"[:63],
        mib=mib,
        source=part,
        shared=disks[0].shared,
        read_only=True,
        storage_zone=farms.reaches(call.tx, [machine.farm])[machine.farm],
        zoned=micros(now),
        created_at=now,
    )
    volumes.add(call.tx, made)


def sweep(tx: Tx) -> int:
    """Versions that nobody reads any more go, and images without one; how many."""
    gone = 0
    for id_, number in came_volumes.left(tx, _MOST):
        image = images.named_of(tx, id_)
        gone += came_volumes.remove(tx, image, images.version(tx, id_, number))
    for id_ in came_volumes.empty(tx, _MOST):
        images.remove(tx, images.named_of(tx, id_))
        gone += 1
    return gone


def _taken(call: Call, region: str, row: CameVolume, said: FarmVolumeIn) -> CameVolume:
    if said.sha256 is None:  # what is here goes on being read
        return replace(row, told=said.told or "home has no copy of it yet")
    part = ImagePart(
        role=PartRole.DISK,
        sha256=said.sha256,
        bytes=said.bytes,
        format=PartFormat.QCOW2,
        virtual_bytes=said.virtual_bytes,
    )
    image, number = _wanted(call, region, row, part)
    if (row.image, row.number) == (image, number):
        return replace(row, told="")
    there = _version(call.tx, row.image, row.number)
    whole = there is not None and not there.arriving
    before = row.number if whole else row.before
    return replace(row, image=image, number=number, before=before, told="")


def _wanted(call: Call, region: str, row: CameVolume, part: ImagePart) -> tuple[ImageId, int]:
    """The version that has it, on its way if it is not here."""
    tx, account, now = call.tx, call.caller.account, call.around.clock.now()
    images.lock_account(tx, account)
    image = images.named(tx, account, row.name)
    known = images.versions(tx, [image.id]).get(image.id, []) if image else []
    version = next((each for each in known if each.disk == part), None)
    if version is None:
        check_limit(tx, images.bytes_of(tx, account, but={part.sha256}) + part.bytes)
        number = image.newest + 1 if image else 1
        if image is None:
            image = Image(id=ImageId(call.around.ids.new("image")), account=account, name=row.name, newest=number, home=region, created_at=now)  # fmt: skip
            images.add(tx, image)
        else:
            images.save(tx, image.changed(newest=number))
        version = ImageVersion(
            image=image.id,
            number=number,
            digest=digest([part]),
            parts=(part,),
            bytes=part.bytes,
            arriving=True,
            fetched=True,
            created_at=now,
        )
        images.add_version(tx, version)
        tell(call, account, "volume.fetching", image.id, f"{row.name}: is fetched from {region}")
    if version.arriving:
        catalogue.bring(tx, call.around, version)
    return version.image, version.number


def _version(tx: Tx, image: ImageId | None, number: int) -> ImageVersion | None:
    if image is None or not number:
        return None
    known = images.versions(tx, [image]).get(image, [])
    return next((each for each in known if each.number == number), None)


def _why(tx: Tx, row: CameVolume, version: ImageVersion) -> str:
    known = transfers.of(tx, version.image, version.number)
    if known is None:
        return f"{row.name}: is not here yet"
    return known.told or how_far(row.name, version.number, known.sources, known.done, known.total)
