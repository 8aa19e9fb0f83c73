# ruff: noqa: F811 - fixtures of another module are named as arguments
"""Balancers of a real appliance, and static NAT, judged by who calls from outside and who answers within."""

import os
import pwd
import signal
import ssl
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from arable.domain.balancer import (
    Algorithm,
    BalancerWish,
    Check,
    MemberSeen,
    MemberWish,
    Stickiness,
    Traffic,
)
from arable.domain.ids import BalancerId, NicId
from arable.domain.manifest import Direction, FirewallRule, Protocol, PublicPort, StaticNat
from arable.drivers.appliance import jail
from drivers import make_drivers as make
from drivers import services
from drivers import web as w
from drivers.emulated_hosts import reaches
from drivers.town import PUBLIC, Town
from drivers.town_fixtures import WORLD, hosts, runtime, town, world  # noqa: F401 - fixtures

pytestmark = pytest.mark.real

QUICK = Check(kind=Traffic.HTTP, path="/health", interval=1, timeout=1, rise=1, fall=1)


def balancer(**but) -> BalancerWish:
    usual = {
        "id": BalancerId(make.fresh("balancer")),
        "public": PUBLIC,
        "port": 80,
        "traffic": Traffic.HTTP,
        "check": QUICK,
    }
    return BalancerWish(**usual | but)


def member(town: Town, number: int, weight: int = 1) -> MemberWish:
    nic = next(lease.nic for lease in town.leases if lease.address == f"10.1.1.{number}")
    return MemberWish(nic=NicId(nic), to=f"10.1.1.{number}", port=80, weight=weight)


def state(town: Town) -> dict[str, bool]:
    """Which members are up, by nic."""
    return {one.nic: one.up for each in town.routers.balancers() for one in each.members}


def sight(town: Town, one: MemberWish, of: BalancerWish | None = None) -> MemberSeen:
    """A member of a balancer, or of the only one that has it."""
    (found,) = (
        each
        for told in town.routers.balancers()
        if of is None or told.id == of.id
        for each in told.members
        if each.nic == one.nic
    )
    return found


