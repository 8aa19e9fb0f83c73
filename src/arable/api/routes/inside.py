"""What programs inside farms may ask: a table of its own, so that nothing else can be reached from there by mistake.

It is not part of the public API: no credential of a user counts here, and no token of an element counts there.
"""

from arable.api.operation import PUBLIC, Op
from arable.domain.access import Permission
from arable.domain.inside import DISK, SELF, TIER, TOKEN
from arable.services import inside
from arable.wire.inside import InsideTokenIn, OwnDiskIn, OwnTierIn

INSIDE = (
    Op(
        method="POST",
        path=TOKEN,
        does=inside.token,
        permission=PUBLIC,  # whoever is at the place of an element that has rights
        writes=True,
        takes=InsideTokenIn,
        status=201,
        secrets=("token",),
        name="inside.token",
        summary="Ask for a token for the machine that one is in",
        dry_run=False,
    ),
    Op(
        method="GET",
        path=SELF,
        does=inside.own,
        permission=Permission.FARM_CONTROL,
        writes=False,
        name="inside.own",
        summary="Show one's own element, tier and farm, and what the tier bears",
    ),
    Op(
        method="POST",
        path=TIER,
        does=inside.scale,
        permission=Permission.FARM_SCALE,
        writes=True,
        takes=OwnTierIn,
        status=202,
        name="inside.scale",
        summary="Have more or fewer elements in one's own tier",
    ),
    Op(
        method="POST",
        path=DISK,
        does=inside.grow,
        permission=Permission.FARM_GROW,
        writes=True,
        takes=OwnDiskIn,
        status=202,
        name="inside.grow",
        summary="Make a further disk of one's own machine larger",
    ),
)
