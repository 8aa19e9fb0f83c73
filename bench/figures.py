"""What is made of measurements: medians, percentiles, tables, and the lines that programs read."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of all are not above (nearest rank): one that was really measured."""
    if not values:
        raise ValueError("nothing was measured")
    ranked = sorted(values)
    return ranked[max(math.ceil(len(ranked) * percent / 100), 1) - 1]


def median(values: Sequence[float]) -> float:
    """The middle one, or between the middle two."""
    if not values:
        raise ValueError("nothing was measured")
    ranked = sorted(values)
    middle = len(ranked) // 2
    return ranked[middle] if len(ranked) % 2 else (ranked[middle - 1] + ranked[middle]) / 2


def shown(value: float) -> str:
    """A figure with as many digits as mean something."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio(value: float, baseline: float) -> str:
    """How many times the baseline."""
    return f"{value / baseline:.2f}" if baseline else "-"


def result(metric: str, value: float, unit: str, goal: str) -> str:
    """The line that ends a benchmark."""
    return f"RESULT {metric} {shown(value)} {unit} goal {goal}"


@dataclass
class Table:
    """Printed with its columns aligned: words to the left, figures to the right."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """One more row."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells for {len(self.columns)} columns")
        self.rows.append(cells)

    def text(self) -> str:
        """All of it."""
        every = [self.columns, *self.rows]
        widths = [max(len(row[at]) for row in every) for at in range(len(self.columns))]
        lines = [
            "  ".join(
                cell.ljust(width) if at == 0 else cell.rjust(width)
                for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in every
        ]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join([self.title, "", *lines, ""])


def machine() -> str:
    """What this was measured on, and how busy it was: others' work is in every figure."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return f"{os.cpu_count()} cores, {memory:.0f} GiB; load average {load}"
