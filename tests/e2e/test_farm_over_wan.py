"""A farm in two regions with machines that are real: caches in London fetch at an origin in San Jose, and go on without it."""

import http.client
import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from arable.drivers.namespaces import inside
from arable.lab import fail, topology
from arable.lab.blueprints import BLUEPRINTS, DISKS
from arable.lab.topology import WAN
from arable.processes import up
from arable.processes.up import Cloud, Wanted
from arable.runtime.clock import RealClock
from arable.wire.balancers import BalancerQuery
from arable.wire.farms import FarmRegionOut
from arable.wire.regions import FederationIn
from arable.wire.settings import SettingsChange
from arable.wire.tiers import TierOut
from arable.wire.volumes import AttachVolumeIn, DetachVolumeIn, VolumeChange, VolumeIn
from arable.wire.vpns import VpnOut
from cli.command_line import Arable as CommandLine
from e2e.customers import Customer, customer
from e2e.patience import until

pytestmark = pytest.mark.real
log = logging.getLogger(__name__)

EXAMPLE = up.EXAMPLES / "content-distribution.yaml"
ON_IT = "what San Jose published\n"
SAN_JOSE, NEW_YORK, LONDON = "san-jose", "new-york", "london"


def two_of_three() -> str:
    """The lab of three regions without New York."""
    text = (up.EXAMPLES / "three-regions.yaml").read_text()
    first, second = text.index(f"  - name: {NEW_YORK}"), text.index(f"  - name: {LONDON}")
    return text[:first] + text[second:]


class Far:
    """It is up."""

    def __init__(self, made: Cloud, acme: dict[str, Customer]) -> None:
        self.made, self.acme = made, acme

    def fetched(self, name: str) -> tuple[int, str, str]:
        """What London's way in answers to somebody outside: status, whether it was kept, and the page."""
        (door,) = self.acme[LONDON].api.balancers.all(BalancerQuery(name="content-london-80"))
        assert self.made.site
        assert door.public
        where = (door.public, 80)
        netns = self.made.site.place.namespace("internet")
        talk = http.client.HTTPConnection(*where)
        talk.sock = inside(netns, lambda: socket.create_connection(where, 60))
        try:
            talk.request("GET", f"/?{name}")
            answer = talk.getresponse()
            return answer.status, answer.getheader("X-Cache", ""), answer.read().decode()
        finally:
            talk.close()

    def caches(self) -> TierOut:
        (tier,) = self.acme[LONDON].api.tiers.all()
        return tier

    def vpn(self, region: str) -> VpnOut:
        (found,) = self.acme[region].api.vpns.all()
        return found


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    wanted = Wanted(
        data=tmp_path_factory.mktemp("far"),
        topology=topology.parse(two_of_three()),
        api="127.0.0.1:0",
    )
    with ExitStack() as stack:
        made = stack.enter_context(up.cloud(wanted, RealClock(), lambda _line: None))
        acme = {}
        for region in wanted.topology.regions:
            operator = stack.enter_context(made.operator_of(region))
            operator.settings.update(SettingsChange(values={"grid_seconds": 1}))
            acme[region.name] = customer(operator, made.ready[region.name].api, "acme")
            stack.callback(acme[region.name].close)
            other = SAN_JOSE if region.name == LONDON else LONDON
            operator.accounts.federate(acme[region.name].account, FederationIn(origins=(other,)))
        yield Far(made, acme)


