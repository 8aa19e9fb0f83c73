"""In which regions an image should be, and which of its versions stay here whatever happens.

A policy is said where the image is, by its account, and told to every region that may know the image; those that it means
bring what they lack (`controllers/image_policies.py`, by these hands). Each decides for itself: an account's private
image only if its operators federated it with the region that says so, and none if its setting says so.
"""

from collections.abc import Callable
from dataclasses import dataclass

from arable.domain.access import Permission
from arable.domain.errors import BadInput, Conflict, NotFound
from arable.domain.grid import PeerState
from arable.domain.ids import ImageId
from arable.domain.image import Image
from arable.domain.image_policy import ImagePolicy
from arable.services import catalogue
from arable.services.asks import check_expected
from arable.services.call import Call, Surroundings
from arable.services.images import changeable, version_out
from arable.store import accounts, grid, grid_members, image_policies, images
from arable.store.database import Tx
from arable.wire.image_policies import ImagePolicyIn, ImagePolicyOut, PinIn, PolicyPlace
from arable.wire.images import VersionOut
from arable.wire.regions import IN_NO_GRID


def get(call: Call, image: ImageId) -> ImagePolicyOut:
    """What is said, and how far it is."""
    call.caller.needs(Permission.IMAGE_READ)
    found = changeable(call, image)
    policy = image_policies.of(call.tx, found.id)
    if policy is None:
        raise NotFound(f"nothing is said of where {found.name} should be")
    return _shown(call, found, policy)


def put(call: Call, image: ImageId, ask: ImagePolicyIn) -> ImagePolicyOut:
    """From now on it should be there."""
    call.caller.needs(Permission.IMAGE_WRITE)
    found = changeable(call, image, lock=True)
    check_expected(call, found.generation, "image")
    if not ask.at and not ask.labels:
        raise BadInput("name regions, or labels of regions", field="at")
    link = grid_members.link(call.tx)
    if link is None:
        raise Conflict(f"{IN_NO_GRID}, so there are no other regions")
    known = {each.name for each in grid_members.every(call.tx)}
    for position, name in enumerate(ask.at):
        if name not in known:
            raise BadInput(f"the grid has no region named {name}", field=f"at.{position}")
    _check_shared(call, found)
    policy = ImagePolicy(
        image=found.id,
        at=tuple(sorted(set(ask.at))),
        labels=tuple(sorted(set(ask.labels))),
        versions=ask.versions,
        upto=0 if ask.follow else max(1, found.newest),
        created_at=call.around.clock.now(),
    )
    image_policies.put(call.tx, policy)
    return _shown(call, found, policy)


def delete(call: Call, image: ImageId) -> None:
    """Nothing is said any more. Copies stay where they are until they are let go as any others."""
    call.caller.needs(Permission.IMAGE_WRITE)
    found = changeable(call, image, lock=True)
    check_expected(call, found.generation, "image")
    if not image_policies.drop(call.tx, found.id):
        raise NotFound(f"nothing is said of where {found.name} should be")


def pin(call: Call, image: ImageId, ask: PinIn) -> VersionOut:
    """That version stays in this region."""
    return _pinned(call, image, ask, pinned=True)


def unpin(call: Call, image: ImageId, ask: PinIn) -> VersionOut:
    """It may be let go when nobody uses it, if it came from another region."""
    return _pinned(call, image, ask, pinned=False)


def _pinned(call: Call, image: ImageId, ask: PinIn, *, pinned: bool) -> VersionOut:
    call.caller.needs(Permission.IMAGE_WRITE)
    found = changeable(call, image, lock=True)
    check_expected(call, found.generation, "image")
    images.version(call.tx, found.id, ask.version)
    images.pin(call.tx, found.id, ask.version, pinned=pinned)
    return version_out(images.version(call.tx, found.id, ask.version))


def _check_shared(call: Call, image: Image) -> None:
    """Of private images no region hears but those with which their account is federated."""
    if image.public:
        return
    account = accounts.get(call.tx, call.caller.scope, image.account)
    if not account.federated:
        raise Conflict(
            "other regions hear of a private image only if its account is federated with them:"
            " an operator of this region can say so (arable account federate)"
        )


def _shown(call: Call, image: Image, policy: ImagePolicy) -> ImagePolicyOut:
    tx = call.tx
    path = accounts.path_of(tx, image.account)
    link = grid_members.link(tx)
    own = link.region if link else ""
    here = [v.number for v in images.versions(tx, [image.id]).get(image.id, ()) if not v.arriving]
    there: dict[str, set[int]] = {}
    for each in grid.find(tx, image.name, account=path):
        if each.account == path:
            there.setdefault(each.region, set()).add(each.number)
    numbers = policy.wanted([*here, *(n for found in there.values() for n in found)])
    members = {each.name: each.labels for each in grid_members.every(tx)}
    states = {peer.name: peer.state for peer in grid.peers(tx)}
    meant = {name for name, labels in members.items() if policy.means(name, labels)}
    return ImagePolicyOut(
        image=image.id,
        at=policy.at,
        labels=policy.labels,
        versions=policy.versions,
        follow=not policy.upto,
        places=tuple(
            PolicyPlace(
                region=name,
                state=str(states[name]) if name in states else "unknown",
                here=tuple(n for n in numbers if n in there.get(name, ())),
                missing=tuple(n for n in numbers if n not in there.get(name, ())),
            )
            for name in sorted((meant | set(policy.at)) - {own})
            if states.get(name) is not PeerState.GONE
        ),
    )


@dataclass(frozen=True, slots=True)
class ImageHands:
    """Brings what policies of other regions want here."""

    around: Callable[[], Surroundings]

    def bring(self, tx: Tx, region: str, account: str, image: str, number: int) -> bool:
        """Have that version brought, which a policy of that region wants here. False: it is not for this region.

        Raises what it is refused for, for example the account's limit.
        """
        around = self.around()
        known = accounts.by_path(tx, account)
        found = grid.find(tx, image, account=account, number=number)
        chosen = next((each for each in found if each.account == account), None)
        if chosen is None:
            return False
        if not chosen.public and (known is None or region not in known.federated):
            return False
        wanted = catalogue.of(tx, around, chosen)
        return catalogue.begin(tx, around, wanted) is not None
