"""Any sequence of asks, against a small model: what is held is the sum over what lives, names and addresses are unique,
and every operation that runs has exactly the machines that it waits for.
"""

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from make_cloud import Cloud, make_cloud

from arable.controllers import endings
from arable.domain.errors import CloudError
from arable.domain.machine import MACHINE, MachineEvent, MachineState
from arable.services import machines, power
from arable.store import attention
from arable.store.database import Database
from arable.store.schema import metadata
from arable.wire.machines import DestroyIn, DiskIn, MachineChange, RecoverIn, ResizeIn, StopIn

NAMES = st.sampled_from(["a", "b", "c", "d"])
LIMIT = 8
SIZES = {"small": (1, 512), "large": (4, 4096)}
LIVING = ("running", "stopped")


class Machines(RuleBasedStateMachine):
    """The model: for each machine its name, offering, disks, and whether its name counts."""

    def __init__(self) -> None:
        super().__init__()
        database = Database("sqlite://")
        with database.write() as tx:
            metadata.create_all(tx)
        self.cloud: Cloud = make_cloud(database, guest_cidr="10.1.1.0/28")
        self.me = self.cloud.account("me", machines=LIMIT)
        self.model: dict[str, dict[str, Any]] = {}

    def teardown(self) -> None:
        self.cloud.database.close()

    # --- asks ---

    @rule(
        asks=st.lists(
            st.tuples(NAMES, st.integers(1, 4), st.sampled_from(sorted(SIZES)), st.booleans()),
            min_size=1,
            max_size=4,
        )
    )
    def deploy(self, asks: list[tuple[str, int, str, bool]]) -> None:
        """A batch; who is refused is foretold by the model, one ask after the other."""
        asked = [
            self.cloud.asked(
                self.me,
                name=name,
                count=count,
                offering=size,
                disks=(DiskIn(offering="any", mib=100),) if disk else (),
            )
            for name, count, size, disk in asks
        ]
        living = self.living_names()
        answers = self.cloud.batch(*asked)
        held = len(self.model)
        for (name, count, size, disk), answer in zip(asks, answers, strict=True):
            names = [name] if count == 1 else [f"{name}-{n}" for n in range(1, count + 1)]
            if held + count > LIMIT:
                assert type(answer).__name__ == "LimitExceeded"
                continue
            held += count  # a refusal for another reason gives back at the end of the batch
            if living & set(names):
                assert type(answer).__name__ == "Conflict"
                continue
            living |= set(names)
            assert not isinstance(answer, CloudError), answer
            for made in answer.machines:
                self.model[made.id] = {
                    "name": made.name,
                    "size": size,
                    "volumes": 2 if disk else 1,
                    "storage": 1124 if disk else 1024,
                }

    @precondition(lambda self: self.model)
    @rule(
        data=st.data(),
        ask=st.sampled_from(
            [
                (power.start, ()),
                (power.stop, (StopIn(),)),
                (power.stop, (StopIn(force=True),)),
                (power.reboot, ()),
                (power.destroy, (DestroyIn(),)),
                (power.destroy, (DestroyIn(expunge=True),)),
                (power.recover, (RecoverIn(),)),
                (power.recover, (RecoverIn(name="e"),)),
                (power.expunge, ()),
                (machines.update, (MachineChange(name="f"),)),
                (machines.resize, (ResizeIn(offering="large"),)),
                (machines.resize, (ResizeIn(offering="small"),)),
            ]
        ),
    )
    def ask(self, data: st.DataObject, ask: tuple[Callable[..., Any], tuple[Any, ...]]) -> None:
        id_ = data.draw(st.sampled_from(sorted(self.model)))
        use_case, args = ask
        try:
            self.cloud.do(self.me, use_case, id_, *args)
        except CloudError:
            return
        if use_case is machines.resize:
            self.model[id_]["size"] = args[0].offering
        for change in args:
            if isinstance(change, RecoverIn | MachineChange) and change.name:
                living = self.cloud.rows("select name from machine where id = :id", id=id_)
                self.model[id_]["name"] = living[0][0]

    # --- what controllers do ---

    @rule()
    def hosts_report(self) -> None:
        """All that is under way comes true."""
        with self.cloud.database.write() as tx:
            rows = list(attention.machines_by_id(tx, list(self.model)).values())
            at = self.cloud.around.clock.now()
            for row in rows:
                state = MachineState(row.state)
                for event in _COMES_TRUE.get((row.state, row.wish), ()):
                    state = MACHINE.next(state, event)
                if state == MachineState.EXPUNGING:
                    continue
                attention.change_machines(
                    tx,
                    ("state", "operation", "attention", "ran", "changed_at"),
                    [
                        {
                            "id": row.id,
                            "state": state.value,
                            "operation": None,
                            "attention": False,
                            "ran": max(row.told, 1),
                            "changed_at": attention.stamp(at),
                        }
                    ],
                )
                endings.settle(tx, [(row.operation, None)], at)

    @rule()
    def disks_are_erased(self) -> None:
        with self.cloud.database.write() as tx:
            rows = attention.machines_by_id(tx, list(self.model)).values()
            gone = [row for row in rows if row.state == MachineState.EXPUNGING]
            endings.gone(tx, gone, self.cloud.around.clock.now())
        for row in gone:
            del self.model[row.id]

    # --- what is always true ---

    def living_names(self) -> set[str]:
        rows = self.cloud.rows("select name from machine where wish in ('running', 'stopped')")
        return {name for (name,) in rows}

    @invariant()
    def what_is_held_is_the_sum_over_what_lives(self) -> None:
        used = {**self.cloud.used(self.me)}
        used.pop("networks", None)
        used.pop("addresses", None)
        sums = {
            "machines": len(self.model),
            "cpus": sum(SIZES[m["size"]][0] for m in self.model.values()),
            "memory_mib": sum(SIZES[m["size"]][1] for m in self.model.values()),
            "volumes": sum(m["volumes"] for m in self.model.values()),
            "storage_mib": sum(m["storage"] for m in self.model.values()),
        }
        assert used == {name: amount for name, amount in sums.items() if amount}

    @invariant()
    def names_and_addresses_are_unique(self) -> None:
        rows = self.cloud.rows("select id, name, wish from machine")
        assert {id_: name for id_, name, _ in rows} == {
            id_: each["name"] for id_, each in self.model.items()
        }
        living = [name for _, name, wish in rows if wish in LIVING]
        assert len(living) == len(set(living))
        offsets = [offset for (offset,) in self.cloud.rows('select "offset" from nic')]
        assert len(offsets) == len(set(offsets)) == len(rows)
        assert all(2 <= offset <= 14 for offset in offsets)

    @invariant()
    def every_operation_that_runs_has_its_machines(self) -> None:
        pending = self.cloud.rows("select id, pending from operation where state = 'running'")
        waiting = self.cloud.rows(
            """select operation, count(*) from machine where operation is not null
               group by operation"""
        )
        assert sorted(pending) == sorted(waiting)


_E = MachineEvent
_COMES_TRUE = {
    ("waiting", "running"): (_E.PLACE, _E.SEE_RUNNING),
    ("starting", "running"): (_E.SEE_RUNNING,),
    ("stopping", "stopped"): (_E.SEE_STOPPED,),
    ("stopping", "destroyed"): (_E.SEE_STOPPED, _E.DESTROY),
    ("stopping", "gone"): (_E.SEE_STOPPED, _E.EXPUNGE),
}


TestMachines = Machines.TestCase
TestMachines.settings = settings(
    deadline=None,
    max_examples=30,
    stateful_step_count=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
