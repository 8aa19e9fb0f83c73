"""Whatever is wished for and whatever happens to a host, in any order: nothing forbidden happens, and in the end it is so."""

from datetime import timedelta

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent import make_agent as make
from agent.likeness import differences, wishes
from agent.make_agent import Rig
from arable.domain.manifest import ItemKind, Power
from arable.drivers.hypervisor.protocol import GuestPower

NAMES = st.sampled_from("abc")
KINDS = st.sampled_from(["ensure", "stop", "remove", "erase", "admit", "seed"])


class AgentOnAHost(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig()
        self.counter = 0
        self.heard = True
        self.made: set[str] = set()
        self.ever_scrapped: set[str] = set()
        self.halts: dict[str, tuple[int, int]] = {}
        self.vlans: dict[str, int] = {}

    def _wish(self, *made, no=()) -> None:
        if self.heard:
            self.rig.wish(*made, no=no)
        else:  # the server changes its mind while nobody listens
            for wish in made:
                item = make.item(wish)
                self.rig.wished[item.kind, item.id] = wish
            for wish in no:
                item = make.item(wish)
                self.rig.wished.pop((item.kind, item.id), None)
            self.rig.generation += 1

    def _next(self) -> int:
        self.counter += 1
        return self.counter

    @rule(
        name=NAMES,
        power=st.sampled_from(Power),
        force=st.booleans(),
        more=st.booleans(),
        vlan=st.sampled_from([100, 101]),
        boots=st.integers(0, 1),
    )
    def wish_for_a_guest(self, name, power, force, more, vlan, boots) -> None:
        before = wishes(self.rig, ItemKind.GUEST).get(make.machine(name))
        scraps = wishes(self.rig, ItemKind.SCRAP)
        if {make.volume(name), make.volume(f"{name}2")} & scraps.keys():
            return  # no server wishes for a machine whose disk it has erased
        if before is None and make.machine(name) not in self.rig.hardware.guests:
            self.vlans[name] = vlan  # no network gets another one while a host has a port in it
        disks = (
            (make.disk(name), make.disk(f"{name}2", source=None)) if more else (make.disk(name),)
        )
        self._wish(
            make.guest(
                name,
                generation=self._next(),
                power=power,
                force=force,
                boots=(before.boots if before else 1) + boots,
                disks=disks,
                ports=(make.port(name, vlan=self.vlans[name]),) if before is None else before.ports,
            )
        )

    @rule(name=NAMES, scrap=st.booleans())
    def wish_no_longer(self, name, scrap) -> None:
        guest = wishes(self.rig, ItemKind.GUEST).get(make.machine(name))
        if guest:
            scraps = [make.scrap(disk.volume.partition("-")[2]) for disk in guest.disks]
            self.ever_scrapped |= {wish.volume for wish in scraps} if scrap else set()
            self._wish(*(scraps if scrap else []), no=[guest])

    @rule(name=NAMES)
    def forget_a_scrap(self, name) -> None:
        scrap = make.scrap(name)
        if scrap.volume in self.rig.server.scrapped:
            self._wish(no=[scrap])

    @rule(name=NAMES, there=st.booleans(), public=st.booleans())
    def wish_for_an_appliance(self, name, there, public) -> None:
        vlan = {"a": 100, "b": 101, "c": 102}[name]
        wish = make.appliance(name, vlan=vlan, generation=self._next())
        wish = (
            wish
            if public
            else make.appliance(name, vlan=vlan, generation=self.counter, public=None)
        )
        self._wish(*([wish] if there else []), no=[] if there else [wish])

    @rule(name=NAMES, of=NAMES, there=st.booleans())
    def wish_for_a_lease(self, name, of, there) -> None:
        wish = make.lease(name, of=of)
        self._wish(*([wish] if there else []), no=[] if there else [wish])

    @rule()
    def the_agent_steps(self) -> None:
        self.rig.step()

    @rule(seconds=st.sampled_from([1, 10, 60, 300]))
    def time_passes(self, seconds) -> None:
        self.rig.clock.wait(timedelta(seconds=seconds))

    @rule()
    def the_agent_restarts(self) -> None:
        self.rig.restart(alone=not self.heard)

    @rule()
    def the_ledger_is_lost(self) -> None:
        self.rig.ledger.held = None
        self.rig.restart(alone=not self.heard)

    @rule()
    def the_connection_is_lost(self) -> None:
        self.heard = False

    @rule()
    def the_connection_is_back(self) -> None:
        self.heard = True
        self.rig.connect()

    @rule(what=st.none() | KINDS, after=st.booleans())
    def a_driver_fails_from_now_on(self, what, after) -> None:
        start = f"{'after' if after else 'before'} {what}"
        self.rig.faults.when = lambda where: what is not None and where.startswith(start)

    @rule(name=NAMES, how=st.sampled_from(["crash", "power_off_by_guest", "disobey"]))
    def something_happens_to_a_guest(self, name, how) -> None:
        machine = make.machine(name)
        if machine in self.rig.hardware.guests:
            found = self.rig.hardware.found[machine]
            if how == "power_off_by_guest" and found.power is GuestPower.RUNNING:
                self.halts[machine] = (found.generation, found.boots)
            getattr(self.rig.hardware, how)(machine)

    @rule()
    def the_power_fails(self) -> None:
        self.rig.hardware.lose_power()
        self.rig.restart(alone=not self.heard)

    @invariant()
    def nothing_forbidden_was_done(self) -> None:
        assert not self.rig.hardware.mishaps

    @invariant()
    def disks_are_erased_only_when_that_was_wished(self) -> None:
        there = self.rig.hardware.pools[make.POOL].volumes.keys()
        assert self.made - there <= self.ever_scrapped
        self.made |= there

    @invariant()
    def what_was_told_erased_is_erased(self) -> None:
        there = self.rig.hardware.pools[make.POOL].volumes.keys()
        named = {d.volume for w in wishes(self.rig, ItemKind.GUEST).values() for d in w.disks}
        assert not (self.rig.server.scrapped & there) - named

    @precondition(lambda self: self.heard)
    @rule()
    def all_is_well_in_the_end(self) -> None:
        self.rig.faults.when = lambda _where: False
        self.the_connection_is_back()
        self.rig.settle(700)
        turns = {
            machine: (wish.generation, wish.boots)
            for machine, wish in wishes(self.rig, ItemKind.GUEST).items()
        }
        halted = frozenset(m for m, turn in self.halts.items() if turns.get(m) == turn)
        assert not differences(self.rig, halted)

    def teardown(self) -> None:
        self.all_is_well_in_the_end()


AgentOnAHost.TestCase.settings = settings(
    deadline=None, max_examples=80, stateful_step_count=40, print_blob=True
)
TestAgentOnAHost = AgentOnAHost.TestCase
