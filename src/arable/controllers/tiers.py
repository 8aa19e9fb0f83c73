"""Tiers become what they should be: machines are made for elements, led to, drained, dropped and replaced.

Each round gathers what is known of the elements of all farms with work, has `domain/tier_acts` say what is next, and
does it in the round's transaction. Nothing is remembered between rounds. What is done are asks that a customer could
make by hand; controllers know no services, so that the asks are `Hands` (services/hands.py), put in by who wires a
process.

What is refused (a limit, no room) is undone by its savepoint, told, and tried again after a pause; it is no trouble of
the farm's work.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from arable.controllers import replacing, rollouts
from arable.controllers.owner import Owner
from arable.controllers.paces import Paces
from arable.domain import template
from arable.domain.blueprint import Body, Keeps
from arable.domain.element import Element, ElementEvent, ElementState
from arable.domain.errors import CloudError, NotFound
from arable.domain.event import Event
from arable.domain.ids import ElementId, FarmId, MachineId, SegmentId
from arable.domain.tier import Door, Tier
from arable.domain.tier_acts import (
    RESTING,
    Act,
    Dismiss,
    Drain,
    Drop,
    Hold,
    Join,
    Keep,
    Leave,
    Make,
    Note,
    Pace,
    Promote,
    Rolling,
    Start,
    TakeBack,
    bound,
    complete,
    next_acts,
    patience,
    pause,
)
from arable.store import (
    blueprints,
    elements,
    events,
    farm_documents,
    incarnations,
    nics,
    operations,
    tier_notes,
    tiers,
    vpns,
)
from arable.store.database import Tx
from arable.store.nudges import nudge
from arable.wire.machines import DeployedOut, DeployIn, DiskIn, NicIn
from arable.wire.volumes import VolumeIn

MOST = 200
"""Acts of one round, more or less, after which others' work comes first."""
_TOGETHER = 10  # farms
SECONDS = 1
SWEEP_SECONDS = 60  # and when a host is lost
RESTS = 3.0
"""So many times as long as a round took is waited before what happened meanwhile makes another one."""
_SOON, _SELDOM = timedelta(seconds=1), timedelta(seconds=5)  # in case a note was lost
_MOST_FARMS = 200

_S, _E = ElementState, ElementEvent
_PATIENT = (*RESTING, _S.WAITING)


@dataclass(frozen=True, slots=True)
class KeptDisk:
    """A volume that stays with an element: what the farm calls it, and how it is made the first time."""

    part: str
    ask: VolumeIn


class Hands(rollouts.Hands, Protocol):
    """What can be asked for a farm, in the caller's transaction. All but `deploy` raise what is refused."""

    def new_element(self) -> ElementId: ...

    def deploy(
        self, tx: Tx, owner: Owner, asks: Sequence[DeployIn]
    ) -> Sequence[DeployedOut | CloudError]:
        """One machine, or why not, for each; what was refused has written nothing."""

    def deploy_with(
        self, tx: Tx, owner: Owner, ask: DeployIn, disks: Sequence[KeptDisk], reads: Sequence[str]
    ) -> DeployedOut:
        """One machine that has these volumes, which are made if they are not there, and reads those of these names."""

    def set_members(
        self, tx: Tx, owner: Owner, door: Door, weights: Mapping[MachineId, int | None]
    ) -> None:
        """What these machines get of a balancer: 0 is nobody new, None that they are no members."""

    def start(self, tx: Tx, owner: Owner, machine: MachineId) -> None: ...

    def destroy(self, tx: Tx, owner: Owner, machine: MachineId, *, force: bool) -> None:
        """To be erased as soon as it is off."""


def wanting(tx: Tx, holder: SegmentId, at: datetime) -> Sequence[FarmId]:
    """Its farms with tiers that are not as they should be."""
    return elements.wanting(tx, holder, at, _MOST_FARMS)


def sweep(tx: Tx, at: datetime) -> int:  # noqa: ARG001
    """Have tiers looked at whose elements serve no more, and of which nobody noted it: their host was lost."""
    found = elements.sweep(tx)
    if found:
        nudge(tx, tiers.TOPIC)
    return found


