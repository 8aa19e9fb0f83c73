"""What hosts ask: to join, to have their certificate renewed, to be told what they should run, for image bytes.

A host is not a caller with permissions. It may know what its own manifest names and nothing else, and it is who its
verified certificate says; the gateway has seen to that before anything here is called. What only the store knows is
asked here: whether the host still exists, and whether it was let in anew since it got that certificate (its epoch).
"""

import hashlib
import hmac
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

import msgspec

from arable.domain import ids
from arable.domain.errors import (
    BadInput,
    CloudError,
    Conflict,
    Forbidden,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from arable.domain.event import Event
from arable.domain.host import UNSHARED, Host, HostState, JoinToken, keeps_its_pool, measured
from arable.domain.ids import HostId, PoolId
from arable.domain.incarnation import is_later
from arable.domain.manifest import HostReport, Inventory, ItemKind
from arable.domain.pool import NBD, SHARED, Pool
from arable.domain.segment import SegmentState
from arable.domain.settings import (
    CPU_PERCENT,
    DISK_PERCENT,
    HOST_SILENT_SECONDS,
    IMAGE_CACHE_SECONDS,
    MEMORY_PERCENT,
    REPORT_SECONDS,
)
from arable.runtime import tokens
from arable.runtime.ca import DISKS_HOURS, HOST_HOURS, Authority, IdentityKind
from arable.runtime.succession import is_genuine
from arable.services.call import Surroundings
from arable.services.opened import opened
from arable.services.spread import Peer
from arable.store import (
    events,
    hosts,
    incarnations,
    join_tokens,
    leases,
    manifests,
    pods,
    pools,
    segments,
    settings,
    tunnels,
)
from arable.store.database import Tx
from arable.store.nudges import nudge
from arable.wire.agent import VERSION, Change, Hello, Item, JoinIn, JoinOut, RenewIn
from arable.wire.common import NAME_PATTERN

log = logging.getLogger(__name__)

Greeting = tuple[HostId, Hello, int]
"""Whom the certificate names, what they say, and the certificate's epoch."""
Settle = Callable[[Tx, Sequence[HostReport], datetime], None]
"""Makes what hosts report what the cloud knows (`controllers/settle.py`; services know no controllers)."""

THERE: Final = timedelta(seconds=20)
"""How old the heartbeat of a server may be to which agents are sent: one that is not there costs them a try."""
STRANGER: Final = "this host is not known here; it was removed, or never joined"
REPLACED: Final = "a newer certificate of this host has taken this one's place; join anew"
GIVEN_UP: Final = "a later database has taken the place of this one; go to its servers"
_NO_ENTRY: Final = "this join token does not count: it is unknown, was used, or its time is over"

_NAME = re.compile(NAME_PATTERN)
_PLAIN = re.compile(r"[^\x00-\x1f\x7f-\x9f]{0,255}")
_MOST_MOUNTS = 64
_MOST = {"cpus": 1 << 16, "cpu_mhz": 1 << 32, "memory_mib": 1 << 32, "disk_mib": 1 << 40}
_KINDS = {kind.value: kind for kind in ItemKind}


def join(tx: Tx, around: Surroundings, ask: JoinIn) -> JoinOut:
    """A new host, with its local pool and its first certificate; or one that joined before, let in anew.

    Whoever brings the very request that used the token gets its answer again (it may have been lost): the certificate
    is for that request's key, so it is of no use to anybody else.
    """
    now = around.clock.now()
    try:
        said = tokens.join_token(ask.token)
    except Unauthenticated as error:
        raise Unauthenticated(_NO_ENTRY) from error
    token = join_tokens.by_hash(tx, said.digest)
    request_hash = hashlib.sha256(ask.request.encode(errors="surrogatepass")).hexdigest()
    if token is None or now >= token.expires_at:
        raise Unauthenticated(_NO_ENTRY)
    if token.used_at is not None:
        return _again(tx, around, ask, token, request_hash)
    if not _NAME.fullmatch(ask.name):
        raise BadInput("a DNS label: small letters, digits and hyphens", field="name")
    check_inventory(ask.inventory)
    if token.host is not None:
        return _anew(tx, around, ask, token, request_hash)
    if ask.host:
        raise Conflict(
            "this token is for a new host, and this one has joined before", field="token"
        )
    pod = pods.get(tx, token.pod)
    host = Host(
        id=HostId(around.ids.new("host")),
        zone=pod.zone,
        pod=pod.id,
        name=ask.name,
        roles=token.roles,
        tags=token.tags,
        pool=PoolId(around.ids.new("pool")),
        cpu_percent=settings.get(tx, CPU_PERCENT),
        memory_percent=settings.get(tx, MEMORY_PERCENT),
        disk_percent=settings.get(tx, DISK_PERCENT),
        created_at=now,
    )
    certificate = _certificate(around, ask.request, host)
    hosts.add(tx, host)
    hosts.measure(tx, host.id, measured(host, ask.inventory))
    if host.pool is not None:
        pool = Pool(
            id=host.pool,
            zone=pod.zone,
            host=host.id,
            name=f"{host.name}-local",
            total_mib=ask.inventory.disk_mib,
            created_at=now,
        )
        pools.add(tx, pool)
    if not join_tokens.use(tx, token.id, host.id, request_hash, now):
        raise Unauthenticated(_NO_ENTRY)
    _tell(tx, around, host, "host.joined", f"{host.name} joined the pod {pod.name}")
    _serve(tx, around, host, ask.inventory)
    return _welcome(around, host, certificate)


def renew(tx: Tx, around: Surroundings, host: HostId, epoch: int, ask: RenewIn) -> JoinOut:
    """A fresh certificate for a host that still exists, or one for its disks' connections."""
    found = known(tx, host, epoch)
    if ask.disks:
        kind = IdentityKind.DISKS
        return _welcome(
            around, found, around.authority.sign(ask.request, found.id, kind, DISKS_HOURS)
        )
    return _welcome(around, found, _certificate(around, ask.request, found))


def known(tx: Tx, host: HostId, epoch: int) -> Host:
    """The host with a certificate of that epoch; raises what `counts` answers."""
    found = hosts.some(tx, [host]).get(host)
    error = counts(found, epoch)
    if error is not None or found is None:
        raise error or Forbidden(STRANGER)
    return found


def counts(host: Host | None, epoch: int) -> CloudError | None:
    """What to say to somebody with a certificate of that epoch; None when it counts."""
    if host is None:
        return Forbidden(STRANGER)
    return None if epoch >= host.epoch else Unauthenticated(REPLACED)


def greet(
    tx: Tx, around: Surroundings, server: str, greetings: Sequence[Greeting]
) -> list[CloudError | None]:
    """Many hosts' channels begin at `server`: each is up and what it has is known, or it is refused."""
    answers = [_refused(host, hello) for host, hello, _ in greetings]
    sane = {each[0] for each, refused in zip(greetings, answers, strict=True) if refused is None}
    there = hosts.some(tx, sane, lock=True)
    later = _later(tx, around, [hello for host, hello, _ in greetings if host in there])
    answers = [
        refused or counts(there.get(host), epoch) or later.get(hello.incarnation)
        for (host, hello, epoch), refused in zip(greetings, answers, strict=True)
    ]
    welcome = {
        host: hello
        for (host, hello, _), refused in zip(greetings, answers, strict=True)
        if refused is None
    }
    found = {host: there[host] for host in welcome}
    news = {host.id: measured(host, welcome[host.id].inventory) for host in found.values()}
    hosts.measure_many(tx, news)
    _look_after(tx, found.values(), news)
    for host in found.values():
        _serve(tx, around, host, welcome[host.id].inventory)
    _tell_of_others(tx, welcome)
    hosts.connected(tx, list(found), server, around.clock.now())
    risen = [host for host in found.values() if host.state != HostState.UP]
    if risen:
        told = [_event(around, host, "host.up", f"{host.name} is up") for host in risen]
        events.add_many(tx, told)
        nudge(tx, "machines")
    return answers


def _look_after(tx: Tx, risen: Iterable[Host], news: Mapping[HostId, Mapping[str, Any]]) -> None:
    """Whom its pod did not ask for until now is to be asked for at once: it may be lost before anybody was told of it.

    One that was only silent is asked for all the time, so thousands that come back together cost nothing here. Whose
    tunnels end elsewhere now, others have to be told of.
    """
    anew = (HostState.JOINED, HostState.DOWN)
    told = news.values()
    if any(host.state in anew for host in risen) or any("peer_address" in one for one in told):
        nudge(tx, "hosts")
    if any("mounts" in one["facts"] for one in told if "facts" in one):
        nudge(tx, "machines")  # some may have waited for a host that has their disks mounted
    tunnels.note_hosts(tx, [host for host, one in news.items() if "tunnel_address" in one])


def _later(tx: Tx, around: Surroundings, hellos: Sequence[Hello]) -> dict[str, CloudError]:
    """Names of databases that hosts were told by since this one was given up, with what to say to those hosts.

    One that our own authority vouches for is noted: then this database's servers end (`processes/succession.py`).
    """
    named = {hello.incarnation for hello in hellos} - {""}
    if not named:
        return {}
    current = incarnations.current(tx)
    later = {name for name in named if is_later(name, current)}
    for name in later:
        if is_genuine(around.authority, name):
            log.error("database %s has taken the place of this one, %s", name, current)
            incarnations.supersede(tx, name)
        else:
            log.error("a host says that it was told by database %s, which nobody drew", name)
    return {name: Unavailable(GIVEN_UP) for name in later}


def _tell_of_others(tx: Tx, welcome: Mapping[HostId, Hello]) -> None:
    """Hosts that hold what another database told them: a copy of an older one was restored, or they were elsewhere."""
    current = incarnations.current(tx) if welcome else ""
    for host, hello in welcome.items():
        if hello.incarnation not in {"", current}:
            log.warning("%s holds the manifest of database %s", host, hello.incarnation)


def report(
    tx: Tx,
    around: Surroundings,
    server: str,
    settle: Settle,
    reports: Sequence[HostReport],
    alive: Sequence[HostId],
) -> None:
    """A batch of reports, in the order in which each host sent them.

    One transaction says what they saw, and of some (`alive`: those of which it was not noted a moment ago) that they were
    heard and what they hold for good, so none of it can be known without the rest. Nobody waits for the latter: noting it
    with each of a host's reports would cost the database as much as a machine's own row.

    What a server heard and could not keep before the host went to another one, since it was frozen or had no database, is
    old news: the host has said everything anew there. It may be frozen right here, too, so it looks once more when all is
    written: what the other server keeps after that waits for these rows, and is the later word. Raises `Unavailable`.
    """
    here = hosts.at(tx, {report.host for report in reports}, server)
    reports = [report for report in reports if report.host in here]
    settle(tx, reports, around.clock.now())
    told = {report.host: report.inventory for report in reports if report.inventory is not None}
    if told:
        for host in hosts.some(tx, told, lock=True).values():
            news = measured(host, told[host.id])
            hosts.measure(tx, host.id, news)
            _serve(tx, around, host, told[host.id])
            _look_after(tx, [], {host.id: news})
    acked = dict.fromkeys(alive, 0)
    for report in reports:
        if report.host in acked:
            acked[report.host] = max(report.generation, acked[report.host])
    heard(tx, around, server, alive, [], acked)
    if hosts.at(tx, here, server) != here:
        raise Unavailable("hosts have gone to another server meanwhile")


def heard(
    tx: Tx,
    around: Surroundings,
    server: str,
    alive: Sequence[HostId],
    left: Sequence[HostId],
    acked: Mapping[HostId, int],
) -> None:
    """What a gateway has to say of many hosts: heard, gone, and what they hold for good."""
    if alive:
        risen = hosts.unheard(tx, alive, server)
        if risen:
            told = [
                _event(around, host, "host.up", f"{host.name} is heard again") for host in risen
            ]
            events.add_many(tx, told)
            nudge(tx, "machines")
            _look_after(tx, risen, {})
        hosts.heard(tx, alive, server, around.clock.now())
    if left:
        hosts.left(tx, left, server)
    manifests.acked(tx, acked)


def report_seconds(tx: Tx) -> int:
    """How often hosts report: often enough not to be taken for silent."""
    return max(1, min(settings.get(tx, REPORT_SECONDS), settings.get(tx, HOST_SILENT_SECONDS) // 3))


def image_cache_seconds(tx: Tx) -> int:
    """How long hosts should keep images that nothing uses."""
    return settings.get(tx, IMAGE_CACHE_SECONDS)


def peers(tx: Tx, around: Surroundings, me: str) -> list[Peer]:
    """Other management servers that are there and take agents."""
    now = leases.now(tx, around.clock.now())
    having = hosts.by_server(tx)
    return [
        Peer(each.address, having.get(each.id, 0))
        for each in segments.members(tx)
        if each.id != me
        and each.address
        and each.state is SegmentState.READY
        and now - each.heartbeat_at <= THERE
    ]


def changes(
    tx: Tx, authority: Authority, have: Mapping[HostId, int]
) -> dict[HostId, Change | None]:
    """What these hosts have to be told that hold these manifest generations; None: nothing yet.

    Secrets among it are opened on their way: in the store they stay as they are.

    After an older copy of the database was restored, hosts go on as they are until all have said what they run.
    """
    withheld = incarnations.withheld(tx, have.keys())
    told = {host: held for host, held in have.items() if host not in withheld}
    return {**dict.fromkeys(withheld), **_differences(tx, authority, told)}


def _differences(tx: Tx, authority: Authority, have: Mapping[HostId, int]) -> dict[HostId, Change]:
    if not have:
        return {}
    incarnation = incarnations.current(tx)
    return {
        host: change(found, incarnation, authority)
        for host, found in manifests.changes(tx, have).items()
    }


def change(found: manifests.Difference, incarnation: str, authority: Authority) -> Change:
    """How a host of the database of that name is told."""
    return Change(
        base=found.base or None,
        generation=found.generation,
        incarnation=incarnation,
        items=[
            Item(
                kind=_KINDS[kind],
                id=id_,
                body=None if body is None else msgspec.Raw(opened(authority, body)),
            )
            for kind, id_, body in found.items
        ],
    )


def image_part(tx: Tx, around: Surroundings, host: HostId, epoch: int, sha256: str) -> Path:
    """The file of a part that the host needs for what it should run; any other is as good as absent."""
    known(tx, host, epoch)
    if not manifests.names_part(tx, host, sha256):
        raise NotFound("nothing that this host should run needs such a part")
    return around.images.path(sha256)


def check_inventory(told: Inventory) -> None:
    """Raises `BadInput` for what no machine can have."""
    for name, most in _MOST.items():
        if not 0 <= getattr(told, name) <= most:
            raise BadInput(f"not from 0 to {most}", field=f"inventory.{name}")
    for name in ("hypervisor", "network", "storage", "version", "shares", "moves", "peer_address"):
        if not _PLAIN.fullmatch(getattr(told, name)):
            raise BadInput("not one line of at most 255 characters", field=f"inventory.{name}")
    if told.shares_by not in {"", *SHARED}:
        raise BadInput(f"not one of {', '.join(sorted(SHARED))}", field="inventory.shares_by")
    if len(told.mounts) > _MOST_MOUNTS:
        raise BadInput(f"more than {_MOST_MOUNTS} pools", field="inventory.mounts")
    for pool in told.mounts:
        ids.check("pool", pool)
    if told.tunnel_address:
        try:
            IPv4Address(told.tunnel_address)
        except ValueError:
            raise BadInput("not an IPv4 address", field="inventory.tunnel_address") from None


def _serve(tx: Tx, around: Surroundings, host: Host, told: Inventory) -> None:
    """Whether its pool is shared, and where. One with disks in it stays what it is, and moves at most.

    A host that runs machines keeps its pool to itself, and its operator is told once: its guests open disks there without
    asking for a lease. `host` is as it was before it told this.
    """
    if keeps_its_pool(host, told):
        if "unshared" not in host.facts:
            _tell(tx, around, host, "host.pool-unshared", f"{host.name}: {UNSHARED}")
        return
    pool = pools.of_host(tx, host.pool) if told.shares and host.pool else None
    wanted = (told.shares_by or NBD, told.shares)
    if pool is None or (pool.kind, pool.address) == wanted:
        return
    if pool.kind in SHARED or not pools.has_volumes(tx, pool.id):
        pools.serve(tx, pool.id, *wanted)
        nudge(tx, "machines")


def _anew(
    tx: Tx, around: Surroundings, ask: JoinIn, token: JoinToken, request_hash: str
) -> JoinOut:
    """The host that the token is bound to, and no other, with a certificate of the next epoch.

    Its earlier ones stop counting with this commit, and so do all of its other tokens: whoever holds what an old
    disk or a stolen backup held can't be this host any more.
    """
    now = around.clock.now()
    host = _bound(tx, ask, token, lock=True)
    if host.removing:
        raise Conflict("this host is being removed; it may join as a new one", field="token")
    if not join_tokens.use(tx, token.id, host.id, request_hash, now):
        raise Unauthenticated(_NO_ENTRY)
    join_tokens.end_others(tx, token, now)
    host = hosts.next_epoch(tx, host)
    _tell(tx, around, host, "host.rejoined", f"{host.name} has a new certificate")
    return _welcome(around, host, _certificate(around, ask.request, host))


def _again(
    tx: Tx, around: Surroundings, ask: JoinIn, token: JoinToken, request_hash: str
) -> JoinOut:
    if not hmac.compare_digest(request_hash, token.request_hash):
        raise Unauthenticated(_NO_ENTRY)
    host = _bound(tx, ask, token)
    return _welcome(around, host, _certificate(around, ask.request, host))


def _bound(tx: Tx, ask: JoinIn, token: JoinToken, *, lock: bool = False) -> Host:
    """The host that the token was used for or is bound to, if that is who asks."""
    if token.host is None:
        raise Unauthenticated(_NO_ENTRY)
    try:
        host = hosts.get(tx, token.host, lock=lock)
    except NotFound as error:
        raise Unauthenticated(_NO_ENTRY) from error
    if host.name != ask.name:
        raise Conflict(f"this token is for a host named {host.name}", field="name")
    if ask.host not in {"", host.id}:
        raise Conflict("this token is for another host", field="token")
    return host


def _certificate(around: Surroundings, request: str, host: Host) -> str:
    return around.authority.sign(request, host.id, IdentityKind.HOST, HOST_HOURS, epoch=host.epoch)


def _welcome(around: Surroundings, host: Host, certificate: str) -> JoinOut:
    return JoinOut(
        host=host.id,
        certificate=certificate,
        authority=around.authority.pem,
        pool=host.pool or "",
    )


def _refused(host: HostId, hello: Hello) -> CloudError | None:
    if hello.host != host:
        return Forbidden("a host speaks for itself only")
    if hello.version != VERSION:
        return BadInput(f"this server speaks version {VERSION} of the agents' protocol")
    if hello.have < 0:
        return BadInput("a manifest's generation is 0 or more", field="have")
    try:
        check_inventory(hello.inventory)
    except BadInput as error:
        return error
    return None


def _event(around: Surroundings, host: Host, kind: str, text: str) -> Event:
    return Event(at=around.clock.now(), account=None, kind=kind, subject=host.id, text=text)


def _tell(tx: Tx, around: Surroundings, host: Host, kind: str, text: str) -> None:
    events.add_many(tx, [_event(around, host, kind, text)])
