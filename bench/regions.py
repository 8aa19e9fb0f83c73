"""Regions: a machine elsewhere of an image that is not there, the next version of it, and a catalogue of many regions.

In a lab of three regions with real machines (`regions_lab.py`, which takes root), and with a hundred simulated regions
(`regions_catalogue.py`).
"""

import argparse
from collections.abc import Sequence

from arable.processes.leaving import until_told
from bench import regions_lab
from bench.figures import Table, machine, median, ratio, result, shown

PARTS = ("lab", "catalogue")


def main(argv: Sequence[str]) -> None:
    """See `--help`."""
    parser = argparse.ArgumentParser(prog="bench global", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="not both")
    parser.add_argument("--times", type=int, default=3, help="cold starts in the lab")
    parser.add_argument("--mib", type=int, default=64, help="the image's disk")
    parser.add_argument("--mbit", type=int, default=100, help="each link of the WAN")
    parser.add_argument(
        "--wait", type=float, default=0.0, help="seconds at most for the machine to be quiet"
    )
    options = parser.parse_args(argv)
    parts = options.only or PARTS
    print(machine(), flush=True)
    lines: list[str] = []
    if "lab" in parts:
        with until_told():
            real = regions_lab.measured(options.times, options.mib, options.mbit, options.wait)
        print(lab_table(real).text())
        lines += lab_results(real)
    print("\n".join(lines))


def lab_table(found: regions_lab.Found) -> Table:
    """Each against a copy of the bytes and a plain start."""
    made = Table(
        f"{found.mib} MiB over links of {found.mbit} Mbit/s, seconds",
        ("what", "median", "least", "most", "ratio"),
    )
    copy, plain, again = (median(each) for each in (found.copied, found.plain, found.again))
    for what, values, base in (
        ("the bytes are copied over the same links", found.copied, copy + plain),
        ("a start there, the image was brought there by hand", found.plain, copy + plain),
        ("a start there, asked elsewhere, the image in a third region", found.cold, copy + plain),
        ("  of that, until the image is there", found.fetched, copy + plain),
        ("the next start there, asked there", found.again, again),
        ("the next start there, asked elsewhere", found.warm, again),
    ):
        middle = median(values)
        made.add(what, shown(middle), shown(min(values)), shown(max(values)), ratio(middle, base))
    return made


def lab_results(found: regions_lab.Found) -> list[str]:
    """The lines to be read."""
    return [
        result("cold_ratio", median(found.cold_ratios), "ratio", "1.15"),
        result("warm_ratio", median(found.warm_ratios), "ratio", "1.05"),
        result("shared_bytes_ratio", max(found.shared), "ratio", "0.10"),
    ]
