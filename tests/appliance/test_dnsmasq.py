"""What dnsmasq is told says what was asked, and nothing that somebody slipped in."""

from ipaddress import IPv4Network
from pathlib import PurePosixPath

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance import make_wishes as make
from arable.appliance import dnsmasq
from arable.appliance.router import leases, router
from arable.domain.errors import BadInput

FOLDER = PurePosixPath("/appliance")

WORDS = {
    "interface",
    "except-interface",
    "bind-interfaces",
    "no-resolv",
    "no-poll",
    "no-hosts",
    "server",
    "domain-needed",
    "bogus-priv",
    "domain",
    "local",
    "addn-hosts",
    "dhcp-range",
    "dhcp-hostsfile",
    "dhcp-ignore",
    "dhcp-ignore-names",
    "dhcp-authoritative",
    "dhcp-lease-max",
    "dhcp-option",
    "dhcp-leasefile",
    "pid-file",
    "log-facility",
    "quiet-dhcp",
    "user",
    "group",
}


def parsed(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        word, _, value = line.partition("=")
        found.setdefault(word, []).append(value)
    return found


@settings(deadline=None)
@given(make.honest())
def test_the_configuration_reads_back_as_what_was_asked(wish) -> None:
    said = parsed(dnsmasq.configuration(router(wish), FOLDER, "dnsmasq"))
    cidr = IPv4Network(wish.cidr)
    assert set(said) <= WORDS
    assert said.get("server", []) == list(wish.resolvers)
    assert said["domain"] == [wish.domain.lower()]
    assert said["local"] == [f"/{wish.domain.lower()}/"]
    assert said["dhcp-range"] == [f"{cidr.network_address},static,{cidr.netmask},12h"]
    assert said["dhcp-option"] == [
        "tag:inner,option:router",
        "tag:inner,option:dns-server",
        "tag:!inner,option:router" + ("" if wish.isolated else f",{wish.gateway}"),
        f"tag:!inner,option:dns-server,{wish.gateway}",
        f"option:mtu,{wish.mtu}",
    ]
    assert said["interface"] == ["eth0"]
    assert said["dhcp-lease-max"] == [str(cidr.num_addresses)]


@settings(deadline=None)
@given(st.data(), make.cidrs())
def test_the_files_read_back_as_the_leases(data, cidr) -> None:
    made = router(make.wish(cidr=str(cidr), gateway=str(cidr[1])))
    asked = data.draw(make.leases_in(cidr))
    given_out = leases(made, asked)
    tag = {True: ("set:inner",), False: ()}
    wanted = {(one.mac, *tag[one.inner], one.address, one.name.lower()) for one in asked}
    rows = {tuple(line.split(",")) for line in dnsmasq.dhcp_hosts(given_out).splitlines()}
    assert rows == wanted
    names = {tuple(line.split(" ")) for line in dnsmasq.hosts(made, given_out).splitlines()}
    assert names == {(address, f"{name}.{made.domain}", name) for *_, address, name in wanted}


@settings(deadline=None, max_examples=400)
@given(st.sampled_from(make.FIELDS), make.HOSTILE)
def test_no_field_of_a_wish_adds_a_directive(field, text) -> None:
    usual = dnsmasq.configuration(router(make.wish(resolvers=("9.9.9.9",))), FOLDER, "dnsmasq")
    try:
        made = router(make.spoiled(make.wish(resolvers=("9.9.9.9",)), field, text))
    except BadInput:
        return
    said = dnsmasq.configuration(made, FOLDER, "dnsmasq")
    assert [line.partition("=")[0] for line in said.splitlines()] == [
        line.partition("=")[0] for line in usual.splitlines()
    ]


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(["mac", "address", "name"]), make.HOSTILE | st.text())
def test_no_field_of_a_lease_adds_a_line(field, text) -> None:
    made = router(make.wish())
    try:
        given_out = leases(made, [make.lease(**{field: text})])
    except BadInput:
        return
    (row,) = dnsmasq.dhcp_hosts(given_out).splitlines()
    assert len(row.split(",")) == 3
    (names,) = dnsmasq.hosts(made, given_out).splitlines()
    assert len(names.split(" ")) == 3
