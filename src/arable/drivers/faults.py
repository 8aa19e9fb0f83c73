"""Where simulated drivers can fail: before an effect (nothing happened) and after it (the answer was lost).

The second finds the interesting bugs.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from arable.domain.errors import Unavailable


@dataclass
class Faults:
    """Counts the places where the world could fail and fails at those that `when` says."""

    fail_at: int | None = None
    when: Callable[[str], bool] = field(default=lambda _where: False)
    passed: int = 0

    @contextmanager
    def around(self, what: str) -> Iterator[None]:
        """One effect, with a place to fail on each side of it."""
        self._point(f"before {what}")
        yield
        self._point(f"after {what}")

    def _point(self, where: str) -> None:
        here, self.passed = self.passed, self.passed + 1
        if here == self.fail_at or self.when(where):
            raise Unavailable(f"simulated failure {where}")


def every_failure(scenario: Callable[[Faults], None]) -> Iterator[Faults]:
    """The same scenario once for each place where it could fail; `scenario` runs cleanly once to count them."""
    clean = Faults()
    scenario(clean)
    for place in range(clean.passed):
        yield Faults(fail_at=place)
