"""The agent: makes its host what the manifest says, and tells what it is. No I/O of its own, no threads, no waiting.

Whoever owns one (a process with a channel, or the simulated world on virtual time) calls `hello` for each new
connection, `receive` for each message, `step` whenever something may have changed or `due` has come, `glance` when
`glance_due` has, and sends what they return. Any of these calls may be the last one before the process dies: the ledger is written before
anything is done, every action is safe to repeat, and nothing that runs depends on this process.
"""

import logging
from collections.abc import Callable
from math import inf
from typing import Any

from arable.agent.appliances import PAIRS_SECONDS, HostAppliances
from arable.agent.aside import Aside, at_once
from arable.agent.balancers import GLANCE_SECONDS, Watched
from arable.agent.cache import ImageCache, Keep, nothing_received
from arable.agent.carrying import Borrow, Carrying, Lending, from_nobody
from arable.agent.copies import Copies, Deliver, nobody
from arable.agent.exports import HostExports
from arable.agent.guests import Guests, needs
from arable.agent.leases import wanted
from arable.agent.ledger import Held, Ledger
from arable.agent.network import Ports, Unplugs
from arable.agent.passwords import Passwords
from arable.agent.patience import Patience
from arable.agent.prefixes import prefixes
from arable.agent.replicating import AskPoint, Following, Marking
from arable.agent.replicating import from_nobody as no_points
from arable.agent.report import Findings, Reporter
from arable.agent.sight import Drivers, Ground, Sight, look, look_at_appliances, look_at_guests
from arable.agent.snapshots import Snapshots
from arable.agent.storage import Disks, Scraps
from arable.agent.told import Telling
from arable.agent.tunnels import HostTunnels
from arable.agent.wishes import Wishes
from arable.agent.witness import Witness
from arable.domain.errors import BadInput
from arable.domain.ids import HostId, MachineId, NicId
from arable.domain.manifest import HostManifest, HostReport, Inventory, ItemKind, Power
from arable.drivers.hypervisor.protocol import GuestPower
from arable.drivers.storage.protocol import Fetch
from arable.runtime.clock import Clock
from arable.runtime.log import milliseconds, tell, units
from arable.runtime.reconcile import Reconciler, Round, run_once
from arable.wire.agent import Change, Elsewhere, Hello, OpenConsole, ToAgent, Welcome

log = logging.getLogger(__name__)
_rounds = units("agent")

REPORT_SECONDS = 10.0
DOUBT_SECONDS = 2.5
"""Between reports of a host that has just lost a peer: whether that one is down hangs on this one's being heard."""
SOON_SECONDS = 1.0  # between looks while something is on its way
FEW_STARTS = 2
"""So many guests start before the appliances here learn of them. A start takes a tenth of a second, and a guest asks
for its address later than that; behind many starts the first guests' questions would come before the answers."""


