"""Images that other regions have: where they are, and how one is brought here.

A version that is brought keeps its account (by its path), its image's name, its number and its digest: "web/3" means the
same everywhere. A public image whose account this region does not know belongs to the operators here. Of other
accounts' private images nobody hears (rule 9).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from arable.domain import transfer as rules
from arable.domain.access import Permission, Rank, Scope
from arable.domain.errors import Conflict, Forbidden, NotFound
from arable.domain.grid import CataloguedVersion, PeerState
from arable.domain.ids import AccountId, ImageId, OperationId, TransferId
from arable.domain.image import Image, ImageVersion, check_parts, digest
from arable.domain.transfer import Transfer, TransferState
from arable.services import operations as operations_
from arable.services.asks import begin as begin_operation
from arable.services.call import Call, Surroundings
from arable.services.images import check_limit
from arable.store import accounts, grid, images, operations, transfers
from arable.store.database import Tx
from arable.wire.catalogue import FetchIn, HolderOut, WhereOut, WhereQuery, WhereVersionOut
from arable.wire.operations import OperationOut

_SHOWN = 100  # versions
_NAMED = 4  # regions, in a step of an operation


@dataclass(frozen=True, slots=True)
class Wanted:
    """A version that is only elsewhere, or on its way, as it will be here. Whether it is written yet, `begin` sees."""

    image: Image
    version: ImageVersion


Made = dict[tuple[AccountId, str], Image]
"""Images that are not written yet, by owner and name: what is wanted twice in one transaction is one image."""


def find(
    tx: Tx,
    around: Surroundings,
    account: AccountId,
    name: str,
    number: int | None = None,
    made: Made | None = None,
    whose: str | None = None,
) -> Wanted | None:
    """The version (the newest one of no number) as the catalogue has it, for that account; None: there is none.

    The account's own images go before public ones; with `whose` only images of the account of that path count. Raises `Conflict` when this region has another version of that
    number, `LimitExceeded`.
    """
    path = accounts.path_of(tx, account)
    found = grid.find(tx, name, account=path, number=number)
    theirs = {each.account for each in found}
    if not theirs or (whose is not None and whose not in theirs):
        return None
    whose = whose or (path if path in theirs else min(theirs))
    chosen = next(each for each in found if each.account == whose)
    return of(tx, around, chosen, made)


def of(tx: Tx, around: Surroundings, chosen: CataloguedVersion, made: Made | None = None) -> Wanted:
    """A version of the catalogue, as it will be here. Raises as `find` does."""
    known = accounts.by_path(tx, chosen.account)
    owner = known.id if known is not None else accounts.eldest(tx)
    images.lock_account(tx, owner)
    return _here(tx, around, owner, chosen, {} if made is None else made)


def _here(
    tx: Tx, around: Surroundings, owner: AccountId, chosen: CataloguedVersion, made: Made
) -> Wanted:
    if digest(chosen.parts) != chosen.digest:
        raise Conflict(f"the catalogue contradicts itself about {chosen.image}/{chosen.number}")
    check_parts(chosen.parts, "image")
    before = images.named(tx, owner, chosen.image)
    image = before or made.setdefault((owner, chosen.image), _image(around, owner, chosen))
    there = _version(tx, before, chosen.number)
    if there is not None:
        if there.digest != chosen.digest:
            raise Conflict(
                f"{chosen.image}/{chosen.number} is another one here than in {chosen.region}:"
                " name a version that only one of them has",
                field="version",
            )
        return Wanted(image, there)
    digests = {part.sha256 for part in chosen.parts}
    check_limit(tx, images.bytes_of(tx, owner, but=digests) + chosen.bytes)
    version = ImageVersion(
        image=image.id,
        number=chosen.number,
        digest=chosen.digest,
        parts=tuple(sorted(chosen.parts, key=lambda part: part.role)),
        bytes=chosen.bytes,
        arriving=True,
        fetched=True,
        created_at=chosen.created_at,
    )
    return Wanted(image, version)


def _image(around: Surroundings, owner: AccountId, chosen: CataloguedVersion) -> Image:
    return Image(
        id=ImageId(around.ids.new("image")),
        account=owner,
        name=chosen.image,
        public=chosen.public,
        command_line=chosen.command_line,
        minimum_memory_mib=chosen.minimum_memory_mib,
        newest=chosen.number,
        created_at=around.clock.now(),
    )


def _version(tx: Tx, image: Image | None, number: int) -> ImageVersion | None:
    try:
        return None if image is None else images.version(tx, image.id, number)
    except NotFound:
        return None


def begin(tx: Tx, around: Surroundings, wanted: Wanted) -> Transfer | None:
    """Have it brought; None when it is here already. Asked for again, it is the same transfer."""
    image, version = wanted.image, wanted.version
    if not version.arriving:
        return None
    before = images.named(tx, image.account, image.name)
    if before is None:
        images.add(tx, image)
    elif version.number > before.newest:
        images.save(tx, before.changed(newest=version.number))
    if _version(tx, before, version.number) is None:
        images.add_version(tx, version)
    return bring(tx, around, version)


def bring(tx: Tx, around: Surroundings, version: ImageVersion) -> Transfer:
    """A version that is kept here as arriving is fetched from now on; asked for again, it is the same transfer."""
    now = around.clock.now()
    return transfers.begin(
        tx,
        Transfer(
            id=TransferId(around.ids.new("transfer")),
            image=version.image,
            number=version.number,
            state=TransferState.WANTED,
            total=version.bytes,
            next_at=now,
            moved_at=now,
            created_at=now,
        ),
    )


def tell(
    tx: Tx,
    around: Surroundings,
    wanted: Wanted,
    begun: Transfer,
    operation: OperationId,
    *,
    ends: bool,
) -> None:
    """The operation is told of it from now on."""
    transfers.wait(tx, begun.id, operation, ends=ends)
    regions = _either(_regions(tx, wanted.version))  # which of them, is seen when it is begun
    name, number = wanted.image.name, begun.number
    step = rules.told(name, number, begun.sources or regions, begun.done, begun.total)
    operations.advance(tx, operation, step, around.clock.now())


def fetch(call: Call, ask: FetchIn) -> OperationOut:
    """Bring a version here before anybody wants to boot it. Public images of other accounts are for operators to bring."""
    call.caller.needs(Permission.IMAGE_WRITE)
    wanted = find(call.tx, call.around, call.caller.account, ask.image, ask.version)
    if wanted is None:
        raise NotFound(_unknown(ask), field="image" if ask.version is None else "version")
    if wanted.image.account != call.caller.account and call.caller.rank < Rank.OPERATOR:
        raise Forbidden(
            "only operators bring images of other accounts; a machine that you deploy of it brings it by itself",
            field="image",
        )
    begun = begin(call.tx, call.around, wanted)
    operation = begin_operation(
        call, "image.fetch", wanted.image.id, wanted.image.account, done=begun is None
    )
    if begun is not None:
        tell(call.tx, call.around, wanted, begun, operation.id, ends=True)
    return operations_.shown(operations.get(call.tx, Scope(), operation.id))


def _unknown(ask: FetchIn) -> str:
    version = f"/{ask.version}" if ask.version else ""
    return f"no other region has an image {ask.image}{version} that you may use, as far as is known here"


def where(call: Call, query: WhereQuery) -> WhereOut:
    """Where an image's versions are."""
    call.caller.needs(Permission.IMAGE_READ)
    path = accounts.path_of(call.tx, call.caller.account)
    found = grid.find(call.tx, query.image, account=path, number=query.version)
    shown = {(each.account, each.number): each for each in found}
    holders = {
        key: sorted({each.region for each in group})
        for key, group in groupby(found, key=lambda each: (each.account, each.number))
    }
    local = _local(call, query)
    seen = grid.seen(call.tx, {each.region for each in found})
    answers = [
        _where(each, holders.get(key, ()), seen, local.pop((each.number, each.digest), None))
        for key, each in shown.items()
    ]
    answers += [_only_here(call, each) for each in local.values()]
    answers.sort(key=lambda each: (-each.number, each.account))
    return WhereOut(image=query.image, versions=tuple(answers[:_SHOWN]))


