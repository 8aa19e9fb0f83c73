"""What policies, evictions, quarantine and sign-on ask of the store, on both databases."""

from dataclasses import replace
from datetime import timedelta

from make_cloud import DISK

from arable.controllers import evicting, image_policies
from arable.domain.grid import CataloguedVersion, Peer
from arable.domain.image import Image, ImageVersion, KeptPart
from arable.domain.image_policy import EvictionState
from arable.domain.region import Fact, FactKind
from arable.store import evictions, grid, grid_facts, grid_members, images, settings, sign_on
from arable.store import image_policies as policies
from arable.store.grid_members import Link
from arable.wire.grid import GrantDoc, RefusedDoc, SyncOut


def test_a_copy_goes_step_by_step(cloud):
    now = cloud.around.clock.now()
    part = replace(DISK, sha256="d" * 64)
    image = Image(id="image-web", account="account-root", name="web", public=True, created_at=now)
    version = ImageVersion(
        image=image.id, number=1, digest=part.sha256, parts=(part,), bytes=7, fetched=True,
        created_at=now,
    )  # fmt: skip
    with cloud.database.write() as tx:
        link = Link(region="us", grid="g:1", authorities=(), certificate="", key_sealed="",
                    incarnation="i")  # fmt: skip
        grid_members.add_link(tx, link)
        images.add(tx, image)
        images.add_version(tx, version)
        images.keep_part(tx, KeptPart(account=image.account, part=part, created_at=now))
        settings.put(tx, {"image_evict_seconds": 60})
        there = CataloguedVersion(region="eu", account="root/root", image="web", number=1,
                                  digest=part.sha256, parts=(part,), public=True, created_at=now)  # fmt: skip
        grid.put_peers(tx, [Peer(name="eu", url="https://eu:1", fingerprint="f", authority="a")])
        grid.replace_region(tx, "eu", 1, [there], [part.sha256], now)
        assert images.shared_with(tx, part.sha256, "eu")
        assert images.named_after(tx, part.sha256) == ["web"]
        assert evicting.choose(tx, cloud.around.ids, "us", 100, 0, now) == 0
    later = now + timedelta(hours=2)
    with cloud.database.write() as tx:
        assert evicting.choose(tx, cloud.around.ids, "us", 100, 0, later) == 1
        (asked,) = evictions.asked(tx)
        assert asked.keys == ("root/root|web|1",)
        answer = SyncOut(incarnation="i", seen=0, cursor=0, at=later, members=(),
                         grants=(GrantDoc(id=asked.id),))  # fmt: skip
        evicting.heard(tx, "i", answer, later)
        assert [e.state for e in evictions.of(tx, EvictionState)] == [EvictionState.LEAVING]
        assert evictions.open_bytes(tx) == 7
        assert evicting.go(tx, "us", later) == 0, "it is hidden for a while first"
    end = later + evicting.SETTLES
    with cloud.database.write() as tx:
        assert evicting.go(tx, "us", end) == 1
        assert evictions.unlooked(tx)
        evictions.looked(tx, 9)
        assert evictions.told_until(tx, 8) == []
        assert evictions.told_until(tx, 9) == [asked.id]
        evictions.understood(tx, [asked.id])
        (gone,) = evictions.of(tx, [EvictionState.DONE])
        evictions.erased(tx, gone)
        assert evictions.of(tx, EvictionState) == []
        assert images.known_among(tx, [part.sha256, DISK.sha256]) == {DISK.sha256}
        assert images.parts_of(tx, image.account, [part.sha256]) == {}


def test_the_grid_managers_rows(cloud):
    now = cloud.around.clock.now()
    body = {"digest": "d"}
    with cloud.database.write() as tx:
        fact = Fact(kind=FactKind.IMAGE, key="a|b|1", version=1, body=body)
        for region in ("eu", "us"):
            grid_facts.put(tx, region, [fact])
        grid_facts.hold(tx)
        assert evictions.holders(tx, ["eu", "us", "asia"], ["a|b|1"], "d") == ["eu", "us"]
        evictions.grant(tx, "eu", "eviction-1", "a|b|1", "d", now)
        assert evictions.holders(tx, ["eu", "us"], ["a|b|1"], "d") == ["us"]
        assert evictions.granted(tx, "eu", "eviction-1")
        evictions.end(tx, "us", ["eviction-1"])
        assert evictions.granted(tx, "eu", "eviction-1"), "nobody ends another one's"
        evictions.end(tx, "eu", ["eviction-1"])
        assert not evictions.granted(tx, "eu", "eviction-1")
        bad = [RefusedDoc("zone", "z", 4, "odd"), RefusedDoc("zone", "y", 4, "odd")]
        grid_facts.put_aside(tx, "eu", bad, [], now)
        grid_facts.put_aside(tx, "eu", bad[:1], [("zone", "y")], now)
        assert grid_facts.aside(tx, "eu") == {("zone", "z"): "odd"}
        grid_facts.put_aside(tx, "eu", (), None, now)
        assert not grid_facts.any_aside(tx, "eu")


def test_what_is_known_for_policies_and_sign_on(cloud):
    now = cloud.around.clock.now()
    with cloud.database.write() as tx:
        body = {"account": "root/root", "image": "tiny", "public": True, "at": ["us"],
                "labels": [], "versions": 1, "upto": 0}  # fmt: skip
        facts = [
            Fact(kind=FactKind.POLICY, key="root/root|tiny", version=1, body=body),
            Fact(kind=FactKind.KEY, key="signkey-1", version=2, body={"public": "p"}),
            Fact(kind=FactKind.REVOKED, key="m", version=3, body={"before": now.isoformat()}),
        ]
        grid_facts.put(tx, "eu", facts)
        assert policies.told(tx) == {"eu": [body]}
        assert image_policies.lacked(tx, "us", now) == []
        ((key, here),) = policies.here(tx, ["tiny"]).items()
        assert (key[1:], here.failed_at) == (("tiny", 1), None)
        assert sign_on.public_key(tx, "eu", "signkey-1") == "p"
        assert sign_on.public_key(tx, "us", "signkey-1") is None
        assert sign_on.taken_back(tx, "eu", ["m", "n"]) == [now]
        assert not sign_on.revoked_before(tx, now)
        assert images.unused_parts(tx, now) == []
