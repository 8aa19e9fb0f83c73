"""The other door (rule 12): chance. Everything that draws takes an `Entropy`.

A child stream for each part keeps a recorded run stable when an unrelated part draws once more.
"""

import random
import secrets
import threading

from arable.domain.ids import ALPHABET
from arable.runtime.clock import Clock

Random = random.Random
"""The type of a generator, for those who are handed one."""

_HEAD = 9  # characters of the time at the beginning of an id
_LAST = 11  # characters of chance at the end of an id: 57 bits for each millisecond


class Entropy:
    """A seeded tree of generators; `Entropy.system()` draws from the operating system instead."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self.random: random.Random = random.Random(seed)

    @classmethod
    def system(cls) -> "Entropy":
        """Chance that nobody can foresee; for production."""
        return _SystemEntropy()

    def child(self, name: str) -> "Entropy":
        """A stream of its own, the same for the same name."""
        return Entropy(f"{self._seed}/{name}")

    def letters(self, count: int) -> str:
        """Text of small letters and digits."""
        return "".join(self.random.choices(ALPHABET, k=count))

    def octets(self, count: int) -> bytes:
        """Bytes of chance, for what must be unlike others and is no secret."""
        return self.random.randbytes(count)

    def secret(self, count: int = 40) -> str:
        """Text that nobody can guess; `count` characters of 5.17 bits each."""
        return self.letters(count)


_POOL = 1024


class _SystemEntropy(Entropy):
    def __init__(self) -> None:
        super().__init__("")
        self.random = random.SystemRandom()
        self._pool = b""
        self._drawing = threading.Lock()

    def child(self, name: str) -> Entropy:  # noqa: ARG002 - nothing to keep apart
        return self

    def letters(self, count: int) -> str:
        return self.octets(count).translate(_LETTERS).decode()

    def octets(self, count: int) -> bytes:
        """From a pool: a machine needs five draws, and asking the kernel for each was a seventh of deploying it."""
        with self._drawing:
            if count > len(self._pool):
                self._pool = secrets.token_bytes(max(count, _POOL))
            drawn, self._pool = self._pool[:count], self._pool[count:]
        return drawn

    def secret(self, count: int = 40) -> str:
        """Never from the pool: what is not drawn yet can't be read out of this process."""
        return secrets.token_bytes(count).translate(_LETTERS).decode()


# A byte for each letter: of 256 values 252 are spread evenly, and the last 4 cost a letter less than 0.01 bits.
_LETTERS = "".join(ALPHABET[value % len(ALPHABET)] for value in range(256)).encode()


class Ids:
    """Makes new ids: `ids.new("machine")`. See `domain/ids.py` for their form."""

    def __init__(self, clock: Clock, entropy: Entropy) -> None:
        self._clock = clock
        self._entropy = entropy
        self._at = -1
        self._head = ""

    def new(self, kind: str, after: str = "") -> str:
        """A new id of that kind; of a time that is later than `after` says, which is another one of that kind."""
        at = int(self._clock.now().timestamp() * 1000)
        if after:
            at = max(at, _time_of(kind, after) + 1)
        if at != self._at:
            self._at, self._head = at, _base36(at, _HEAD)
        return f"{kind}-{self._head}{self._entropy.letters(_LAST)}"


def _time_of(kind: str, id_: str) -> int:
    """When it was drawn, in milliseconds; 0 for what is no such id."""
    head = id_.removeprefix(f"{kind}-")[:_HEAD]
    return int(head, 36) if len(head) == _HEAD and set(head) <= set(ALPHABET) else 0


def _base36(value: int, width: int) -> str:
    made = []
    for _ in range(width):
        value, digit = divmod(value, 36)
        made.append(ALPHABET[digit])
    return "".join(reversed(made))
