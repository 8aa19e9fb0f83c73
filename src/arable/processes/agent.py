"""`arable agent`: one host's agent, put together from its configuration.

Drivers are imported when they are chosen: a host without libvirt needs no libvirt library. The agent may be stopped
and started at any time; what runs on its host does not notice.
"""

import asyncio
import logging
import signal
import ssl
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from arable.agent import join as joining
from arable.agent import pool_marks
from arable.agent.agent import Agent
from arable.agent.carry_line import Borrowing
from arable.agent.channel import Channel
from arable.agent.config import (
    AgentConfig,
    File,
    Iscsi,
    Leased,
    Libvirt,
    Local,
    Namespace,
    Ovs,
    RouterMachines,
    read,
)
from arable.agent.delivery import Deliveries
from arable.agent.download import Downloads
from arable.agent.inside import Inside
from arable.agent.inventory import InventoryOfHost
from arable.agent.join import Identity
from arable.agent.ledger import FileLedger
from arable.agent.sight import Drivers
from arable.domain.errors import CloudError, Conflict, NotFound
from arable.domain.ids import PoolId
from arable.domain.manifest import Inventory
from arable.domain.pool import FILE, ISCSI
from arable.domain.router_runtime import OVERHEAD_MIB, RouterRuntime
from arable.domain.units import MIB
from arable.drivers.appliance.chosen import ChosenAppliances
from arable.drivers.appliance.protocol import Appliances, Relays
from arable.drivers.appliance.vm.driver import VmAppliances
from arable.drivers.hypervisor.protocol import Hypervisor, Moves
from arable.drivers.network.protocol import Network
from arable.drivers.simhost import SimHost
from arable.drivers.storage.protocol import Shares, Storage
from arable.processes import agent_leases
from arable.processes.agent_peers import Peering
from arable.processes.alone import only_one
from arable.processes.together import Together
from arable.runtime.clock import Clock, RealClock
from arable.runtime.entropy import Entropy
from arable.runtime.secret import Secret

log = logging.getLogger(__name__)

RENEWAL_SECONDS = 600.0  # between looks whether it is time for a fresh certificate
_JOIN_SECONDS, _JOIN_LONGEST_SECONDS = 2.0, 60.0


def run(path: Path) -> None:
    """The agent, until SIGTERM or Ctrl-C. Machines keep running."""
    asyncio.run(live([read(path)], RealClock(), Entropy.system()))


def join(path: Path, token: Secret) -> str:
    """Give this host an identity; the id it was given. Raises `Conflict` when it has one."""
    config = read(path)
    clock, entropy = RealClock(), Entropy.system()
    with ExitStack() as stack:
        _occupy(config, stack)
        before = _present(config)
        if before is not None and not before.over(clock):
            raise Conflict(f"this host is {before.host} already")
        drivers = build(config, simulated(config, clock), clock, stack)
        return _join(config, drivers, token, entropy, before).host