def test_caches_in_another_region_fetch_through_the_vpn_and_go_on_without_it(
    far: Far, tmp_path: Path
) -> None:
    site = far.made.site
    assert site
    home, london = far.acme[SAN_JOSE], far.acme[LONDON]
    caches_read_a_volume(home)
    document = tmp_path / "content.yaml"
    said = EXAMPLE.read_text().replace("blueprint: cache", "blueprint: library").splitlines()
    document.write_text("\n".join(line for line in said if NEW_YORK not in line or line[0] == "#"))
    arable = CommandLine(tmp_path, {"ARABLE_URL": home.url, "ARABLE_TOKEN": home.token})
    arable("farm", "apply", "-f", str(document), "--timeout", "600")
    assert (part(home).region, part(home).state) == (LONDON, "ready")
    assert [(each.name, each.serving) for each in part(home).tiers] == [("london", 2)]

    # What a cache does not have it is told by the origin, through the VPN; from then on it has it.
    def reached() -> bool:
        return far.fetched("first")[0] == 200

    until(reached, "a cache reaches the origin", 120)
    assert far.fetched("logo")[2] == "origin 1 of content\n"
    until(lambda: {far.fetched("logo")[1] for _ in range(4)} == {"kept"}, "both caches have it")
    assert far.vpn(LONDON).peer_key == far.vpn(SAN_JOSE).public_key

    # What is on San Jose's volume they have on a disk of their own, to which they can't write.
    cache = london.at("content-london-1")
    assert cache.run(f"head -c {len(ON_IT)} /dev/sda; cat /sys/block/sda/ro") == f"{ON_IT}1\n"

    # Nothing else passes: the origin's machines can't be called by other ports, nor London's from there.
    inner = far.vpn(LONDON).peer_cidrs[0].removesuffix(".0/24")
    assert "shut" in cache.run(f"timeout 5 nc {inner}.1 22 < /dev/null && echo open || echo shut")

    # Both ends get other keys, and the way stays; what was lost of a ping each second is in the log.
    keys = {region: far.vpn(region).public_key for region in (SAN_JOSE, LONDON)}
    arable("farm", "rotate-keys", "content", "--no-wait")
    log.info("%s", cache.run(f"ping -c 45 {inner}.1 | tail -n 2"))
    until(
        lambda: all(far.vpn(region).public_key != keys[region] for region in keys),
        "both have another key",
    )
    assert far.vpn(LONDON).peer_key == far.vpn(SAN_JOSE).public_key
    until(lambda: far.fetched("second")[0] == 200, "the origin is reached by the new keys")

    # San Jose is cut off, for people and for management. What the caches have they serve on.
    for link in ("sjc1.public", f"{SAN_JOSE}.{WAN}"):
        fail.cut(site, link)
    try:
        assert far.fetched("logo")[1:] == ("kept", "origin 1 of content\n")
        before = {each.name: each.machine for each in far.caches().elements}
        cache.run("killall httpd")
        london.hang_up()

        def healed() -> bool:
            tier = far.caches()
            now = {each.name: each.machine for each in tier.elements}
            return tier.serving == 2 and now["content-london-1"] != before["content-london-1"]

        until(healed, "London heals its caches by itself", 300)
        until(lambda: "can't be reached" in part(home).told, "it is told")
        assert part(home).heard_at is not None
    finally:
        for link in ("sjc1.public", f"{SAN_JOSE}.{WAN}"):
            fail.mend(site, link)

    # The one that is new fetches again, since the way is there again; and all of it goes.
    until(lambda: {far.fetched("logo")[1] for _ in range(4)} == {"kept"}, "both have it again", 300)
    arable("farm", "delete", "content", "--timeout", "600")
    assert not [each for each in london.api.farms.all() if each.name == "content"]


def caches_read_a_volume(home: Customer) -> None:
    """Somebody at home writes on it and shares it, and a blueprint for caches names it."""
    api = home.api
    home.wait(home.deploy("editor"))
    volume = api.volumes.create(VolumeIn(name="catalogue", offering=DISKS, mib=4)).id
    home.wait(api.volumes.attach(volume, AttachVolumeIn(machine=home.machine("editor").id)).id)
    editor = home.at("editor")
    editor.run("while [ ! -b /dev/sda ]; do sleep 1; done")
    editor.run(f"printf '%s' '{ON_IT}' | dd of=/dev/sda conv=notrunc,fsync 2>/dev/null")
    home.wait(api.volumes.detach(volume, DetachVolumeIn()).id)
    home.hang_up()
    api.volumes.update(volume, VolumeChange(storage_zone=None))
    api.volumes.update(volume, VolumeChange(share="read-only"))
    (cache,) = (each for each in BLUEPRINTS if each.name == "cache")
    api.blueprints.create(
        msgspec.structs.replace(cache, name="library", public=False, reads=("catalogue",))
    )


def part(home: Customer) -> FarmRegionOut:
    """London's, as San Jose tells of it."""
    (found,) = [each for each in home.api.farms.all() if each.name == "content"]
    return found.regions[0]
