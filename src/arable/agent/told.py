"""What is said of a guest: its state as its owner would see it, and why it is not yet what it should be."""

from arable.agent.guests import Guests
from arable.agent.ledger import GuestFacts
from arable.agent.sight import Ground, Sight, satisfied
from arable.domain.ids import MachineId
from arable.domain.manifest import GuestSeen, GuestState, GuestWish, MoveSeen, Power
from arable.drivers.hypervisor.protocol import GuestFound, GuestPower

_Basis = tuple[GuestWish, GuestFound | None, GuestFacts]


class Telling:
    """Guests as reported. The same object is told again while nothing is new, which makes finding changes cheap."""

    def __init__(self, ground: Ground, guests: Guests) -> None:
        self._ground = ground
        self._guests = guests
        self._told: dict[MachineId, tuple[_Basis, GuestSeen]] = {}

    def tell(self, seen: Sight) -> dict[MachineId, GuestSeen] | None:
        """Every guest that is here or should be; None when the hypervisor can't be asked."""
        found = seen.guests
        if found is None:
            return None
        told: dict[MachineId, GuestSeen] = {}
        held, calm = self._told, not self._ground.patience
        for machine, wish in self._ground.wishes.manifest.guests.items():
            there = found.get(machine)
            facts = self._ground.facts_of(machine)
            before = held.get(machine)
            # Why a lease is not there changes without anything else changing.
            calm_too = wish.move is None and (not wish.epoch or satisfied(wish, there))
            if before is not None and calm and calm_too:
                basis = before[0]
                if basis[0] is wish and basis[1] is there and basis[2] is facts:
                    told[machine] = before[1]
                    continue
            said = self._say(wish, there, facts, seen)
            if before is not None and before[1] == said:
                said = before[1]
            told[machine] = said
            held[machine] = ((wish, there, facts), said)
        for machine in seen.strangers:
            told[machine] = self._stranger(found[machine])
        for machine in held.keys() - told.keys():
            del held[machine]
        return told

    def _say(
        self, wish: GuestWish, found: GuestFound | None, facts: GuestFacts, seen: Sight
    ) -> GuestSeen:
        running = found is not None and found.power is GuestPower.RUNNING
        generation = found.generation if found else 0
        tries, why = facts.tries, ""
        if wish.power is Power.OFF:
            state = GuestState.STOPPING if running else GuestState.STOPPED
            generation = generation if running else wish.generation
            trouble = self._ground.patience.of(wish.machine)
            if running and trouble:
                tries, why = max(tries, trouble.tries), trouble.told
        elif facts.halted:
            state, generation, why = GuestState.STOPPED, wish.generation, "it shut itself down"
        elif satisfied(wish, found):
            state = GuestState.RUNNING
            if self._ground.patience:
                _, why = self._why(wish, seen, "")
        else:
            otherwise = "" if running else "it is about to start"
            if found and found.stalled:
                otherwise = "it stands still until a disk answers again"
            more, why = self._why(wish, seen, otherwise)
            tries = max(tries, more)
            state = GuestState.FAILED if more else GuestState.PREPARING
            if running:
                state = GuestState.RUNNING
        return GuestSeen(
            machine=wish.machine,
            generation=generation,
            state=state,
            boots=found.boots if found else 0,
            told=why,
            tries=tries,
            move=self._move(wish),
        )

    def _move(self, wish: GuestWish) -> MoveSeen | None:
        """Nothing, once it is not wished for any more."""
        mover = self._ground.drivers.mover
        seen = mover.seen(wish.machine) if mover and wish.move else None
        return seen if seen and wish.move and seen.epoch == wish.move.epoch else None

    def _why(self, wish: GuestWish, seen: Sight, otherwise: str) -> tuple[int, str]:
        """What keeps a guest from being as wished: failures first, then what is waited for."""
        waits = ""
        for key, what in self._guests.lacks(wish, seen):
            trouble = self._ground.patience.of(key)
            if trouble and trouble.tries:
                return trouble.tries, f"{what}: {trouble.told}"
            if not waits:
                waits = f"waits for {what}" + (f": {trouble.told}" if trouble else "")
        own = self._ground.patience.of(wish.machine)
        if own and own.tries:
            return own.tries, own.told
        return 0, waits or otherwise

    def _stranger(self, found: GuestFound) -> GuestSeen:
        running = found.power is GuestPower.RUNNING
        trouble = self._ground.patience.of(found.machine)
        known = self._ground.wishes.known
        if found.machine in self._ground.wishes.kept:
            return GuestSeen(
                machine=found.machine,
                generation=found.generation,
                state=GuestState.RUNNING if running else GuestState.STOPPED,
                boots=found.boots,
                told="a database that was restored does not know it; it is left as it is",
            )
        why = trouble.told if trouble else "it is no longer wished for and will be removed"
        state = GuestState.STOPPED
        if running:
            state = GuestState.STOPPING if known else GuestState.RUNNING
        return GuestSeen(
            machine=found.machine,
            generation=found.generation,
            state=state,
            boots=found.boots,
            told=why if known else "nothing is known of it here; it is left alone",
        )
