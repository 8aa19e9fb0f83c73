"""Who runs what, and who is behind: a report for operators of all accounts, for customers of their own."""

from arable.domain.access import Permission
from arable.domain.ids import AccountId, BlueprintId, FarmId, ImageId
from arable.domain.tier import Release
from arable.services.call import Call
from arable.services.pages import paged
from arable.store import farms, releases, rollouts
from arable.store.releases import Known, ReleaseFilter, Runs
from arable.wire.common import Page
from arable.wire.rollouts import ReleaseQuery, RunsOut, TierReleasesOut


def page(call: Call, query: ReleaseQuery) -> Page[TierReleasesOut]:
    """Tiers in sight, by age."""
    call.caller.needs(Permission.FARM_READ)
    where = ReleaseFilter(
        image=ImageId(query.image) if query.image else None,
        blueprint=BlueprintId(query.blueprint) if query.blueprint else None,
        farm=FarmId(query.farm) if query.farm else None,
        account=AccountId(query.account) if query.account else None,
        behind=query.behind,
    )
    tx, scope = call.tx, call.caller.scope
    found = releases.page(tx, scope, where, after=query.after, limit=query.limit + 1)
    ids = [each.tier.id for each in found]
    runs, rolling = releases.runs(tx, ids), rollouts.under_way(tx, ids)
    names = farms.names(tx, {each.tier.farm for each in found})
    shapes = {
        each.tier.id: _shape(
            each,
            names[each.tier.farm],
            runs.get(each.tier.id, []),
            rolling[each.tier.id].id if each.tier.id in rolling else None,
        )
        for each in found
    }
    return paged([each.tier for each in found], query, lambda tier: shapes[tier.id])


def _shape(known: Known, farm: str, runs: list[Runs], rollout: str | None) -> TierReleasesOut:
    tier, newest = known.tier, known.newest
    return TierReleasesOut(
        tier=tier.id,
        account=tier.account,
        farm=tier.farm,
        farm_name=farm,
        name=tier.name,
        blueprint=tier.blueprint,
        blueprint_name=known.blueprint_name,
        blueprint_version=tier.blueprint_number,
        newest_blueprint_version=newest.blueprint,
        image=tier.image,
        image_name=known.image_name,
        image_version=tier.image_version,
        newest_image_version=newest.image,
        follows=tier.body.follows.value,
        automatic=tier.automatic,
        behind=any(_older(each, newest) for each in (tier.release, *(run.release for run in runs))),
        rollout=rollout,
        runs=[
            RunsOut(
                blueprint_version=each.release.blueprint,
                image_version=each.release.image,
                elements=each.elements,
                serving=each.serving,
            )
            for each in runs
        ],
    )


def _older(release: Release, newest: Release) -> bool:
    return release.blueprint < newest.blueprint or release.image < newest.image
