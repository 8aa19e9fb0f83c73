"""What is said of a guest: its state as its owner would see it, and why it is not yet what it should be."""

from dataclasses import replace

from arable.agent.guests import Guests
from arable.agent.ledger import GuestFacts
from arable.agent.passwords import Passwords
from arable.agent.sight import Ground, Sight, satisfied
from arable.domain.ids import MachineId
from arable.domain.manifest import GuestSeen, GuestState, GuestWish, MoveSeen, Power
from arable.drivers.hypervisor.protocol import GuestFound, GuestPower

_CALM_SECONDS = 5.0
"""For which a guest that stood still has to go on before that is said: one that tries again runs for a moment."""
_SHORT = "there is no room where a disk of it is"
_MUTE = "a disk of it does not answer"

_Basis = tuple[GuestWish, GuestFound | None, GuestFacts]


class Telling:
    """Guests as reported. The same object is told again while nothing is new, which makes finding changes cheap."""

    def __init__(self, ground: Ground, guests: Guests, passwords: Passwords) -> None:
        self._ground = ground
        self._passwords = passwords
        self._guests = guests
        self._told: dict[MachineId, tuple[_Basis, GuestSeen]] = {}
        self._stood: dict[MachineId, tuple[float, str]] = {}  # seen to stand still: when last, why

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
            stalled = self._stalled(machine, there, seen.now)
            calm_too = (
                wish.move is None
                and not stalled
                and not (before and before[1].stalled)
                and wish.password is None
                and (not wish.epoch or satisfied(wish, there))
            )
            if before is not None and calm and calm_too:
                basis = before[0]
                if basis[0] is wish and basis[1] is there and basis[2] is facts:
                    told[machine] = before[1]
                    continue
            said = self._passwords.tell(self._say(wish, there, facts, seen))
            if stalled:
                said = replace(said, stalled=stalled)
            if before is not None and before[1] == said:
                said = before[1]
            told[machine] = said
            held[machine] = ((wish, there, facts), said)
        for machine in seen.strangers:
            told[machine] = self._stranger(found[machine])
        for machine in held.keys() - told.keys():
            del held[machine]
            self._stood.pop(machine, None)
        return told

    def _stalled(self, machine: MachineId, found: GuestFound | None, now: float) -> str:
        """Why it stands still, or did a moment ago; empty if it goes on."""
        if found is None or found.power is not GuestPower.RUNNING:
            self._stood.pop(machine, None)
            return ""
        if found.stalled:
            self._stood[machine] = (now, _SHORT if found.short else _MUTE)
        last, why = self._stood.get(machine, (now, ""))
        if now < last + _CALM_SECONDS:
            return why
        self._stood.pop(machine, None)
        return ""

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
            if facts.left:  # its earlier ports are still here, so all is not yet as wished
                generation = wish.generation - 1
            if self._ground.patience:
                _, why = self._why(wish, seen, "")
        else:
            otherwise = "" if running else "it is about to start"
            if found and found.stalled:
                otherwise = f"it stands still: {_SHORT if found.short else _MUTE}"
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
        going = wish.move or wish.shift
        seen = mover.seen(wish.machine) if mover and going else None
        return seen if seen and going and seen.epoch == going.epoch else None

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