class Agent:
    """One host's agent."""

    def __init__(
        self,
        host: HostId,
        ledger: Ledger,
        drivers: Drivers,
        clock: Clock,
        fetch: Fetch,
        *,
        inventory: Callable[[], Inventory],
        witness: Witness | None = None,
        aside: Aside = at_once,
        copying: Aside = at_once,
        deliver: Deliver = nobody,
        carrying: Aside = at_once,
        borrow: Borrow = from_nobody,
        following: Aside = at_once,
        ask_point: AskPoint = no_points,
        received: Keep = nothing_received,
    ) -> None:
        self.host = host
        self.drivers = drivers
        self._ledger = ledger
        self._clock = clock
        self._inventory = inventory
        self._witness = witness or Witness(clock)
        held = self._saved = ledger.load()
        self._ground = ground = Ground(
            drivers,
            Patience(clock),
            Wishes(host, held.manifest if held else None, held.kept if held else None),
            dict(held.facts) if held else {},
            Sight(clock.monotonic()),
        )
        self._cache = ImageCache(ground, clock, received)
        self._disks = Disks(ground, fetch, self._cache.make_room)
        self._tunnels = HostTunnels(ground)
        self._ports = Ports(ground)
        self._appliances = HostAppliances(ground)
        self._guests = Guests(ground, self._disks, self._ports, self._cache.make_room)
        self._unplugs = Unplugs(ground, self._ports)
        self._exports = HostExports(ground, self._disks)
        self._copies = Copies(ground, copying, deliver)
        self._scraps = Scraps(ground, self._disks, self._exports.held)
        self._snapshots = Snapshots(ground, self._exports.held, copying)
        self._carrying = Carrying(ground, host, fetch, carrying, borrow)
        self.lending = Lending(ground, host, self._exports.held)
        """What other hosts may read here; any thread may ask it."""
        self._following = Following(ground, host, clock, fetch, following, ask_point)
        self.marking = Marking(ground, host)
        """Of what other hosts may keep replicas; any thread may ask it."""
        self._heard = False  # a management server, since this agent began
        ground.busy = lambda: (
            self._copies.busy()
            | self._snapshots.busy()
            | self._carrying.busy()
            | self._following.busy()
        )
        self._passwords = Passwords(ground, aside)
        self._telling = Telling(ground, self._guests, self._passwords)
        self._reporter = Reporter(host, drivers, ground.patience)
        self._report_seconds = REPORT_SECONDS
        self._report_at = clock.monotonic()
        self._said_at = clock.monotonic()  # anything
        self._announce_at = clock.monotonic()
        self._watched = Watched()
        self._glance_at = clock.monotonic()
        self._actions = self._failed = 0  # of this round

    @property
    def generation(self) -> int:
        """Of the newest manifest that is durably held."""
        return self._saved.manifest.generation if self._saved else 0

    def hello(self, *, anew: bool = False) -> Hello:
        """The first word on a connection; `anew` asks for a whole manifest. All that was said before is forgotten."""
        self._reporter.reset()
        inventory = self._inventory()
        self._reporter.greeted(inventory)
        have = (
            0 if anew or not self._ground.wishes.known else self._ground.wishes.manifest.generation
        )
        incarnation = self._ground.wishes.manifest.incarnation
        return Hello(host=self.host, have=have, incarnation=incarnation, inventory=inventory)

    def receive(self, message: ToAgent) -> Hello | None:
        """Take in a message. Answers with a greeting when a change does not start from what is held.

        Raises `BadInput` for a whole manifest that can't be read: then this server is no use to this agent.
        """
        match message:
            case Welcome():
                self._report_seconds = float(max(1, message.report_seconds))
                self._cache.keep_seconds = float(message.image_cache_seconds)
                next_one = self._clock.monotonic() + self._report_seconds
                self._report_at = min(self._report_at, next_one)
            case Change():
                before = self._ground.wishes.manifest
                try:
                    self._ground.wishes.change(message)
                except BadInput as error:
                    if message.base is None:
                        raise
                    log.warning("change refused, asking for all: %s", error.public)
                    return self.hello(anew=True)
                self._heard = True
                if message.base is None:
                    self._reporter.reset()  # what was never told here can't be told gone but by a full report
                self._hurry(message, before)
            case OpenConsole() | Elsewhere():
                pass  # the channel's business
        return None

    def step(self) -> HostReport | None:
        """One round: what was taken in is made durable, the host made so; what is worth saying is returned."""
        now = self._clock.monotonic()
        look(self._ground, now)
        self._tend()
        self._want_leases()
        self._witness.want(self._ground.wishes.manifest.peers)
        if self._ground.wishes.known and self._keep():
            self._act()
            self._guests.want_moves(self.host)
            self._keep()
            self._tell_round(self._clock.monotonic() - now)
        heartbeat = now >= self._report_at
        if heartbeat:
            self._report_at = now + self._report_seconds
            self._ground.patience.prune()
        if heartbeat or (self._appliances.paired() and now >= self._announce_at):
            self._announce_at = now + PAIRS_SECONDS
            self._appliances.announce()
        findings = Findings(
            generation=self.generation,
            guests=self._telling.tell(self._ground.seen),
            appliances=self._appliances.tell(self._ground.seen),
            exports=self._exports.tell(),
            scrapped=self._scraps.scrapped,
            snapshots=self._snapshots.tell() | self._copies.tell(),
            carries=self._carrying.tell(),
            replicas=self._following.tell(),
            evicted=self._cache.tell(),
            departed=self._ground.wishes.departed,
            withdrawn=self._ground.wishes.withdrawn,
            inventory=self._inventory() if heartbeat else self._reporter.inventory,
            lost=self._witness.lost(),
            renewing=self._witness.renewing(),
            prefixes=lambda: prefixes(self._ground.seen, self._ground.wishes.manifest),
        )
        alive = self._witness.in_doubt() and now >= self._said_at + DOUBT_SECONDS
        _, calms = self._watched.of(self._ground.wishes.manifest)
        report = self._reporter.report(
            self._ground.seen, findings, calms, heartbeat=heartbeat, alive=alive
        )
        if report is not None:
            self._said_at = now
        return report

    def glance(self) -> HostReport | None:
        """Between two steps, when `glance_due` has come: a look at nothing but balancers that are watched."""
        self._glance_at = self._clock.monotonic() + GLANCE_SECONDS
        return self._reporter.glance(*self._watched.of(self._ground.wishes.manifest))

    def glance_due(self) -> float:
        """When the next glance is worth while, in monotonic time; infinite while nothing is watched."""
        networks, _ = self._watched.of(self._ground.wishes.manifest)
        return self._glance_at if networks else inf

    def due(self) -> float:
        """When the next step is worth while, in monotonic time, if nothing happens before."""
        moments = [self._report_at, self._following.due()]
        if self._appliances.paired():
            moments.append(self._announce_at)
        if self._witness.in_doubt():
            moments.append(self._said_at + DOUBT_SECONDS)
        again = self._ground.patience.next()
        if again is not None:
            moments.append(again)
        if self._guests.restless(self._ground.seen) or self._appliances.restless(self._ground.seen):
            moments.append(self._clock.monotonic() + SOON_SECONDS)
        return min(moments)

    def _act(self) -> None:
        self._once(self._exports)
        if self._heard:
            self._exports.hear()
        self._once(self._disks)
        self._once(self._snapshots)
        self._once(self._copies)
        self._once(self._carrying)
        self.lending.look()
        self._once(self._following)
        self.marking.look()
        self._once(self._tunnels)
        self._once(self._ports)
        turns = [self._act_on_appliances, self._act_on_guests]
        if len(self._ground.seen.making) <= FEW_STARTS:
            turns.reverse()
        for turn in turns:
            turn()
        self._once(self._passwords)
        self._once(self._unplugs)
        self._once(self._scraps)
        self._once(self._cache)

    def _act_on_appliances(self) -> None:
        if self._once(self._appliances).actions:
            look_at_appliances(self._ground)

    def _act_on_guests(self) -> None:
        if self._once(self._guests).actions:
            look_at_guests(self._ground)
            self._tend()

    def _once(self, reconciler: Reconciler[Any, Any]) -> Round:
        done = run_once(reconciler)
        self._actions += done.actions
        self._failed += done.failed
        return done

    def _tell_round(self, took: float) -> None:
        """One line in the log for a round that did something."""
        if self._actions:
            tell(
                _rounds,
                "made so",
                host=self.host,
                generation=self.generation,
                actions=self._actions,
                failed=self._failed,
                ms=milliseconds(took),
            )
        self._actions = self._failed = 0

    def _hurry(self, change: Change, before: HostManifest) -> None:
        """What failed for an earlier wish need not fail for this one: try at once."""
        if not self._ground.patience:
            return
        for item in change.items:
            self._ground.patience.hurry(item.id)
            if item.kind is ItemKind.LEASE and (lease := before.leases.get(NicId(item.id))):
                self._ground.patience.hurry(lease.network)
            if item.kind is ItemKind.LEASE and item.body is not None:
                self._ground.patience.hurry(
                    self._ground.wishes.manifest.leases[NicId(item.id)].network
                )
            if item.kind is ItemKind.GUEST and item.body is not None:
                for key in needs(self._ground.wishes.manifest.guests[MachineId(item.id)]):
                    self._ground.patience.hurry(key)
        self._forget(change, before)

    def _forget(self, change: Change, before: HostManifest) -> None:
        """What failed for guests that are gone, and for nobody else, is no reason to give up the next one."""
        gone = [
            before.guests[MachineId(item.id)]
            for item in change.items
            if item.kind is ItemKind.GUEST and item.body is None and item.id in before.guests
        ]
        if gone:
            left = self._ground.wishes.manifest.guests.values()
            for key in {k for w in gone for k in needs(w)} - {k for w in left for k in needs(w)}:
                self._ground.patience.fine(key)

    def _want_leases(self) -> None:
        """Of guests that are to run, and of those that do."""
        keeper, wishes = self.drivers.leases, self._ground.wishes
        if keeper is None or not wishes.known:
            return
        guests = self._ground.seen.guests
        running = None
        if guests is not None:
            running = {m for m, found in guests.items() if found.power is GuestPower.RUNNING}
        to_run = [
            wish
            for wish in (*wishes.manifest.guests.values(), *wishes.kept.values())
            if wish.power is Power.ON or (running and wish.machine in running)
        ]
        keeper.want(filter(None, map(wanted, to_run)), running)

    def _tend(self) -> None:
        if self._ground.wishes.known:
            self._guests.tend(self._ground.seen)

    def _keep(self) -> bool:
        """Write down what changed; whether the ledger holds what is about to be acted upon."""
        saved, manifest = self._saved, self._ground.wishes.manifest
        kept = self._ground.wishes.kept
        same = saved and saved.manifest is manifest and saved.kept == kept
        if same and saved and saved.facts == self._ground.facts:
            return True
        held = Held(manifest=manifest, facts=dict(self._ground.facts), kept=dict(kept))
        try:
            self._ledger.save(held)
        except OSError as error:
            log.error("the ledger can't be written, so nothing is done: %s", error)  # noqa: TRY400
            return False
        self._saved = held
        return True
