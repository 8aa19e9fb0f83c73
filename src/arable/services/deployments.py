"""Deploying machines, in batches: a thousand asks are a few statements, and a refused one spoils nobody's.

Order matters. Taking from the limits holds the accounts' rows, in order of id; whoever holds an account's row is alone
with its names and with what is made on first use. Networks are held next, also in order. Only then rows are written.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from arable.domain.errors import CloudError, Conflict
from arable.domain.farm import DEFAULT
from arable.domain.guest_cidr import checked
from arable.domain.ids import (
    AccountId,
    FarmId,
    ImageId,
    MachineId,
    NetworkId,
    OperationId,
    StorageZoneId,
    ZoneId,
)
from arable.domain.network import Network, NetworkState
from arable.domain.transfer import Transfer
from arable.services import catalogue
from arable.services import networks as networks_
from arable.services.asks import MACHINES
from arable.services.call import Asked, Call
from arable.services.deployment_plans import Plan, plan, plan_like
from arable.services.guest_addresses import GuestAddresses, look_ahead
from arable.services.new_machines import Deployment, Rows
from arable.services.passwords import Password
from arable.services.references import References
from arable.store import (
    farms,
    machines,
    networks,
    quotas,
)
from arable.store.attention import Landed
from arable.store.database import Tx
from arable.store.nudges import nudge
from arable.store.rates import Rates
from arable.wire.machines import DeployedOut, DeployIn, DeployOut


def deploy(call: Call, ask: DeployIn, passwords: Sequence[Password] | None) -> DeployOut:
    """One ask alone."""
    asked = Asked(call.caller, call.around, (ask, passwords), call.dry_run, call.expects)
    (answer,) = deploy_batch(call.tx, [asked])
    if isinstance(answer, CloudError):
        raise answer
    return answer


def deploy_batch(tx: Tx, asks: Sequence[Asked]) -> list[DeployOut | CloudError]:
    """An answer or a refusal for each, in order; a refused one has written nothing."""
    batch = _Batch(tx)
    found = References(tx)
    if len(asks) > 1:
        found.prepare((each.caller.account, each.args[0].zone, each.args[0].image) for each in asks)
    last: Plan | None = None
    for at, asked in enumerate(asks):
        try:
            alike = plan_like(found, asked, last) if last else None
            last = batch.plans[at] = alike or plan(found, asked)
        except CloudError as error:
            batch.refused[at] = error
    batch.take_limits()
    batch.check_names()
    batch.make_networks()
    batch.take_addresses()
    answers = batch.keep()
    return [answers.get(at) or batch.refused[at] for at in range(len(asks))]


@dataclass(slots=True)
class _Batch:
    tx: Tx
    plans: dict[int, Plan] = field(default_factory=dict)
    refused: dict[int, CloudError] = field(default_factory=dict)
    defaults: dict[tuple[AccountId, ZoneId], Network] = field(default_factory=dict)
    offsets: dict[int, list[list[int]]] = field(default_factory=dict)  # by ask, by nic
    pools: dict[NetworkId, GuestAddresses] = field(default_factory=dict)
    _farms: dict[tuple[AccountId, ZoneId], FarmId] = field(default_factory=dict)
    _transfers: dict[tuple[ImageId, int], Transfer | None] = field(default_factory=dict)
    _back: list[tuple[AccountId, Mapping[str, int]]] = field(default_factory=list)

    def take_limits(self) -> None:
        """All that an ask needs of its account's limits, or the refusal."""
        asks = [(each.account, each.amounts) for each in self.plans.values()]
        for at, refusal in zip(list(self.plans), quotas.take_many(self.tx, asks), strict=True):
            if refusal is not None:
                self.refused[at] = refusal
                del self.plans[at]

    def check_names(self) -> None:
        """Nobody else of the account has the name: neither in the store nor earlier in this batch."""
        wanted: dict[tuple[AccountId, ZoneId], list[str]] = {}
        for each in self.plans.values():
            wanted.setdefault((each.account, each.zone.id), []).extend(each.names)
        taken = machines.names_taken_by(self.tx, wanted)
        for at, each in list(self.plans.items()):
            there = taken[each.account, each.zone.id]
            twice = next((name for name in each.names if name in there), None)
            if twice is not None:
                error = Conflict(
                    f"you have a machine named {twice} in {each.zone.name} already", field="name"
                )
                self._refuse(at, error)
            else:
                there.update(each.names)

    def make_networks(self) -> None:
        """The default network, on first use. Somebody may have made it since the plan."""
        failed: dict[tuple[AccountId, ZoneId], CloudError] = {}
        for at, each in list(self.plans.items()):
            if all(nic.network is not None for nic in each.nics):
                continue
            key = (each.account, each.zone.id)
            if key not in self.defaults and key not in failed:
                there = networks.named(self.tx, *key, DEFAULT)
                try:
                    self.defaults[key] = there or self._make_network(each)
                except CloudError as error:
                    failed[key] = error
            if key in failed:
                self._refuse(at, failed[key])

    def _make_network(self, each: Plan) -> Network:
        with self.tx.begin_nested():
            return networks_.make(
                each.asked.on(self.tx),
                each.account,
                each.zone,
                DEFAULT,
                checked(each.zone.guest_cidr, "zone"),
            )

    def take_addresses(self) -> None:
        """Of every network at once, with its row held."""
        need: dict[NetworkId, int] = {}
        for each in self.plans.values():
            for network in self._networks(each):
                need[network.id] = need.get(network.id, 0) + len(each.names)
        for id_, network in networks.by_ids(self.tx, need, lock=True).items():
            self.pools[id_] = GuestAddresses(self.tx, network, need[id_])
        look_ahead(self.tx, self.pools.values())
        for at, each in list(self.plans.items()):
            try:
                self.offsets[at] = self._offsets(each)
            except CloudError as error:
                self._refuse(at, error)

    def _offsets(self, each: Plan) -> list[list[int]]:
        taken: list[list[int]] = []
        held = self._networks(each)
        try:
            for position, (nic, network) in enumerate(zip(each.nics, held, strict=True)):
                pool = self.pools.get(network.id)
                if pool is None or pool.network.state is not NetworkState.READY:
                    raise Conflict(f"{network.name} was deleted meanwhile", field="networks")
                if nic.offset is not None:
                    taken.append(pool.take_one(nic.offset, f"networks.{position}.address"))
                else:
                    taken.append(pool.take(len(each.names)))
        except CloudError:
            for network, offsets in zip(held, taken, strict=False):
                self.pools[network.id].give_back(offsets)
            raise
        return taken

    def _networks(self, each: Plan) -> list[Network]:
        return [nic.network or self.defaults[each.account, each.zone.id] for nic in each.nics]

    def _refuse(self, at: int, error: CloudError) -> None:
        """After its limits were taken."""
        each = self.plans.pop(at)
        self.refused[at] = error
        self._back.append((each.account, each.amounts))

    def keep(self) -> dict[int, DeployOut]:
        """Write what is left, and give back what the refused ones had taken."""
        quotas.give_many(self.tx, self._back)
        self._find_farms()
        rows = Rows()
        rates = Rates.of(self.tx, {each.account for each in self.plans.values()})
        made: dict[int, Deployment] = {}
        named = {each.farm for each in self.plans.values() if each.farm is not None}
        reaches = farms.reaches(self.tx, named) if named else {}
        for at, each in self.plans.items():
            farm = self._farm(each)  # a default one has a storage zone of its own
            zone = reaches.get(farm, StorageZoneId(farm))
            made[at] = Deployment(each, farm, zone, self._networks(each), self.offsets[at])
            made[at].make(rows, self.pools, rates)
        if not made:
            return {}
        landed = self._land(made.values())
        waiting = sum(each.keep(rows, landed) for each in made.values())
        begun = {
            each.operation: self._bring(each.plan) for each in made.values() if each.plan.wanted
        }
        rows.write(self.tx)
        self._tell(made.values(), begun)
        networks.move_cursors(self.tx, {id_: pool.cursor for id_, pool in self.pools.items()})
        if waiting:
            nudge(self.tx, MACHINES)
        return {at: _answer(each) for at, each in made.items()}

    def _bring(self, plan: Plan) -> Transfer | None:
        """Have an image brought that is only in other regions. Machines of one batch want it once."""
        wanted = plan.wanted
        assert wanted is not None, "who asks has looked"
        key = (wanted.version.image, wanted.version.number)
        if key not in self._transfers:
            self._transfers[key] = catalogue.begin(self.tx, plan.asked.around, wanted)
        return self._transfers[key]

    def _tell(
        self, made: Iterable[Deployment], begun: Mapping[OperationId, Transfer | None]
    ) -> None:
        for each in made:
            transfer = begun.get(each.operation)
            if transfer is not None and each.plan.wanted is not None and each.plan.ask.start:
                around = each.plan.asked.around
                catalogue.tell(
                    self.tx, around, each.plan.wanted, transfer, each.operation, ends=False
                )

    def _land(self, made: Iterable[Deployment]) -> Mapping[MachineId, Landed]:
        """Which of them have their hosts already."""
        fresh = [machine for each in made if each.lands for machine in each.fresh]
        around = next(iter(self.plans.values())).asked.around
        if around.land is None or not fresh:
            return {}
        return around.land(self.tx, fresh, around.clock.now())

    def _find_farms(self) -> None:
        """The default farms that are there already, of all accounts at once."""
        wanted: dict[ZoneId, set[AccountId]] = {}
        for each in self.plans.values():
            if each.farm is None:
                wanted.setdefault(each.zone.id, set()).add(each.account)
        for zone, accounts in wanted.items():
            found = farms.named_by(self.tx, accounts, zone, DEFAULT)
            self._farms |= {(account, zone): farm.id for account, farm in found.items()}

    def _farm(self, each: Plan) -> FarmId:
        """The one that was named, or the default one, made on first use."""
        if each.farm is not None:
            return each.farm
        key = (each.account, each.zone.id)
        if key not in self._farms:
            farm = networks_.default_farm(each.asked.on(self.tx), *key)
            self._farms[key] = farm.id
        return self._farms[key]


def _answer(made: Deployment) -> DeployOut:
    plan = made.plan
    ids = [each.machine.id for each in made.fresh]
    passwords: dict[str, str] = {
        id_: password.text.reveal() for id_, password in zip(ids, plan.passwords, strict=False)
    }
    return DeployOut(
        operation=made.operation,
        machines=[
            DeployedOut(id=id_, name=name) for id_, name in zip(ids, plan.names, strict=True)
        ],
        passwords=passwords or None,
    )