async def live(configs: Sequence[AgentConfig], clock: Clock, entropy: Entropy) -> None:
    """These hosts' agents, until told to leave; one that fails takes all along, to be noticed."""
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    leaving = asyncio.create_task(told.wait())
    together = Together()
    agents = [asyncio.create_task(work(config, clock, entropy, together)) for config in configs]
    try:
        done, _ = await asyncio.wait({leaving, *agents}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        log.info("leaving; machines keep running")
    finally:
        for task in (leaving, *agents):
            task.cancel()
        await asyncio.gather(leaving, *agents, return_exceptions=True)


async def work(config: AgentConfig, clock: Clock, entropy: Entropy, together: Together) -> None:
    """One host's agent, until cancelled. `together` has those of this process."""
    with ExitStack() as stack:
        _occupy(config, stack)
        hardware = simulated(config, clock)
        drivers = await asyncio.to_thread(build, config, hardware, clock, stack)
        passport = Passport(await _identity(config, drivers, entropy))
        pools = _pools(config, passport.identity.pool, hardware, clock, entropy)
        nudge = Later()
        leases = agent_leases.keeper(config, passport.context, entropy, nudge, stack)
        moves = agent_leases.mover(drivers.hypervisor, leases, clock, nudge, stack)
        files = agent_leases.mounted(config, clock, nudge, stack)
        drivers = replace(drivers, pools=pools, leases=leases, mover=moves, files=files)
        peering = Peering.of(config, clock)
        downloads = Downloads(
            config.directory / "downloads", config.servers, passport.current, nudge
        )
        stack.callback(downloads.close)
        if isinstance(drivers.appliances, Relays):
            drivers.appliances.relay(Inside(config.servers, passport.current).answer)
        deliveries = Deliveries(config.servers, passport.current)
        stack.callback(deliveries.close)
        helper = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="aside"))

        def aside(what: Callable[[], None]) -> None:
            """What may take seconds is done beside the agent, which then looks again."""
            helper.submit(what).add_done_callback(lambda _done: nudge())

        def copying(what: Callable[[], None]) -> None:
            """What may take minutes is nothing that an agent's end waits for."""

            def go() -> None:
                what()
                nudge()

            threading.Thread(target=go, name="copying", daemon=True).start()

        borrowing = Borrowing(passport.context)
        host = passport.identity.host
        agent = Agent(
            host,
            FileLedger(config.directory / "ledger.json"),
            drivers,
            clock,
            downloads,
            inventory=peering.told(inventory(config, drivers)),
            witness=peering.witness,
            aside=aside,
            copying=copying,
            deliver=deliveries.deliver,
            carrying=copying,
            borrow=partial(together.borrow, host, borrowing),
            following=copying,
            ask_point=partial(together.ask_point, host, borrowing),
            received=downloads.keep,
        )
        peering.lending, peering.marking = agent.lending, agent.marking
        stack.callback(together.add(host, agent.lending, agent.marking))
        worker = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="agent"))
        channel = Channel(agent, config.servers, passport.context, clock, entropy, worker=worker)
        nudge.call = channel.nudge
        async with asyncio.TaskGroup() as group:
            group.create_task(channel.run())
            group.create_task(_keep_fresh(passport, config, drivers, clock, entropy))
            if peering.wanted:
                group.create_task(peering.run(passport.current, entropy, nudge))
            if leases or isinstance(config.storage, Leased) or peering.wanted:
                group.create_task(agent_leases.certified(config, passport.current, clock, entropy))
            for pool in pools:
                if isinstance(pool, Shares) and isinstance(config.storage, Leased):
                    group.create_task(
                        agent_leases.served(
                            config,
                            config.storage,
                            pool,
                            passport.current,
                            clock,
                            nudge,
                            peering.witness.asked,
                        )
                    )


def _occupy(config: AgentConfig, stack: ExitStack) -> None:
    """The host's directory is there, and ours alone: two agents would undo each other's work."""
    config.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    stack.enter_context(only_one(config.directory))


@dataclass(slots=True)
class Passport:
    """The identity as it is now: it is renewed while connections made with the earlier one are still open."""

    identity: Identity

    def current(self) -> Identity:
        """The newest."""
        return self.identity

    def context(self) -> ssl.SSLContext:
        """TLS with the newest certificate."""
        return self.identity.context()


@dataclass(slots=True)
class Later:
    """A call to something that is made after those who call it."""

    call: Callable[[], None] = lambda: None

    def __call__(self) -> None:
        self.call()


async def _keep_fresh(
    passport: Passport, config: AgentConfig, drivers: Drivers, clock: Clock, entropy: Entropy
) -> None:
    """The certificate is renewed in its time. Where that was missed, the host joins anew; its guests run meanwhile."""
    while True:
        identity = passport.identity
        if identity.over(clock):
            passport.identity = await _joined(config, drivers, entropy, identity)
        else:
            passport.identity = await joining.renewed(identity, config.servers, clock, entropy)
        await asyncio.sleep(RENEWAL_SECONDS)


async def _identity(config: AgentConfig, drivers: Drivers, entropy: Entropy) -> Identity:
    """The one this host has, be it over, or gets with the token of the configuration: as soon as a server answers."""
    found = _present(config)
    if found is not None:
        return found
    if config.join_token is None or not config.join_token.exists():
        return Identity.load(config.directory)  # which says what is missing
    return await _joined(config, drivers, entropy)