_Local = tuple[Image, ImageVersion, Transfer | None]


def _local(call: Call, query: WhereQuery) -> dict[tuple[int, str], _Local]:
    """Versions of images of that name in this region that the caller may use, by number and digest."""
    scope = Scope(account=call.caller.account)
    named = images.page(call.tx, scope, images.ImageFilter(name=query.image), limit=_SHOWN)
    versions = images.versions(call.tx, [each.id for each in named])
    under_way = transfers.of_images(call.tx, [each.id for each in named])
    return {
        (each.number, each.digest): (image, each, under_way.get((image.id, each.number)))
        for image in named
        for each in versions.get(image.id, ())
        if query.version in (None, each.number)
    }


_UNSEEN = grid.SeenPeer(PeerState.SILENT, None, None)


def _where(
    version: CataloguedVersion,
    regions: Sequence[str],
    seen: Mapping[str, grid.SeenPeer],
    local: _Local | None,
) -> WhereVersionOut:
    return WhereVersionOut(
        account=version.account,
        number=version.number,
        digest=version.digest,
        bytes=version.bytes,
        public=version.public,
        here=local is not None and not local[1].arriving,
        told=_told(local),
        holders=tuple(_holder(name, seen.get(name, _UNSEEN)) for name in regions),
    )


def _holder(name: str, seen: grid.SeenPeer) -> HolderOut:
    return HolderOut(
        region=name, state=seen.state.value, seen_at=seen.seen_at, known_at=seen.known_at
    )


def _only_here(call: Call, local: _Local) -> WhereVersionOut:
    image, version, _ = local
    return WhereVersionOut(
        account=accounts.path_of(call.tx, image.account),
        number=version.number,
        digest=version.digest,
        bytes=version.bytes,
        public=image.public,
        here=not version.arriving,
        told=_told(local),
    )


def _told(local: _Local | None) -> str:
    image, _, begun = local or (None, None, None)
    if image is None or begun is None:
        return ""
    if begun.told:
        return begun.told
    return rules.told(image.name, begun.number, begun.sources, begun.done, begun.total)


def _either(regions: Sequence[str]) -> str:
    if len(regions) > _NAMED:
        return f"one of {len(regions)} regions"
    return " or ".join(regions)


def _regions(tx: Tx, version: ImageVersion) -> list[str]:
    return sorted({each.region for each in grid.with_digest(tx, version.digest)})
