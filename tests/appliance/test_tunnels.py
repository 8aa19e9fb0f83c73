"""VPNs: what a router is not made from, what passes, what stays of it, and what WireGuard is told."""

import pytest

from appliance import make_wishes as make
from appliance.test_connections import connection
from appliance.test_haproxy import balancer
from arable.appliance import wireguard
from arable.appliance.connections import stays
from arable.appliance.nftables import ruleset
from arable.appliance.router import router
from arable.domain.errors import BadInput
from arable.domain.ids import BalancerId
from arable.domain.manifest import Direction, Protocol
from arable.domain.vpn import VpnOpening

HERE, THERE, LAPTOP = "10.1.1.10", "172.21.0.20", "172.22.0.2"
BOTH = {"vpns": (make.vpn(), make.access())}
SITE, ACCESS = "vabcdefghijk", "vlmnopqrstuv"


def from_afar(source=THERE, **but):
    ends = {"source": source, "target": HERE, "answers_from": HERE, "answers_to": source}
    return connection(**ends | {"port": 22, "answers_from_port": 22} | but)


def to_afar(target=THERE, **but):
    ends = {"source": HERE, "target": target, "answers_from": target, "answers_to": HERE}
    return connection(**ends | {"port": 443, "answers_from_port": 443} | but)


def test_from_a_site_comes_what_is_admitted_and_from_a_client_all_of_it() -> None:
    text = ruleset(router(make.wish(**BOTH)))
    assert (
        f"chain {SITE} {{\n    ip saddr 0.0.0.0/0 meta l4proto tcp th dport 22 accept\n  }}" in text
    )
    assert f"chain {ACCESS} {{\n    ip saddr 0.0.0.0/0 accept\n  }}" in text
    assert (
        f'iifname "{SITE}" oifname "eth0" ip saddr {{ 172.21.0.0/24 }} ip daddr 10.1.1.0/24 jump {SITE}'
        in text
    )
    assert 'iifname "eth2" ip daddr 203.0.113.10 udp dport 51820 accept' in text
    for name in (SITE, ACCESS):
        assert f'iifname "{name}" oifname "eth2"' not in text, "no way on"
        assert f'iifname "{name}" oifname "v' not in text
    _, _, asked = text.partition("chain to_router")
    assert (
        f'iifname "{ACCESS}" ip saddr {{ 172.22.0.0/24 }} ip daddr 10.1.1.1 meta l4proto' in asked
    )
    assert (
        f'iifname "{SITE}" ip saddr {{ 172.21.0.0/24 }} ip daddr 10.1.1.1 meta l4proto' not in asked
    )


def test_a_site_calls_an_inner_balancer_where_it_may_begin_and_no_other() -> None:
    inners = tuple(
        balancer(id=BalancerId(f"balancer-{port}"), public="", port=port) for port in (22, 23)
    )
    _, _, asked = ruleset(router(make.wish(**BOTH, inners=inners))).partition("chain to_router")
    behind = f'iifname "{SITE}" ip saddr {{ 172.21.0.0/24 }} ip saddr 0.0.0.0/0 ip daddr 10.1.1.1'
    assert f"{behind} ip saddr 0.0.0.0/0 tcp dport 22 accept" in asked
    assert "tcp dport 23 accept" in asked, "its own network calls it"
    assert not [line for line in asked.splitlines() if SITE in line and "dport 23" in line]


def test_a_vpn_of_a_further_address_calls_by_that_one() -> None:
    own = ruleset(router(make.wish(vpns=(make.vpn(),))))
    further = ruleset(router(make.wish(vpns=(make.vpn(public="203.0.113.11"),))))
    assert "udp sport 51820" not in own
    assert "ip saddr 203.0.113.10 udp sport 51820 snat ip to 203.0.113.11" in further


def test_a_connection_from_afar_stays_while_it_is_admitted() -> None:
    assert stays(router(make.wish(**BOTH)), from_afar())
    assert stays(router(make.wish(**BOTH)), from_afar(LAPTOP, port=9))
    for vpns in (
        (),
        (make.vpn(openings=()),),
        (make.vpn(openings=(VpnOpening(protocol=Protocol.UDP),)),),
        (make.vpn(openings=(VpnOpening(cidr="172.21.0.0/28"),)),),
        (make.vpn(peers=()),),
    ):
        assert not stays(router(make.wish(vpns=vpns)), from_afar()), vpns


def test_who_is_revoked_is_cut_off_both_ways() -> None:
    revoked = router(make.wish(vpns=(make.access(peers=()),)))
    assert stays(router(make.wish(**BOTH)), to_afar(LAPTOP))
    assert not stays(revoked, from_afar(LAPTOP))
    assert not stays(revoked, to_afar(LAPTOP))
    assert not stays(router(make.wish()), to_afar(LAPTOP))


def test_what_leaves_by_a_tunnel_is_judged_as_what_leaves_at_all() -> None:
    assert stays(router(make.wish(**BOTH)), to_afar())
    outward = {"direction": Direction.OUT, "public": "", "first_port": 443, "last_port": 443}
    only = {"firewall": (make.opening(**outward),)}
    assert stays(router(make.wish(**BOTH | only)), to_afar())
    assert not stays(router(make.wish(**BOTH | only)), to_afar(port=80))
    translated = to_afar(answers_to="203.0.113.10")
    assert not stays(router(make.wish(**BOTH)), translated), "it began before there was a tunnel"