def test_two_web_machines_behind_a_balancer(town, world) -> None:
    one, two = town.guest(10), town.guest(11)
    chain, key = w.certificate("shop.example.org")
    tls = ssl.create_default_context(cadata=chain)
    with w.web(one, "10.1.1.10", 80, "one") as first, w.web(two, "10.1.1.11", 80, "two") as second:
        members = (member(town, 10), member(town, 11))
        plain = balancer(members=members)
        sticky = balancer(
            port=443, members=members, stickiness=Stickiness.COOKIE, certificate=chain, key=key
        )
        by_address = balancer(
            port=81, members=members, algorithm=Algorithm.SOURCE, stickiness=Stickiness.SOURCE
        )
        town.program(balancers=(plain, sticky, by_address))
        make.wait_until(lambda: len(state(town)) == 2 and all(state(town).values()), "members up")

        # It spreads, says whose request it is, and comes back to who is sticky.
        said = [w.request(world, PUBLIC, 80)[0] for _ in range(6)]
        assert sorted(set(said)) == ["one", "two"]
        assert first.heard[f"from {WORLD}"] == 3
        assert first.heard["by http"] == 3
        assert len({w.request(world, PUBLIC, 81)[0] for _ in range(6)}) == 1
        whose, cookie = w.request(world, PUBLIC, 443, tls=tls, name="shop.example.org")
        assert cookie.startswith("ARABLE=")
        for _ in range(4):
            again = w.request(world, PUBLIC, 443, cookie, tls, "shop.example.org")
            assert again == (whose, "")

        # It has no power, and nobody but its own user reads the key.
        folder = town.routers._folder(town.wish.network) / "haproxy"
        pem = folder / f"{sticky.id}.pem"
        assert pem.stat().st_mode & 0o777 == 0o600
        running = jail.running(town.netns, "haproxy")
        assert len(running) == 2, "a master and a worker"
        for pid in running:
            status = Path(f"/proc/{pid}/status").read_text()
            assert "CapEff:\t0000000000000000" in status
            assert "Uid:\t0\t" not in status
            assert key.splitlines()[1].encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()

        with w.calling(world, PUBLIC, 80) as callers:
            callers.more(20)
            # A member drains: who has its cookie keeps it, nobody new comes.
            rest = (member(town, 10, weight=0), member(town, 11))
            town.program(balancers=(plain, replace(sticky, members=rest), by_address))
            new = {
                w.request(world, PUBLIC, 443, tls=tls, name="shop.example.org") for _ in range(6)
            }
            assert {who for who, _ in new} == {"two"}
            assert w.request(world, PUBLIC, 443, cookie, tls, "shop.example.org")[0] == whose
            # Members come and go, and then all else changes; nobody who calls notices.
            three = town.guest(12)
            with w.web(three, "10.1.1.12", 80, "three"):
                master = jail.runs(town.netns, folder / "haproxy.pid")
                workers = set(jail.running(town.netns, "haproxy"))
                grown = replace(plain, members=(*members, member(town, 12)))
                town.program(balancers=(grown, sticky, by_address))
                make.wait_until(lambda: callers.answered["three"] > 0, "the third member")
                assert set(jail.running(town.netns, "haproxy")) == workers, "the same processes"
                town.program(balancers=(plain, sticky, by_address))
                callers.more(20)
                town.program(
                    balancers=(
                        replace(plain, algorithm=Algorithm.LEAST_CONNECTIONS),
                        sticky,
                        balancer(port=82, members=members, traffic=Traffic.TCP, check=Check()),
                    )
                )
                callers.more(20)
                assert jail.runs(town.netns, folder / "haproxy.pid") == master
                before = callers.answered["three"]
                callers.more(20)
                assert callers.answered["three"] == before
            assert callers.failed == []
            # One is killed: after the check has found that, no request fails.
            second.kill()
            make.wait_until(lambda: not sight(town, members[1], plain).up, "the check to fail")
            callers.failed.clear()
            callers.more(50)
            assert callers.failed == []
        assert services.is_closed(world, PUBLIC, 81), "that balancer is gone"

        # Its master is killed: seen, and mended.
        os.kill(master, signal.SIGKILL)
        make.wait_until(
            lambda: not town.routers.appliances()[town.wish.network].running, "that it is seen"
        )
        assert "balancer" in town.routers.appliances()[town.wish.network].told
        town.program()
        assert w.request(world, PUBLIC, 80)[0] == "one"
        (seen,) = (each for each in town.routers.balancers() if each.id == plain.id)
        assert seen.requests == 1
        assert seen.sent_bytes > 0

        # Who may not use it does not reach it; without balancers nothing runs and no key is left.
        town.program(balancers=(replace(plain, cidr="198.51.100.0/24"),))
        assert services.is_closed(world, PUBLIC, 80)
        assert not pem.exists()
        town.program(balancers=())
        assert not jail.running(town.netns, "haproxy")
        assert not folder.exists()


def test_nobody_is_let_in_before_its_own_check_has_passed(town, world) -> None:
    one, two, three = (town.guest(number) for number in (10, 11, 12))
    first, second, third = (member(town, number) for number in (10, 11, 12))
    with (
        w.web(one, "10.1.1.10", 80, "one") as served,
        w.web(two, "10.1.1.11", 80, "two") as late,
        w.web(three, "10.1.1.12", 80, "three") as ill,
    ):
        late.healthy = ill.healthy = False  # they would answer, whoever let requests through
        lines = balancer(port=82, traffic=Traffic.TCP, members=(first,))
        shop = balancer(members=(first,))
        town.program(balancers=(shop, lines))
        make.wait_until(lambda: state(town).get(first.nic), "the first member")
        with w.calling(world, PUBLIC, 80) as callers:
            callers.more(5)
            # One joins the running process.
            town.program(balancers=(replace(shop, members=(first, second)), lines))
            assert sight(town, second).up is False
            callers.more(20)
            make.wait_until(lambda: sight(town, second).well is False, "its check")
            # Another joins with a new process, which knows of the first two what the old one knew.
            both = replace(shop, members=(first, second, third))
            changed = replace(both, algorithm=Algorithm.LEAST_CONNECTIONS)
            town.program(balancers=(changed, lines))
            assert (sight(town, second).up, sight(town, third).up) == (False, False)
            callers.more(20)
            # One is known by its name, and is another machine now.
            moved = replace(third, port=81)
            town.program(balancers=(replace(changed, members=(first, second, moved)), lines))
            callers.more(20)
            assert callers.answered.keys() == {"one"}
            # It answers its checks: in it comes, and nobody had to say so.
            late.healthy = True
            make.wait_until(lambda: callers.answered["two"] > 0, "the second member")
            assert sight(town, second).well is True
            assert callers.answered.keys() == {"one", "two"}
            assert callers.failed == []
        # One that drains says that its new weight counts, and who is still there, in one look.
        with w.line(world, PUBLIC, 82):
            make.wait_until(lambda: sight(town, first, lines).sessions == 1, "its caller")
            town.program(balancers=(shop, replace(lines, members=(replace(first, weight=0),))))
            # The process is another one, whose master is not ready to speak of the old one at once.
            make.wait_until(town.routers.balancers, "that it is told")
            drained = sight(town, first, lines)
            assert (drained.weight, drained.sessions, drained.well) == (0, 1, True)
        make.wait_until(lambda: sight(town, first, lines).sessions == 0, "its end")
        assert served.heard["/"] > 0
        assert ill.heard["/"] == 0


