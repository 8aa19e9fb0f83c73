"""The right to run a machine: given once at a time, renewed, ended, and never given back to an earlier epoch."""

import contextlib
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from arable.domain.errors import CloudError, Forbidden, Stale, Unavailable
from arable.domain.ids import HostId, MachineId, VolumeId
from arable.domain.manifest import Heir
from arable.drivers.faults import Faults, every_failure
from arable.drivers.storage.lease_records import FileRecords, MemoryRecords
from arable.drivers.storage.leases import Held, Lapsed, Leases, Right, TooEarly
from arable.runtime.boottime import ClockBootTime
from arable.runtime.clock import VirtualClock

M, N = MachineId("machine-m"), MachineId("machine-n")
A, B, C = HostId("host-a"), HostId("host-b"), HostId("host-c")
V, W = VolumeId("volume-v"), VolumeId("volume-w")
LENGTH = 30.0

Serving = tuple[VolumeId, int, HostId]


@dataclass
class Exports:
    """Servers of disks: they outlive an agent, and are many only if somebody forgot to cut."""

    faults: Faults = field(default_factory=Faults)
    serving: set[Serving] = field(default_factory=set)
    standing_in: set[Serving] = field(default_factory=set)

    absent: set[VolumeId] = field(default_factory=set)

    def has(self, volume) -> bool:
        return volume not in self.absent

    def open(self, epoch, holder, volumes) -> None:
        wanted = {(volume, epoch, holder) for volume in volumes}
        if wanted - self.serving:
            with self.faults.around(f"open {epoch}"):
                self.serving |= wanted

    def cut(self, volumes) -> None:
        gone = {one for one in self.serving if one[0] in set(volumes)}
        if gone:
            with self.faults.around("cut"):
                self.serving -= gone
        self.stand_down(volumes)

    def stand_in(self, epoch, heir, volumes) -> None:
        self.standing_in |= {(volume, epoch, heir) for volume in volumes}

    def alive(self, volumes) -> bool:
        return {one[0] for one in self.serving} >= set(volumes)

    def stand_down(self, volumes) -> None:
        self.standing_in = {one for one in self.standing_in if one[0] not in set(volumes)}


def right(epoch: int, holder: HostId = A, **but) -> Right:
    return Right(**{"machine": M, "holder": holder, "epoch": epoch, "volumes": (V, W)} | but)