def test_wireguard_is_told_who_is_there_and_who_is_not_any_more() -> None:
    (tunnel,) = router(make.wish(vpns=(make.vpn(),))).tunnels
    peer = tunnel.peers[0].public_key.hex()
    held = {peer: wireguard.Held(), "aa" * 32: wireguard.Held()}
    said = wireguard.orders(tunnel, held).splitlines()
    assert said[:3] == ["set=1", f"private_key={tunnel.key.hex()}", "listen_port=51820"]
    assert said[3:5] == [f"public_key={'aa' * 32}", "remove=true"]
    assert said.count(f"public_key={peer}") == 1
    assert "replace_peers=true" not in said, "whoever stays notices nothing"
    assert "endpoint=198.51.100.7:51820" in said
    assert f"preshared_key={'00' * 32}" in said


def test_a_peer_with_two_keys_is_led_to_by_the_one_that_was_heard_last() -> None:
    other = "C" * 42 + "E="
    (tunnel,) = router(make.wish(vpns=(make.vpn(peers=(make.peer(next_key=other),)),))).tunnels
    old, new = tunnel.peers[0].keys

    def led(**heard: int) -> dict[str, bool]:
        held = {key: wireguard.Held(heard_at=heard[name]) for name, key in (("old", old), ("new", new)) if name in heard}  # fmt: skip
        said = wireguard.orders(tunnel, held)
        return {key: "allowed_ip=" in said.split(f"public_key={key}")[1].split("public_key=")[0] for key in (old, new)}  # fmt: skip

    assert led() == {old: True, new: False}
    assert led(old=5, new=0) == {old: True, new: False}
    assert led(old=5, new=6) == {old: False, new: True}
    turned = wireguard.turn(new, ["172.21.0.0/24"])
    assert (
        turned == f"set=1\npublic_key={new}\nreplace_allowed_ips=true\nallowed_ip=172.21.0.0/24\n\n"
    )


def test_what_wireguard_answers_is_read() -> None:
    answer = "private_key=00\nlisten_port=1\npublic_key=aa\nendpoint=198.51.100.7:9\nlast_handshake_time_sec=1000\ntx_bytes=5\nrx_bytes=7\nallowed_ip=10.0.0.0/8\npublic_key=bb\nerrno=0\n\n"
    held = wireguard.held(answer)
    assert sorted(held) == ["aa", "bb"]
    there = held["aa"].seen(make.peer().id, 1179)
    assert (there.up, there.endpoint, there.received_bytes) == (True, "198.51.100.7:9", 7)
    assert not held["aa"].seen(make.peer().id, 1180).up
    assert not held["bb"].seen(make.peer().id, 100).up, "it never was there"


def test_no_key_is_shown_by_accident() -> None:
    made = router(make.wish(vpns=(make.vpn(peers=(make.peer(preshared=make.KEYS[0]),)),)))
    assert repr(made.tunnels[0].key)[2:-1] not in repr(made)
    assert make.KEYS[0] not in repr(make.vpn(peers=(make.peer(preshared=make.KEYS[0]),)))


@pytest.mark.parametrize(
    "but",
    [
        {"vpns": (make.vpn(), make.access(port=51820))},
        {"vpns": (make.vpn(), make.vpn(port=51821))},
        {"vpns": (make.vpn(port=53),)},
        {"vpns": (make.vpn(key=""),)},
        {"vpns": (make.vpn(key=make.KEYS[0].replace("E=", "F=")),)},
        {"vpns": (make.vpn(public="203.0.113.12"),)},
        {"vpns": (make.vpn(peers=(make.peer(cidrs=("10.1.0.0/16",)),)),)},
        {"vpns": (make.vpn(peers=(make.peer(cidrs=("0.0.0.0/0",)),)),)},
        {"vpns": (make.vpn(peers=(make.peer(cidrs=("169.0.0.0/8",)),)),)},
        {"vpns": (make.vpn(peers=(make.peer(cidrs=("203.0.113.0/24",)),)),)},
        {"vpns": (make.vpn(peers=(make.peer(cidrs=("198.51.100.0/24",)),)),)},
        {"vpns": (make.vpn(peers=(make.peer(cidrs=("172.21.0.0/24", "172.21.0.0/25")),)),)},
        {"vpns": (make.vpn(peers=(make.peer(endpoint="198.51.100.7:0"),)),)},
        {"vpns": (make.vpn(), make.access(cidr="172.21.0.0/16"))},
        {"vpns": (make.access(cidr="172.22.0.0/31"),)},
        {"vpns": (make.access(cidr="172.23.0.0/24"),)},
        {"vpns": (make.access(peers=(make.peer(cidrs=("172.22.0.1/32",)),)),)},
        {
            "vpns": (
                make.vpn(openings=(VpnOpening(protocol=Protocol.ICMP, first_port=1, last_port=1),)),
            )
        },
        {
            "vpns": (make.vpn(peers=(make.peer(cidrs=("10.1.2.0/24",)),)),),
            "link": make.link(),
        },
        {
            "vpns": (make.vpn(),),
            "forwards": (make.forward(protocol=Protocol.UDP, first_port=51000, last_port=52000),),
        },
        {"vpns": (make.vpn(public="203.0.113.11"),), "statics": (make.static(),)},
        {"vpns": (make.vpn(),), "public": None},
    ],
    ids=str,
)
def test_a_wish_that_can_not_be_is_refused(but) -> None:
    with pytest.raises(BadInput):
        router(make.wish(**but))


def test_a_forward_of_another_protocol_is_not_in_the_way() -> None:
    beside = make.forward(first_port=51000, last_port=52000)
    assert router(make.wish(vpns=(make.vpn(),), forwards=(beside,))).tunnels