def attend(hands: Hands, tx: Tx, at: datetime, farms: Iterable[FarmId]) -> int:
    """One round for these farms; how much was done. Call again at once when it is `MOST` or more: the others wait."""
    if incarnations.taking_stock(tx):
        return 0
    # Whoever asks for several accounts takes their limits in order of account (services/deployments.py).
    ordered = elements.by_account(tx, farms)
    paces, done = Paces.of(tx), 0
    while ordered and done < MOST:
        some, ordered = ordered[:_TOGETHER], ordered[_TOGETHER:]
        done += _attend(hands, tx, at, some, paces)
    if done:
        nudge(tx, tiers.TOPIC)
    return done


def _attend(hands: Hands, tx: Tx, at: datetime, farms: Sequence[FarmId], paces: Paces) -> int:
    """Some of them; how much was done."""
    found = tiers.of_farms(tx, farms, lock=True)
    tier_notes.take(tx, farms)  # before the look: what is noted from now on is for the next one
    every = [tier for of in found.values() for tier in of]
    if not every:
        return 0
    bodies = blueprints.bodies(tx, [tier.id for tier in every])
    seen = elements.seen(tx, every, [tier.id for tier in every if bodies[tier.id].keeps != Keeps()])
    rolled = rollouts.look(hands, tx, at, every, seen)
    if changed := [tier for tier in rolled.tiers if tier not in every]:
        bodies |= blueprints.bodies(tx, [tier.id for tier in changed])
    done, later = 0, _Later(farms)
    progress, serving = set[FarmId](), Counter[FarmId]()
    for tier in sorted(rolled.tiers, key=lambda tier: (tier.account, tier.farm, tier.id)):
        body = bodies[tier.id]
        acts = next_acts(tier, seen[tier.id], rolled.wants.get(tier.id), at, paces.pace(body))
        known = {one.element.id: one.element for one in seen[tier.id]}
        work = _Work(hands, tx, at, tier, body, known, later)
        work.do(acts)
        # Of those that are made nothing is next before their hosts have told something.
        acted = any(not isinstance(act, Make) for act in acts)
        work.end(acted=acted, rolling=rolled.wants.get(tier.id), paces=paces)
        rolled.count_failures(tier, seen[tier.id], acts, work.elements)
        done += sum(len(act.numbers) if isinstance(act, Make) else 1 for act in acts)
        if work.well:
            progress.add(tier.farm)
        serving[tier.farm] += sum(e.state is _S.SERVING for e in work.elements.values())
    later.write(tx)
    _tell_progress(tx, at, found, serving, progress)
    return done


def _tell_progress(
    tx: Tx,
    at: datetime,
    found: Mapping[FarmId, Sequence[Tier]],
    serving: Mapping[FarmId, int],
    changed: Collection[FarmId],
) -> None:
    """Whoever waits for a change of these farms sees how far it is."""
    if not changed:
        return
    wished = {
        farm: sum(each.count for each in of if not each.leaving) for farm, of in found.items()
    }
    waiting = farm_documents.changing(tx, changed)
    steps = {
        operation: f"{serving[farm]} of {wished[farm]} elements serve"
        for farm, operation in waiting.items()
    }
    operations.advance_many(tx, steps, at)
    if any(serving[farm] >= wished[farm] for farm in waiting):
        nudge(tx, farm_documents.DONE)


@dataclass(slots=True)
class _Later:
    """What is read and written for all tiers of a round at once: it has hundreds of elements one step further."""

    farms: Sequence[FarmId]
    added: list[Element] = field(default_factory=list)
    saved: list[tuple[Element, int]] = field(
        default_factory=list
    )  # and the generation that is kept
    told: list[Event] = field(default_factory=list)
    looked: list[elements.Looked] = field(default_factory=list)
    _names: dict[FarmId, tuple[str, str]] = field(default_factory=dict)

    def owner(self, tx: Tx, tier: Tier) -> Owner:
        """In whose name is asked for a tier, and told."""
        if not self._names:
            self._names = elements.names(tx, self.farms)
        farm, zone = self._names[tier.farm]
        return Owner(tier.account, tier.farm, farm, tier.zone, zone)

    def write(self, tx: Tx) -> None:
        elements.add_many(tx, self.added)
        elements.save_many(tx, self.saved)
        elements.looked(tx, self.looked)
        events.add_many(tx, self.told)