def test_a_process_that_begins_anew_knows_whose_checks_failed(town, world) -> None:
    one, two = (town.guest(number) for number in (10, 11))
    first, second = (member(town, number) for number in (10, 11))
    with w.web(one, "10.1.1.10", 80, "one"), w.web(two, "10.1.1.11", 80, "two") as ill:
        # Rarely looked at when it is well: until the next look it would be used.
        rare = replace(QUICK, interval=20)
        shop = balancer(members=(first, second), check=rare)
        ill.healthy = False
        town.program(balancers=(shop,))
        make.wait_until(lambda: sight(town, second).well is False, "its check")
        for pid in jail.running(town.netns, "haproxy"):
            jail.end(pid)
        asked = ill.heard["/"]
        town.program(balancers=(shop,))
        assert (sight(town, first).up, sight(town, second).up) == (True, False)
        with w.calling(world, PUBLIC, 80) as callers:
            callers.more(30)
            assert callers.answered.keys() == {"one"}
        assert ill.heard["/"] == asked
        ill.healthy = True
        make.wait_until(lambda: sight(town, second).up, "that its check lets it in")


def test_an_address_is_wholly_a_machines_both_ways(town, world) -> None:
    own = "203.0.113.77"
    guest, other = town.guest(10), town.guest(11)
    opening = FirewallRule(
        direction=Direction.IN, protocol=Protocol.TCP, cidr="0.0.0.0/0", public=own, first_port=7, last_port=7
    )  # fmt: skip
    public = PublicPort(vlan=50, address=PUBLIC, prefix=24, gateway=WORLD, further=(own,))
    town.program(public=public, statics=(StaticNat(public=own, to="10.1.1.10"),), firewall=(opening,))  # fmt: skip
    with services.echo(world, WORLD, 7000) as far:
        assert services.answers(guest, WORLD, 7000)
        assert services.answers(other, WORLD, 7000)
        assert far.callers == [own, PUBLIC]
    with services.echo(guest, "10.1.1.10", 7) as near, services.echo(guest, "10.1.1.10", 8):
        assert services.answers(world, own, 7)
        assert near.callers == [WORLD]
        assert services.answers(other, own, 7), "from within, too"
        assert services.is_closed(world, own, 8)
        kept = services.call(world, own, 7)
        assert services.says_back(kept)
        town.program(statics=())
        assert services.is_closed(world, own, 7)
        kept.settimeout(1)
        kept.sendall(b"still there?")
        with pytest.raises(TimeoutError):
            kept.recv(1)
        kept.close()
    assert reaches(guest, WORLD)


def test_no_balancer_is_in_anothers_power(hosts, town, tmp_path) -> None:
    town.guest(10)
    town.program(balancers=(balancer(members=(member(town, 10),)),))
    others = runtime(hosts[0], tmp_path / "others")
    public = replace(town.wish.public, address="203.0.113.11")
    wish = make.appliance(vlan=102, public=public, balancers=(balancer(public="203.0.113.11"),))
    try:
        others.ensure(wish, [])
        mine = jail.running(town.netns, "haproxy")
        theirs = jail.running(others.namespace(wish.network), "haproxy")
        (me,), (you,) = ({Path(f"/proc/{pid}").stat().st_uid for pid in pids} for pids in (mine, theirs))  # fmt: skip
        assert me != you
        assert not {me, you} & {user.pw_uid for user in pwd.getpwall()}

        def signals(user: int, pid: int) -> bool:
            become = ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups"]
            words = [*become, "busybox", "kill", "-0", str(pid)]
            return subprocess.run(words, check=False, capture_output=True).returncode == 0

        assert signals(me, mine[0])
        assert not signals(me, theirs[0])
    finally:
        others.remove(wish.network)