@dataclass
class Place:
    """A storage host whose agent may be replaced at any time."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    records: MemoryRecords = field(default_factory=MemoryRecords)
    exports: Exports = field(default_factory=Exports)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.leases = Leases(self.records, self.exports, ClockBootTime(self.clock), LENGTH)

    def wait(self, seconds: float) -> None:
        self.clock.wait(timedelta(seconds=seconds))


@pytest.fixture
def place() -> Place:
    return Place()


def given(place: Place, epoch: int = 1, holder: HostId = A) -> None:
    place.leases.allow(right(epoch, holder))
    place.leases.acquire(M, holder, epoch)


def test_who_was_given_the_right_gets_the_lease_and_the_disks(place) -> None:
    place.leases.allow(right(1))
    assert place.leases.acquire(M, A, 1) == LENGTH
    assert place.exports.serving == {(V, 1, A), (W, 1, A)}
    assert place.leases.acquire(M, A, 1) == LENGTH  # the answer was lost


@pytest.mark.parametrize(("holder", "epoch"), [(B, 1), (A, 2), (B, 2)])
def test_nobody_else_gets_it(place, holder, epoch) -> None:
    place.leases.allow(right(1))
    with pytest.raises(Forbidden):
        place.leases.acquire(M, holder, epoch)
    assert not place.exports.serving


def test_nobody_gets_a_lease_of_a_machine_that_is_not_known_here(place) -> None:
    with pytest.raises(Forbidden):
        place.leases.acquire(M, A, 1)


def test_the_next_epoch_waits_until_the_last_ones_time_is_over(place) -> None:
    given(place)
    place.wait(LENGTH - 1)
    place.leases.renew(M, A, 1)
    place.leases.allow(right(2, B))
    assert not place.exports.serving, "cut at once, whoever still runs"
    with pytest.raises(TooEarly) as early:
        place.leases.acquire(M, B, 2)
    assert early.value.seconds == pytest.approx(LENGTH)
    place.wait(LENGTH - 0.1)
    with pytest.raises(TooEarly):
        place.leases.acquire(M, B, 2)
    place.wait(0.2)
    place.leases.acquire(M, B, 2)
    assert place.exports.serving == {(V, 2, B), (W, 2, B)}


def test_an_old_holder_is_refused_for_good(place) -> None:
    given(place)
    place.leases.allow(right(2, B))
    for _ in range(2):
        with pytest.raises(Stale):
            place.leases.renew(M, A, 1)
        with pytest.raises(Stale):
            place.leases.acquire(M, A, 1)
        with pytest.raises(Stale):
            place.leases.allow(right(1))
        place.restart()
        place.wait(LENGTH)


def test_an_epoch_belongs_to_one_host(place) -> None:
    given(place)
    for _ in range(2):
        with pytest.raises(Stale):
            place.leases.allow(right(1, B))
        place.restart()


def test_who_lets_go_need_not_be_waited_for(place) -> None:
    given(place)
    place.leases.release(M, A, 1)
    assert not place.exports.serving
    place.leases.allow(right(2, B))
    place.leases.acquire(M, B, 2)
    place.leases.release(M, A, 1)  # said twice, and late
    assert place.leases.record(M).held is Held.TAKEN


def test_a_host_without_power_need_not_be_waited_for(place) -> None:
    given(place)
    place.leases.allow(right(2, B, fenced=A))
    place.leases.acquire(M, B, 2)
    assert place.exports.serving == {(V, 2, B), (W, 2, B)}


def test_another_host_without_power_says_nothing_of_the_one_that_has_the_lease(place) -> None:
    given(place)
    place.leases.allow(right(2, B, fenced=C))
    with pytest.raises(TooEarly):
        place.leases.acquire(M, B, 2)


def test_a_host_need_not_wait_for_itself(place) -> None:
    given(place)
    given(place, 2)
    assert place.exports.serving == {(V, 2, A), (W, 2, A)}


def test_a_restart_makes_promises_longer_and_never_shorter(place) -> None:
    given(place)
    place.wait(LENGTH - 1)
    place.restart()
    place.leases.allow(right(2, B))
    place.wait(LENGTH - 1)
    with pytest.raises(TooEarly):
        place.leases.acquire(M, B, 2)
    place.wait(2)
    place.leases.acquire(M, B, 2)


def test_what_was_let_go_before_a_restart_is_free_after_it(place) -> None:
    given(place)
    place.leases.release(M, A, 1)
    place.restart()
    place.leases.allow(right(2, B))
    place.leases.acquire(M, B, 2)


def test_a_holder_renews_after_a_restart_as_before_without_any_manifest(place) -> None:
    given(place)
    place.restart()
    assert place.leases.renew(M, A, 1) == LENGTH
    assert place.leases.acquire(M, A, 1) == LENGTH


def test_a_shorter_length_does_not_shorten_what_was_promised(place) -> None:
    given(place)
    place.leases = Leases(place.records, place.exports, ClockBootTime(place.clock), 5.0)
    place.leases.allow(right(2, B))
    place.wait(6)
    with pytest.raises(TooEarly):
        place.leases.acquire(M, B, 2)


def test_without_a_wish_who_has_a_lease_keeps_it_and_nobody_gets_one(place) -> None:
    given(place)
    place.leases.forget(M)
    place.leases.renew(M, A, 1)
    place.leases.release(M, A, 1)
    with pytest.raises(Forbidden):
        place.leases.acquire(M, A, 1)


def test_what_a_holder_that_died_never_let_go_is_free_when_its_time_is_over(place) -> None:
    given(place)
    place.leases.forget(M)
    place.wait(LENGTH - 1)
    place.leases.tend()
    assert place.exports.serving == {(V, 1, A), (W, 1, A)}
    place.leases.renew(M, A, 1)
    place.wait(LENGTH - 1)
    place.leases.tend()
    assert place.leases.record(M).held is Held.TAKEN
    place.wait(2)
    place.leases.tend()
    assert place.leases.record(M).held is Held.FREE
    assert not place.exports.serving


def test_a_wish_keeps_a_lease_whose_time_is_over_for_its_holder(place) -> None:
    given(place)
    place.wait(LENGTH + 1)
    place.leases.tend()
    assert place.leases.renew(M, A, 1) == LENGTH


def test_a_lease_that_was_not_renewed_in_time_is_told_once_and_so_is_its_return(place) -> None:
    given(place)
    told: list[bool] = []
    place.leases.changed = lambda: told.append(place.leases.lapsed(M))
    place.wait(LENGTH - 1)
    place.leases.tend()
    assert told == []
    place.wait(1)
    place.leases.tend()
    place.leases.tend()
    assert told == [True]
    place.leases.renew(M, A, 1)
    place.leases.tend()
    assert told == [True, False]


def test_what_was_taken_back_is_no_ones_to_hand_over_and_its_holders_to_keep(place) -> None:
    heir = Heir(host=B, epoch=2)
    given(place)
    place.leases.forget(M)
    place.wait(LENGTH)
    place.leases.tend()
    assert place.leases.record(M).held is Held.FREE
    with pytest.raises(Lapsed):
        place.leases.renew(M, A, 1)
    with pytest.raises(Forbidden):
        place.leases.keep(M, A, 1, to=2)
    place.leases.allow(right(1, heir=heir))
    with pytest.raises(Forbidden):
        place.leases.hand_over(M, A, 1, to=2)
    with pytest.raises(Forbidden):
        place.leases.acquire(M, B, 2)
    assert place.leases.keep(M, A, 1, to=2) == LENGTH
    assert place.exports.serving == {(V, 1, A), (W, 1, A)}
    with pytest.raises(Forbidden):
        place.leases.acquire(M, B, 2)


def test_a_disk_is_served_to_one_machine_at_a_time(place) -> None:
    given(place)
    place.leases.allow(right(1, B, machine=N, volumes=(W,)))
    with pytest.raises(TooEarly):
        place.leases.acquire(N, B, 1)
    place.leases.release(M, A, 1)
    place.leases.acquire(N, B, 1)
    assert place.exports.serving == {(W, 1, B)}


def test_a_server_that_went_away_is_brought_back_for_the_same_epoch(place) -> None:
    given(place)
    place.exports.serving.clear()
    place.leases.tend()
    assert place.exports.serving == {(V, 1, A), (W, 1, A)}


def test_what_somebody_forgot_is_cut_before_anybody_is_let_in(place) -> None:
    place.exports.serving = {(V, 0, C)}
    given(place)
    assert place.exports.serving == {(V, 1, A), (W, 1, A)}


def test_a_lease_whose_disks_could_not_be_served_is_one_all_the_same(place) -> None:
    place.exports.faults.when = lambda where: where == "before open 1"
    with pytest.raises(Unavailable):
        given(place)
    place.leases.allow(right(2, B))
    with pytest.raises(TooEarly):
        place.leases.acquire(M, B, 2)
    place.wait(LENGTH + 1)
    place.leases.acquire(M, B, 2)


def test_no_next_epoch_is_let_in_while_the_old_one_can_not_be_cut(place) -> None:
    given(place)
    place.exports.faults.when = lambda where: where == "before cut"
    with pytest.raises(Unavailable):
        place.leases.allow(right(2, B))
    place.wait(2 * LENGTH)
    with pytest.raises(Unavailable):
        place.leases.acquire(M, B, 2)
    with pytest.raises(Stale):
        place.leases.renew(M, A, 1)
    place.exports.faults.when = lambda where: False
    place.leases.acquire(M, B, 2)
    assert place.exports.serving == {(V, 2, B), (W, 2, B)}


def test_wherever_a_change_of_hands_is_broken_off_there_is_one_writer_at_most_and_it_ends_well() -> (
    None
):
    def story(faults: Faults) -> None:
        place = Place(records=MemoryRecords(faults), exports=Exports(faults))
        seen: list[int] = []

        def say(act) -> None:
            for _ in range(3):
                try:
                    act()
                except (Unavailable, TooEarly):
                    place.restart()
                    for wish in wishes:
                        with contextlib.suppress(Unavailable):
                            place.leases.allow(wish)
                else:
                    break
                finally:
                    now = {epoch for _, epoch, _ in place.exports.serving}
                    assert len(now) <= 1, now
                    seen.extend(now)
                place.wait(LENGTH + 1)

        wishes = [right(1)]
        say(lambda: place.leases.allow(wishes[0]))
        say(lambda: place.leases.acquire(M, A, 1))
        wishes = [right(2, B)]
        say(lambda: place.leases.allow(wishes[0]))
        place.wait(LENGTH + 1)
        say(lambda: place.leases.acquire(M, B, 2))
        assert place.exports.serving == {(V, 2, B), (W, 2, B)}
        say(lambda: place.leases.release(M, B, 2))
        assert not place.exports.serving
        assert seen == sorted(seen), "an epoch never comes back"

    tried = 0
    for faults in every_failure(story):
        story(faults)
        tried += 1
    assert tried > 15


def test_records_survive_on_disk_and_a_damaged_one_stops_its_own_machine_only(tmp_path) -> None:
    clock = VirtualClock()
    place = Place(clock, FileRecords(tmp_path))
    given(place)
    place.leases.allow(right(1, B, machine=N, volumes=()))
    place.leases.acquire(N, B, 1)
    (tmp_path / "machines" / M).write_bytes(b"\0" * 40)
    (tmp_path / "staging" / "half").write_bytes(b"{")
    place.records = FileRecords(tmp_path)
    place.restart()
    assert place.leases.renew(N, B, 1) == LENGTH
    with pytest.raises(Stale):
        place.leases.allow(right(7, B))
    with pytest.raises(Stale):
        place.leases.renew(M, A, 1)
    assert not list((tmp_path / "staging").iterdir())


@dataclass
class Runner:
    """A compute host: runs the machine until its own reckoning says that the time is over."""

    epoch: int = 0
    until: float = 0.0
    down: bool = False


class ManyHands(RuleBasedStateMachine):
    """Hosts, an operator who changes their mind, messages that are late, restarts and failures."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Place(records=MemoryRecords(), exports=Exports())
        self.hosts = {A: Runner(), B: Runner(), C: Runner()}
        self.wish = self.heard = right(0, A)  # the last one, and the last that was taken up
        self.late: list[tuple[float, HostId, int]] = []
        self.highest = 0

    def now(self) -> float:
        return self.place.clock.monotonic()

    def runs(self, host: HostId) -> bool:
        one = self.hosts[host]
        return not one.down and one.epoch > 0 and self.now() < one.until

    @rule(holder=st.sampled_from([A, B, C]))
    def a_new_holder_is_wished(self, holder) -> None:
        before = self.wish
        fenced = before.holder if self.hosts[before.holder].down else None
        self.wish = right(before.epoch + 1, holder, fenced=fenced)
        self.tell()

    @rule()
    def tell(self) -> None:
        with contextlib.suppress(Unavailable):
            self.place.leases.allow(self.wish)
            self.heard = self.wish

    @rule(host=st.sampled_from([A, B, C]), epoch=st.integers(0, 8))
    def anybody_asks_for_anything(self, host, epoch) -> None:
        self.ask(host, epoch, self.now())

    @rule(host=st.sampled_from([A, B, C]))
    def the_rightful_one_asks(self, host) -> None:
        if host == self.wish.holder:
            self.ask(host, self.wish.epoch, self.now())

    @rule(host=st.sampled_from([A, B, C]))
    def a_renewal_is_sent(self, host) -> None:
        if self.runs(host):
            self.late.append((self.now(), host, self.hosts[host].epoch))

    @rule(data=st.data())
    def a_renewal_arrives(self, data) -> None:
        if self.late:
            at, host, epoch = self.late.pop(data.draw(st.integers(0, len(self.late) - 1)))
            try:
                self.place.leases.renew(M, host, epoch)
            except CloudError:
                return
            one = self.hosts[host]
            if self.runs(host) and one.epoch == epoch:
                one.until = max(one.until, at + LENGTH)

    @rule(host=st.sampled_from([A, B, C]))
    def a_guest_ends_and_its_lease_is_let_go(self, host) -> None:
        one = self.hosts[host]
        epoch, one.epoch = one.epoch, 0
        if epoch and not one.down:
            with contextlib.suppress(Unavailable):
                self.place.leases.release(M, host, epoch)

    @rule(host=st.sampled_from([A, B, C]), down=st.booleans())
    def power_comes_and_goes(self, host, down) -> None:
        heard = self.place.leases.record(M).epoch >= self.wish.epoch
        if self.wish.fenced == host and not heard:
            return  # who was said to be without power stays so until that was heard
        self.hosts[host] = Runner(down=down)

    @rule(seconds=st.sampled_from([0.1, 1, 9, 14, 29.5, 31]))
    def time_passes(self, seconds) -> None:
        self.place.wait(seconds)

    @rule(reboot=st.booleans(), wishes=st.booleans())
    def the_storage_host_restarts(self, reboot, wishes) -> None:
        if reboot:
            self.place.exports.serving.clear()
        self.place.restart()
        if wishes:
            self.tell()

    @rule(at=st.integers(0, 5))
    def something_will_fail(self, at) -> None:
        self.place.records.faults = Faults(fail_at=at)
        self.place.exports.faults = Faults(fail_at=at)

    @rule()
    def it_is_tended(self) -> None:
        with contextlib.suppress(Unavailable):
            self.place.leases.tend()

    def ask(self, host, epoch, at) -> None:
        one = self.hosts[host]
        if one.down:
            return
        try:
            self.place.leases.acquire(M, host, epoch)
        except CloudError:
            return
        wishes = [(wish.holder, wish.epoch) for wish in (self.wish, self.heard)]
        assert (host, epoch) in wishes or one.epoch == epoch
        self.hosts[host] = replace(one, epoch=epoch, until=at + LENGTH)

    @invariant()
    def never_two_writers(self) -> None:
        serving = self.place.exports.serving
        assert len({volume for volume, _, _ in serving}) == len(serving), serving

    @invariant()
    def never_running_twice(self) -> None:
        assert sum(self.runs(host) for host in self.hosts) <= 1, self.hosts

    @invariant()
    def epochs_never_go_back(self) -> None:
        now = max((epoch for _, epoch, _ in self.place.exports.serving), default=self.highest)
        assert now >= self.highest
        self.highest = now


TestManyHands = ManyHands.TestCase
TestManyHands.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