@dataclass(slots=True)
class _Work:
    """One tier's round."""

    hands: Hands
    tx: Tx
    at: datetime
    tier: Tier
    body: Body
    elements: dict[ElementId, Element]
    later: _Later
    refused: str = ""
    made: int = 0
    well: int = 0
    told: list[Event] = field(default_factory=list)
    _owner: Owner | None = None
    _kept: dict[ElementId, int] = field(default_factory=dict)  # generations of rows that are behind
    _added: set[ElementId] = field(default_factory=set)  # those without a row

    def do(self, acts: Sequence[Act]) -> None:
        for act in acts:
            match act:
                case Note(id_, event, told):
                    self._note(id_, event, told)
                case Dismiss(id_):
                    self._dismiss(id_)
                case Keep(id_, told):
                    self._keep(id_, told)
                case Make(numbers, _, reserve):
                    there = {each.number: each for each in self.elements.values()}
                    new = [self._new(number) for number in numbers if number not in there]
                    wanted = [*(there[number] for number in numbers if number in there), *new]
                    singly = bool(self.body.keeps.volumes or self.body.reads)
                    if not singly:
                        self._refusable(partial(self._make, wanted, reserve))
                    for element in wanted if singly else ():
                        self._refusable(partial(self._make_with_disks, element, reserve))
                case _:
                    self._refusable(partial(self._ask, act))
        self.later.added += [self.elements[id_] for id_ in sorted(self._added)]
        changed = (each for each in self._kept.items() if each[0] not in self._added)
        self.later.saved += [(self.elements[id_], before) for id_, before in changed]
        self.later.told += self.told

    def _refusable(self, work: Callable[[], None]) -> None:
        """All of it, or nothing and why not."""
        elements_, kept, told = dict(self.elements), dict(self._kept), len(self.told)
        try:
            with self.tx.begin_nested():
                work()
        except CloudError as error:
            self.elements, self._kept, self.refused = elements_, kept, error.public
            del self.told[told:]

    def end(self, *, acted: bool, rolling: Rolling | None, paces: Paces) -> None:
        """What keeps the tier waiting, told once each time that it is something else; and when to look again."""
        tier, told = self.tier, self.refused
        tries, again = tier.tries, tier.again_at
        if told:
            tries += 1
            again = self.at + pause(tries, paces.longest)
            if told != tier.told:
                self._tell_tier("tier.waits", f"waits: {told}")
        elif self.made or not tier.told or self._complete():
            tries, again = 0, None
        else:
            told = tier.told
        if tier.leaving and not self.elements:
            tiers.remove(self.tx, tier.id)
            return
        # Those of a tier that shrank while they came up are too many, and serve all the same.
        rests = complete(tier, self.elements.values(), rolling)
        # Also what was refused to elements that serve, and what they wait for until there are more of them.
        attention = bool(self.refused) or any(e.replaced for e in self.elements.values())
        attention |= acted and not rests  # what was done may let the next be done at once
        due = None if rests else self._due(again, paces.pace(self.body))
        now = (attention, again, due, tries, told)
        if now != (tier.attention, tier.again_at, tier.due_at, tier.tries, tier.told):
            self.later.looked.append((tier.id, *now))

    def _due(self, again: datetime | None, pace: Pace) -> datetime:
        """When it is to be looked at although nobody noted that anything happened.

        When the patience with one of its elements ends; and every so often, the more seldom the longer nothing came of it.
        """
        every = self.elements.values()
        ends = [end for e in every if (end := patience(e, pace)) is not None and end > self.at]
        if again is not None and all(e.state in _PATIENT for e in every):
            return min((again, *ends)) if again > self.at else self.at + _SOON
        newest = max((e.since for e in every), default=self.at)
        pause = min(max((self.at - newest) / 4, _SOON), _SELDOM)
        due, before = min((self.at + pause, *ends)), self.tier.due_at
        return before if before is not None and self.at < before <= due else due

    def _complete(self) -> bool:
        """Nothing that it waited for is missing any more."""
        return all(each.state is not _S.WAITING for each in self.elements.values())

    # --- acts

    def _ask(self, act: Act) -> None:
        match act:
            case Join(id_):
                self._lead(id_, 1)
            case Hold(id_):
                self._lead(id_, 0)
            case Promote(id_):
                self._lead(id_, 1)
                self._event(id_, _E.PROMOTE, "element.promoted", "was ready, and is needed")
            case Drain(id_):
                self._drain(id_)
            case TakeBack(id_):
                self._lead(id_, 1)
                self._event(id_, _E.TAKE_BACK, "element.proving", "is wanted after all")
            case Leave(id_, event, told, cut_off):
                self._leave(id_, event, told, cut_off)
            case Start(id_):
                self.hands.start(self.tx, self.owner, self._machine(id_))
            case Drop(id_, force):
                self.hands.destroy(self.tx, self.owner, self._machine(id_), force=force)

    def _make(self, wanted: Sequence[Element], reserve: Collection[int]) -> None:
        """As many as there is room for; the others wait."""
        answers = self.hands.deploy(self.tx, self.owner, [self._wish(each) for each in wanted])
        made = []
        for element, answer in zip(wanted, answers, strict=True):
            if isinstance(answer, CloudError):
                self.refused = answer.public
            else:
                made.append((element, MachineId(answer.id)))
        if made:
            self._made(made, reserve)

    def _make_with_disks(self, element: Element, reserve: Collection[int]) -> None:
        name = self._name(element)
        disks = [
            KeptDisk(
                f"{self.tier.name}-{element.number}-{disk.name}",
                VolumeIn(
                    name=f"{name}-{disk.name}",
                    offering=disk.offering,
                    mib=disk.mib,
                    zone=self.tier.zone,
                ),
            )
            for disk in self.body.disks
            if self.body.keeps.volumes
        ]
        wish = self._wish(element)
        made = self.hands.deploy_with(self.tx, self.owner, wish, disks, self.body.reads)
        self._made([(element, MachineId(made.id))], reserve)

    def _made(self, made: Sequence[tuple[Element, MachineId]], reserve: Collection[int]) -> None:
        """They are members from the beginning: their routers let nobody in before their checks have passed."""
        doors = self._doors()
        elements.watch(self.tx, doors)
        weights = {id_: int(element.number not in reserve) for element, id_ in made}
        for door in doors:
            self.hands.set_members(self.tx, self.owner, door, weights)
        kept = self._addresses([id_ for _, id_ in made]) if self.body.keeps.address else {}
        for element, id_ in made:
            self._event(
                element.id,
                _E.MAKE,
                "element.making",
                "gets a machine",
                machine=id_,
                blueprint_number=self.tier.release.blueprint,
                image_version=self.tier.release.image,
                kept=kept.get(id_, element.kept),
                tries=element.tries + 1,
                told="",
            )
        self.made += len(made)

    def _new(self, number: int) -> Element:
        made = Element(
            id=self.hands.new_element(),
            tier=self.tier.id,
            farm=self.tier.farm,
            account=self.tier.account,
            number=number,
            since=self.at,
        )
        self.elements[made.id] = made
        self._added.add(made.id)
        return made

    def _wish(self, element: Element) -> DeployIn:
        tier, body = self.tier, self.body
        name = self._name(element)
        facts = self._ways() | {
            "farm.name": self.owner.farm_name,
            "zone.name": self.owner.zone_name,
            "tier.name": tier.name,
            "element.name": name,
            "element.number": str(element.number),
            **template.untold_secrets(body.user_data),
        }
        return DeployIn(
            name=name,
            zone=tier.zone,
            farm=tier.farm,
            offering=tier.body.offering or body.offering,
            image=tier.image,
            version=tier.release.image,
            networks=tuple(
                NicIn(network=network, address=element.kept.get(network))
                for network in tier.body.networks
            ),
            disks=tuple(
                DiskIn(offering=disk.offering, mib=disk.mib)
                for disk in body.disks
                if not body.keeps.volumes
            ),
            ssh_keys=tier.body.keys,
            user_data=template.filled(body.user_data, facts),
        )

    def _ways(self) -> dict[str, str]:
        """Where elements call the tiers of their farm, if they ask."""
        if not any(word.count(".") > 1 for word in template.words(self.body.user_data)):
            return {}
        of_farm = tiers.of_farms(self.tx, [self.tier.farm])[self.tier.farm]
        ways = elements.ways_to(self.tx, of_farm)
        found = {}
        for _, _, far in vpns.far_names(self.tx, self.tier.body.networks):
            found[f"tier.{far.tier}.address"] = far.address
            found[f"tier.{far.tier}.port"] = str(far.port)
        for tier in of_farm:
            if tier.id in ways:
                address, port = ways[tier.id]
                found[f"tier.{tier.name}.address"] = address
                found[f"tier.{tier.name}.port"] = str(port)
        return found

    def _addresses(self, machines: Sequence[MachineId]) -> dict[MachineId, dict[str, str]]:
        found = nics.of_machines(self.tx, machines)
        return {
            machine: {nic.network: nic.address for nic in ports} for machine, ports in found.items()
        }

    def _lead(self, id_: ElementId, weight: int | None) -> None:
        machine = self.elements[id_].machine
        if machine is not None:
            for door in self._doors():
                self.hands.set_members(self.tx, self.owner, door, {machine: weight})

    def _leave(self, id_: ElementId, event: ElementEvent, told: str, cut_off: int) -> None:
        self._lead(id_, None)
        element = self.elements[id_]
        if event is _E.FAIL:
            tries = max(element.tries, 1)
            self._event(id_, event, "element.failed", f"failed: {told}", told=told, tries=tries)
        elif cut_off:
            self._event(id_, event, "element.cut-off", told)
        else:
            self._event(id_, event, "element.leaving", "leaves")

    def _drain(self, id_: ElementId) -> None:
        """How many still serve is told with it, so that anybody can see that there are enough."""
        element = self.elements[id_]
        served = element.state is _S.SERVING
        self._lead(id_, 0)
        self._event(id_, _E.DRAIN, "element.draining", "gets nobody new")
        if served:
            left = sum(each.state is _S.SERVING for each in self.elements.values())
            more = {"serving": left, "least": bound(self.tier)}
            more |= {"forced": True} if element.by_force and element.replaced else {}
            self.told[-1] = replace(self.told[-1], data={**self.told[-1].data, **more})

    def _keep(self, id_: ElementId, why: str) -> None:
        before = self.elements[id_]
        self._kept.setdefault(id_, before.generation)
        element = before.changed(**replacing.kept(self.tx, before, why, self.at))
        self.elements[id_] = element
        self._tell(element, "element.kept", f"keeps its machine: {why}")

    def _dismiss(self, id_: ElementId) -> None:
        element = self.elements.pop(id_)
        element.after(_E.DISMISS, self.at)
        self._kept.pop(id_, None)
        replacing.dismissed(self.tx, element, self.at)
        elements.remove(self.tx, id_)
        self._tell(element, "element.left", "is no more")

    def _note(self, id_: ElementId, event: ElementEvent, told: str) -> None:
        element = self.elements[id_]
        match event:
            case _E.SEE_WELL:
                self.well += 1
                done = replacing.served(self.tx, element, self.at)
                self._event(id_, event, "element.serving", "serves", tries=0, told="", **done)
            case _E.SEE_READY | _E.REST:
                self.well += 1
                done = replacing.served(self.tx, element, self.at)
                text = "is ready, and gets nobody before it is needed"
                self._event(id_, event, "element.ready", text, tries=0, told="", **done)
            case _E.SEE_ILL:
                self._event(id_, event, "element.ill", told, told=told)
            case _E.SEE_OFF:
                self._event(id_, event, "element.ill", told, told=told, tries=max(element.tries, 1))
            case _E.REFUSE:
                self.refused = told
                self._event(id_, event, "element.waits", told, machine=None, told=told)
            case _E.SEE_DROPPED:
                self._event(id_, event, machine=None)
            case _:
                self._event(id_, event)

    # --- words

    def _event(
        self, id_: ElementId, event: ElementEvent, kind: str = "", text: str = "", **but: object
    ) -> None:
        before = self.elements[id_]
        self._kept.setdefault(id_, before.generation)
        element = self.elements[id_] = before.after(event, self.at, **but)
        replacing.step(self.tx, element, text, self.at)
        if kind:
            self._tell(element, kind, text)

    def _tell(self, element: Element, kind: str, text: str) -> None:
        data = {"tier": self.tier.id, "farm": self.tier.farm, "number": element.number}
        self.told.append(
            Event(
                at=self.at,
                account=element.account,
                kind=kind,
                subject=element.id,
                text=f"{self._name(element)}: {text}",
                data=data,
            )
        )

    def _tell_tier(self, kind: str, text: str) -> None:
        tier = self.tier
        text = f"{self.owner.farm_name}-{tier.name}: {text}"
        event = Event(at=self.at, account=tier.account, kind=kind, subject=tier.id, text=text)
        self.later.told.append(event)

    def _name(self, element: Element) -> str:
        return f"{self.owner.farm_name}-{self.tier.name}-{element.number}"

    def _machine(self, id_: ElementId) -> MachineId:
        machine = self.elements[id_].machine
        if machine is None:
            raise NotFound(f"{id_} has no machine")
        return machine

    def _doors(self) -> list[Door]:
        return elements.there(self.tx, self.tier.body.doors)

    @property
    def owner(self) -> Owner:
        """Read when somebody is asked in its name, or told."""
        if self._owner is None:
            self._owner = self.later.owner(self.tx, self.tier)
        return self._owner
