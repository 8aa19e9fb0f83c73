"""Passwords that guests are to be given: through the guest agent of one that runs, as soon as it answers.

A guest that does not answer takes seconds, for which nothing else may wait: each attempt is made aside, one at a time,
and what became of it is looked at in a later round.

Which ones were set is remembered in memory only. After a restart of the agent the same one is set once more, unless the
cloud has heard of it by then and wipes it from the wish.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

from arable.agent.aside import Aside, Errands, at_once
from arable.agent.sight import Ground, Sight
from arable.domain.errors import CloudError
from arable.domain.ids import MachineId
from arable.domain.manifest import GuestSeen, PasswordWish, Power
from arable.drivers.hypervisor.protocol import GuestPower, SetsPasswords

log = logging.getLogger(__name__)

TRIES = 9
"""Each waits twice as long as the one before: a guest has some eight minutes to boot and to answer."""


@dataclass(frozen=True, slots=True)
class SetPassword:
    """Give a guest this password."""

    machine: MachineId
    wish: PasswordWish

    def __str__(self) -> str:
        return f"set password {self.wish.number} in {self.machine}"


class Passwords:
    """Passwords of this host's guests. `aside` does what it is given, now or later, and has the agent look then."""

    name = "passwords"

    def __init__(self, ground: Ground, aside: Aside = at_once) -> None:
        self._ground = ground
        self._attempt: Errands[SetPassword, None] = Errands(aside)
        self._over: dict[MachineId, tuple[int, str]] = {}  # number, and why it was given up

    def observe(self) -> Sight:
        error = self._ended()
        if error is not None:
            log.warning("%s: %s", self.name, error.public)
        return self._ground.seen

    def plan(self, seen: Sight, /) -> Sequence[SetPassword]:
        for machine in self._over.keys() - self._ground.wishes.manifest.guests.keys():
            del self._over[machine]
        return [] if self._attempt.under_way else list(islice(self._wanting(seen), 1))

    def apply(self, action: SetPassword, /) -> None:
        driver, machine, wish = self._ground.drivers.hypervisor, action.machine, action.wish
        if not isinstance(driver, SetsPasswords):
            self._over[machine] = (wish.number, "this host's hypervisor can't do it")
            return
        set_it = partial(driver.set_password, machine, wish.user, wish.hash)
        self._attempt.begin(action, set_it, "the password could not be set")
        error = self._ended()
        if error is not None:
            raise error

    def _ended(self) -> CloudError | None:
        """Take in what became of the attempt, if it is over; the error if it is to be made again."""
        attempt = self._attempt.ended()
        if attempt is None:
            return None
        machine, wish = attempt.what.machine, attempt.what.wish
        key, patience = _key(machine, wish), self._ground.patience
        if attempt.error is not None:
            patience.failed(key, attempt.error.public)
            if patience.tries(key) < TRIES:
                return attempt.error
        patience.fine(key)
        self._over[machine] = (wish.number, attempt.error.public if attempt.error else "")
        return None

    def tell(self, seen: GuestSeen) -> GuestSeen:
        """What is said of a guest, with what became of the password that is wished for."""
        wish = self._ground.wishes.manifest.guests.get(seen.machine)
        over = self._over.get(seen.machine)
        if over is None or wish is None or wish.password is None:
            return seen
        number, told = over
        if number != wish.password.number:
            return seen
        return replace(seen, password=number, password_told=told)

    def _wanting(self, seen: Sight) -> Iterator[SetPassword]:
        for wish in seen.on:
            if wish.password is None:
                continue
            found = (seen.guests or {}).get(wish.machine)
            runs = found is not None and found.power is GuestPower.RUNNING
            over = self._over.get(wish.machine, (0, ""))[0] == wish.password.number
            may = self._ground.patience.may(_key(wish.machine, wish.password))
            if runs and wish.power is Power.ON and not over and may:
                yield SetPassword(wish.machine, wish.password)


def _key(machine: MachineId, wish: PasswordWish) -> str:
    return f"password {wish.number} of {machine}"
