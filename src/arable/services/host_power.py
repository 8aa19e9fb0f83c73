"""The power of hosts: by what it is switched, and that it should be. The switching is `controllers/switching.py`'s."""

from cryptography import x509

from arable.domain.access import Permission
from arable.domain.errors import BadInput, Conflict, NotFound
from arable.domain.host import HostState
from arable.domain.ids import HostId
from arable.domain.power import Bmc, PowerState, split
from arable.runtime.sealed import seal
from arable.runtime.secret import Secret
from arable.services.asks import check_expected
from arable.services.call import Call
from arable.services.host_health import shown
from arable.services.hosts import shown as host_out
from arable.store import bmcs, hosts, resting
from arable.store.nudges import nudge
from arable.wire.hosts import BmcIn, BmcOut, HostOut, PowerIn

_NONE = "nothing that switches this host's power is known"


def set_bmc(call: Call, host: HostId, ask: BmcIn) -> BmcOut:
    """By what a host's power is switched from now on. What was being done by another one is not gone on with."""
    call.caller.needs(Permission.INFRA_WRITE)
    found = hosts.get(call.tx, host, lock=True)
    check_expected(call, found.generation, hosts.WHAT)
    split(ask.url)
    if ask.authority and ask.fingerprint:
        raise BadInput("either an authority or a fingerprint", field="fingerprint")
    if ask.authority:
        _check_authority(ask.authority)
    around = call.around
    made = Bmc(
        host=host,
        url=ask.url,
        user=ask.user,
        sealed=seal(around.authority, around.entropy, Secret(ask.password), host),
        authority=ask.authority or "",
        fingerprint=(ask.fingerprint or "").replace(":", "").lower(),
        created_at=around.clock.now(),
    )
    bmcs.put(call.tx, made)
    nudge(call.tx, "hosts")  # it may be down, and wait for just this
    return shown(made)


def remove_bmc(call: Call, host: HostId) -> None:
    """Nobody switches it any more."""
    call.caller.needs(Permission.INFRA_WRITE)
    found = hosts.get(call.tx, host, lock=True)
    check_expected(call, found.generation, hosts.WHAT)
    if found.powered_off:
        raise Conflict("it is powered off: power it on first, or nobody will")
    if not bmcs.remove(call.tx, host):
        raise NotFound(_NONE)


def switch(call: Call, host: HostId, ask: PowerIn) -> BmcOut:
    """Have its power be like that. Off only where nothing runs, or nobody can know: it is cut, not asked for."""
    call.caller.needs(Permission.INFRA_WRITE)
    found = hosts.get(call.tx, host, lock=True)
    check_expected(call, found.generation, hosts.WHAT)
    if bmcs.find(call.tx, host) is None:
        raise Conflict(f"{_NONE}; set it first")
    wanted = PowerState(ask.power)
    if wanted is PowerState.OFF and found.state is HostState.UP:
        if found.machines:
            raise Conflict(
                f"it is up, and {found.machines} machines have resources there: let them go first"
            )
        if not found.maintenance:
            raise Conflict("it is up: put it into maintenance first, lest machines come to it")
    if wanted is PowerState.ON and bmcs.relied_on(call.tx, host):
        raise Conflict(
            "machines that ran there are being brought back elsewhere, relying on its being without power;"
            " try again in a minute"
        )
    now = call.around.clock.now()
    if wanted is PowerState.ON and found.rests:
        resting.wake(call.tx, [host], now, "an operator gave it power")
    else:
        bmcs.wish(call.tx, host, wanted, now)
    if wanted is PowerState.ON:
        bmcs.rely_no_more(call.tx, host)
    nudge(call.tx, "power")
    made = bmcs.find(call.tx, host)
    assert made is not None, "it was there a moment ago"
    return shown(made)


def sleep(call: Call, host: HostId) -> HostOut:
    """Have it powered down until it is needed; only a compute host that has nothing to do."""
    call.caller.needs(Permission.INFRA_WRITE)
    found = hosts.get(call.tx, host, lock=True)
    check_expected(call, found.generation, hosts.WHAT)
    if not found.rests and not resting.sleep(
        call.tx, [host], call.around.clock.now(), "an operator wants it"
    ):
        (row,) = resting.some(call.tx, [host])
        raise Conflict(f"{found.name} can't be put to sleep: {row.obstacle}")
    return host_out(hosts.get(call.tx, host))


def wake(call: Call, host: HostId) -> HostOut:
    """Have it powered on; it takes machines when its agent is heard."""
    call.caller.needs(Permission.INFRA_WRITE)
    found = hosts.get(call.tx, host, lock=True)
    check_expected(call, found.generation, hosts.WHAT)
    if found.state is HostState.ASLEEP or found.rests:
        resting.wake(call.tx, [host], call.around.clock.now(), "an operator wants it")
    elif found.state is not HostState.UP:
        raise Conflict(f"{found.name} does not sleep: it is {found.state}")
    return host_out(hosts.get(call.tx, host))


def _check_authority(pem: str) -> None:
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise BadInput("not a certificate (PEM)", field="authority") from error
    if not found:
        raise BadInput("no certificate (PEM) in it", field="authority")