def _present(config: AgentConfig) -> Identity | None:
    """None for a host that never joined."""
    try:
        return Identity.load(config.directory)
    except NotFound:
        return None


async def _joined(
    config: AgentConfig, drivers: Drivers, entropy: Entropy, before: Identity | None = None
) -> Identity:
    """An identity, or one like `before`, as soon as there is a token that counts and a server that answers."""
    pause = _JOIN_SECONDS
    while True:
        try:
            token = _invitation(config, before)  # read anew: it may be replaced by a fresh one
            made = await asyncio.to_thread(_join, config, drivers, token, entropy, before)
        except CloudError as error:
            log.warning("not joined yet: %s", error.public)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _JOIN_LONGEST_SECONDS)
        else:
            if config.join_token is not None:
                config.join_token.unlink(missing_ok=True)
            return made


def _invitation(config: AgentConfig, before: Identity | None) -> Secret:
    path = config.join_token
    try:
        if path is None:
            raise FileNotFoundError
        return Secret(path.read_text().strip())
    except FileNotFoundError as error:
        if before is None:
            raise NotFound(f"there is no join token at {path}") from error
        where = f"put its token into {path}" if path else "give its token to `arable agent join`"
        raise NotFound(
            f"the certificate of {before.host} is over, so no server lets it in:"
            f" an operator must run `arable host invite --host {before.host}`, then {where}"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound(f"the join token at {path} can't be read: {error}") from error


def _join(
    config: AgentConfig,
    drivers: Drivers,
    token: Secret,
    entropy: Entropy,
    before: Identity | None = None,
) -> Identity:
    has = inventory(config, drivers)()
    failure: CloudError | None = None
    for server in config.servers:
        try:
            return joining.join(
                config.directory,
                server,
                token,
                config.name,
                has,
                entropy=entropy,
                again=before.host if before else None,
            )
        except CloudError as error:
            failure = error
    assert failure is not None, "a configuration names at least one server"
    raise failure


def inventory(config: AgentConfig, drivers: Drivers) -> Callable[[], Inventory]:
    """What this host has, with the names of what moves it."""
    names: dict[str, Callable[[], str]] = {"network": lambda: drivers.network.name}
    hypervisor, pools = drivers.hypervisor, drivers.pools
    if hypervisor:
        names["hypervisor"] = lambda: hypervisor.name
    if isinstance(hypervisor, Moves):
        names["moves"] = lambda: hypervisor.kin
    if pools:
        names["storage"] = lambda: pools[0].name
    storage = config.storage
    return InventoryOfHost(
        config.inventory,
        config.directory,
        names,
        roles=config.roles,
        tags=config.tags,
        shares=f"{storage.address}:{storage.port}" if isinstance(storage, Leased) else "",
        shares_by=ISCSI
        if isinstance(storage, Iscsi)
        else FILE
        if isinstance(storage, File)
        else "",
        tunnel=config.network.tunnel,
        mounts=drivers.files.reached if drivers.files else tuple,
        vm_router_mib=_router_mib(config),
    )


def _router_mib(config: AgentConfig) -> int:
    """What a router that is a virtual machine takes here; 0: there are none."""
    chosen = config.appliances
    if not isinstance(chosen, Namespace) or chosen.machines is None:
        return 0
    return chosen.machines.memory_mib + OVERHEAD_MIB


def simulated(config: AgentConfig, clock: Clock) -> SimHost:
    """The hardware behind simulated drivers: as large as the configuration says."""
    given = config.inventory
    return SimHost(
        cpus=given.cpus or 16,
        cpu_mhz=given.cpu_mhz or 16 * 2400,
        memory_mib=given.memory_mib or 65_536,
        clock=clock,
    )


def build(config: AgentConfig, hardware: SimHost, clock: Clock, stack: ExitStack) -> Drivers:
    """The drivers that the configuration chooses, pools apart: their ids come with the host's identity.

    What must be let go of at the end is put on `stack`. May take seconds: a hypervisor is tried out.
    """
    network = _network(config, hardware, clock)
    return Drivers(
        network=network,
        hypervisor=_hypervisor(config, hardware, clock, stack),
        appliances=_appliances(config, hardware, network, clock, stack),
    )


def _hypervisor(
    config: AgentConfig, hardware: SimHost, clock: Clock, stack: ExitStack
) -> Hypervisor | None:
    chosen = config.hypervisor
    if chosen is None:
        return None
    if isinstance(chosen, Libvirt):
        from arable.drivers.hypervisor.libvirt import LibvirtHypervisor

        made = LibvirtHypervisor(
            chosen.uri,
            config.directory / "guests",
            clock,
            accelerator=chosen.accelerator,
            cap_cpu=chosen.cap_cpu,
            gate=agent_leases.gate(config, chosen),
        )
        stack.callback(made.close)
        return made
    from arable.drivers.hypervisor.sim import SimHypervisor

    return SimHypervisor(hardware)


def _network(config: AgentConfig, hardware: SimHost, clock: Clock) -> Network:
    chosen = config.network
    if isinstance(chosen, Ovs):
        from arable.drivers.network.ovs import NATIVE, OvsNetwork

        return OvsNetwork(
            chosen.db,
            chosen.bridge,
            chosen.uplink,
            clock,
            netns=chosen.netns,
            native=NATIVE if chosen.native is None else chosen.native,
            tunnel=chosen.tunnel,
        )
    from arable.drivers.network.sim import SimNetwork

    return SimNetwork(hardware)


def _appliances(
    config: AgentConfig, hardware: SimHost, network: Network, clock: Clock, stack: ExitStack
) -> Appliances | None:
    chosen = config.appliances
    if chosen is None:
        return None
    if isinstance(chosen, Namespace):
        from arable.drivers.appliance.namespace import NamespaceAppliances

        made = NamespaceAppliances(
            config.directory / "appliances",
            network,
            clock,
            netns=chosen.netns,
            prefix=chosen.prefix,
        )
        if chosen.machines is None:
            return made
        machines = _vm_appliances(config, chosen.machines, network, clock, stack)
        return ChosenAppliances({RouterRuntime.NAMESPACE: made, RouterRuntime.VM: machines})
    from arable.drivers.appliance.sim import SimAppliances

    return SimAppliances(hardware, network)


def _vm_appliances(
    config: AgentConfig, chosen: RouterMachines, network: Network, clock: Clock, stack: ExitStack
) -> VmAppliances:
    from arable.drivers.appliance.vm.libvirt_machines import LibvirtMachines

    directory = config.directory / "router-machines"
    machines = LibvirtMachines(
        chosen.uri,
        chosen.image,
        config.directory / "guests",  # where what was found out about this machine's processors is
        clock,
        accelerator=chosen.accelerator,
        memory_mib=chosen.memory_mib,
    )
    stack.callback(machines.close)
    made = VmAppliances(directory, network, machines, clock)
    stack.callback(made.close)
    return made


def _pools(
    config: AgentConfig, pool: PoolId, hardware: SimHost, clock: Clock, entropy: Entropy
) -> tuple[Storage, ...]:
    chosen = config.storage
    if chosen is None or not pool:
        return ()
    if isinstance(chosen, Local):
        from arable.drivers.storage.local import LocalStorage

        directory = chosen.directory or config.directory / "volumes"
        pool_marks.recognise(config.directory, directory, pool)
        return (
            LocalStorage(
                directory,
                pool,
                clock,
                capacity_bytes=chosen.capacity_bytes,
                reserve_bytes=chosen.reserve_bytes,
            ),
        )
    if isinstance(chosen, Leased):
        return (agent_leases.shared_pool(config, chosen, pool, clock, entropy),)
    from arable.drivers.simhost import SimPool
    from arable.drivers.storage.sim import SimStorage

    if config.inventory.disk_mib:
        hardware.pools[pool] = SimPool(pool, total_bytes=config.inventory.disk_mib * MIB)
    return (SimStorage(hardware, pool),)
