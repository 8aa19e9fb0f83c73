"""Regions: a machine elsewhere of an image that is not there, the next version of it, and a catalogue of many regions.

In a lab of three regions with real machines (`regions_lab.py`, which takes root), and with a hundred simulated regions
(`regions_catalogue.py`).
"""

import argparse
from collections.abc import Sequence

from arable.processes.leaving import until_told
from bench import regions_catalogue, regions_lab
from bench.figures import Table, machine, median, percentile, ratio, result, shown

PARTS = ("lab", "catalogue")


def main(argv: Sequence[str]) -> None:
    """See `--help`."""
    parser = argparse.ArgumentParser(prog="bench global", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="not both")
    parser.add_argument("--times", type=int, default=3, help="cold starts in the lab")
    parser.add_argument("--mib", type=int, default=64, help="the image's disk")
    parser.add_argument("--mbit", type=int, default=100, help="each link of the WAN")
    parser.add_argument("--regions", type=int, default=100, help="in the catalogue")
    parser.add_argument("--versions", type=int, default=10_000, help="of images, in the catalogue")
    parser.add_argument("--questions", type=int, default=2000, help="to the catalogue")
    parser.add_argument("--stores", type=int, default=4, help="of the regions that hear it")
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
    if "catalogue" in parts:
        told = regions_catalogue.measured(
            options.regions, options.versions, options.questions, options.stores
        )
        print(catalogue_table(told).text())
        lines += catalogue_results(told)
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


def catalogue_table(found: regions_catalogue.Found) -> Table:
    """Questions, and the end of a cut."""
    title = f"{found.regions} regions, {found.versions} image versions, each in {regions_catalogue.COPIES} of them"
    made = Table(title, ("what", "median", "p99", "most"))
    times = [each * 1000 for each in found.asked]
    made.add(
        "where an image's versions are, ms",
        *(shown(each) for each in (median(times), percentile(times, 99), max(times))),
    )
    for what, value in (
        ("versions that were new in ten minutes in which one region was cut off", found.changed),
        ("seconds after them until all regions know all of them (virtual; a message each five)", found.converged),
        ("  of work for the one that was cut off (real)", found.work),
        ("  of work for another, at most", found.others),
    ):  # fmt: skip
        made.add(what, shown(value), "", "")
    return made


def catalogue_results(found: regions_catalogue.Found) -> list[str]:
    """The line to be read."""
    times = [each * 1000 for each in found.asked]
    return [result("catalogue_p99_ms", percentile(times, 99), "ms", "20")]
