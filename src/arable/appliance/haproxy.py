"""Configuration of haproxy: the balancers of one guest network, and nothing else.

In two parts, as with dnsmasq. Servers and their weights are changed in the running process; any other change is a new
configuration, which a new process takes over with the listening sockets of the old one, so that no connection is
refused meanwhile. The old one serves its connections to their end, for an hour at most.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

from arable.appliance.balancing import Balanced, Server
from arable.domain.balancer import Algorithm, Check, Stickiness, Traffic

ADMIN, MASTER, PID, STATE = "admin.sock", "master.sock", "haproxy.pid", "servers.state"
COOKIE = "ARABLE"
HURRY = 4
"""So many times as often a server is looked at that does not answer: somebody may wait for it."""

_SELF = "127.0.0.1:10240"  # where the new process gets the table of who was where from the old one
_BALANCE = {
    Algorithm.ROUND_ROBIN: "roundrobin",
    Algorithm.LEAST_CONNECTIONS: "leastconn",
    Algorithm.SOURCE: "source",
}


def configuration(balancers: tuple[Balanced, ...], folder: PurePosixPath) -> str:
    """What haproxy is started with. `folder` is where it finds its files."""
    return _text(_lines(balancers, folder, servers=True))


def frame(balancers: tuple[Balanced, ...], folder: PurePosixPath) -> str:
    """All of it that can't be changed in a running process: without the servers."""
    return _text(_lines(balancers, folder, servers=False))


def certificate(balanced: Balanced) -> str:
    """The file of a balancer's certificate and key."""
    return f"{balanced.id}.pem"


def server(balanced: Balanced, server: Server) -> str:
    """A server as it is said, in a configuration and to a running process alike."""
    check = balanced.check
    return f"{server.to}:{server.port} weight {server.weight} check {_pace(check)}"


def _pace(check: Check) -> str:
    """How often a server is looked at. One that does not answer: until its first check has passed, more often."""
    down = 1000 * check.interval // HURRY
    return f"inter {check.interval}s downinter {down}ms rise {check.rise} fall {check.fall}"


def _text(lines: Iterator[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _lines(
    balancers: tuple[Balanced, ...], folder: PurePosixPath, *, servers: bool
) -> Iterator[str]:
    yield from (
        "global",
        "    nbthread 1",  # one customer's balancers hold one core at most
        "    maxconn 4000",
        "    no strict-limits",
        "    hard-stop-after 1h",
        f"    stats socket {folder / ADMIN} mode 600 level admin expose-fd listeners",
        f"    server-state-file {folder / STATE}",
        "    localpeer self",
        "    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets",
        "defaults",
        "    timeout connect 5s",
        "    timeout client 5m",
        "    timeout server 5m",
        "    timeout tunnel 1h",
        "    timeout http-request 30s",
        "    timeout http-keep-alive 1m",
        "    timeout queue 30s",
        "    retries 3",
        "    option redispatch 1",
        "    load-server-state-from-file global",
        "peers self",
        f"    peer self {_SELF}",
    )
    for each in balancers:
        if each.port:
            yield from _frontend(each, folder)
        yield from _backend(each)
        if servers:
            for one in each.servers:
                yield f"    server {one.nic} {server(each, one)}"


def _frontend(each: Balanced, folder: PurePosixPath) -> Iterator[str]:
    yield f"frontend {each.id}"
    yield f"    mode {each.traffic}"
    how = ""
    if each.pem:
        how = f" ssl crt {folder / certificate(each)}"
        how += " alpn h2,http/1.1" if each.traffic is Traffic.HTTP else ""
    yield f"    bind {each.at}:{each.port}{how}"
    if each.at6:
        yield f"    bind [{each.at6}]:{each.port}{how}"
    if each.traffic is Traffic.HTTP:
        yield "    option forwardfor"
        yield f"    http-request set-header X-Forwarded-Proto {'https' if each.pem else 'http'}"
    yield f"    default_backend {each.id}"


def _backend(each: Balanced) -> Iterator[str]:
    check = each.check
    yield f"backend {each.id}"
    yield f"    mode {each.traffic}"
    yield f"    balance {_BALANCE[each.algorithm]}"
    if each.algorithm is Algorithm.SOURCE:
        yield "    hash-type consistent"  # so that weights can change while it runs
    if each.stickiness is Stickiness.SOURCE:
        kind = "ipv6" if each.at6 else "ip"  # that of IPv6 has room for both
        yield f"    stick-table type {kind} size 100k expire 30m peers self"
        yield "    stick on src"
    if each.stickiness is Stickiness.COOKIE:
        yield f"    dynamic-cookie-key {each.id}"
        secure = " secure" if each.pem else ""
        yield f"    cookie {COOKIE} insert indirect nocache httponly{secure} dynamic"
    yield f"    timeout check {check.timeout}s"
    if check.kind is Traffic.HTTP:
        yield "    option httpchk"
        yield f"    http-check send meth GET uri {check.path} ver HTTP/1.1 hdr Host {each.at}"
        yield f"    http-check expect status {check.lowest_status}-{check.highest_status}"
    # How its servers are checked is said with each of them: part of what makes a new process.
    yield f"    default-server {_pace(check)}"
