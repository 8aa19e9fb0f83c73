"""Rollouts over HTTP, and the report of who runs which release."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import releases, rollouts
from arable.wire.rollouts import ReleaseQuery, RolloutQuery

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/rollouts",
        does=rollouts.page,
        permission=Permission.FARM_READ,
        writes=False,
        query=RolloutQuery,
        summary="List rollouts",
        about="The newest first.",
    ),
    Op(
        method="GET",
        path="/v1/rollouts/{rollout}",
        does=rollouts.get,
        permission=Permission.FARM_READ,
        writes=False,
        summary="Show a rollout",
    ),
    Op(
        method="POST",
        path="/v1/rollouts/{rollout}/pause",
        does=rollouts.pause,
        permission=Permission.FARM_WRITE,
        writes=True,
        summary="Pause a rollout",
        about="No more elements are made anew; those that drain are taken back. What fails meanwhile is made of the goal.",
    ),
    Op(
        method="POST",
        path="/v1/rollouts/{rollout}/resume",
        does=rollouts.resume,
        permission=Permission.FARM_WRITE,
        writes=True,
        summary="Let a paused rollout go on",
    ),
    Op(
        method="POST",
        path="/v1/rollouts/{rollout}/back",
        does=rollouts.back,
        permission=Permission.FARM_WRITE,
        writes=True,
        status=202,
        summary="Turn a rollout back",
        about=(
            "All elements are made of the release before again, some at a time. The farm's document stays as it is: "
            "applied again, it begins anew."
        ),
    ),
    Op(
        method="GET",
        path="/v1/releases",
        does=releases.page,
        permission=Permission.FARM_READ,
        writes=False,
        query=ReleaseQuery,
        summary="List what elements of tiers run",
        about="Of each tier, with the newest versions that there are of its blueprint and image.",
    ),
)
