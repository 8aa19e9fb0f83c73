"""What is read must be short, and nothing may be kept here that belongs to one machine or is promised for later."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINES = 600

LONGER = {
    "src/arable/store/schema.py": "every table in one place, to be read beside each other; a list, not a program",
}
"""Files that may be longer, and why."""

# Put together, so that this file does not hold what it looks for.
REGISTRIES = [".".join(parts) for parts in (
    ("pypi", "org"), ("pythonhosted", "org"), ("deb", "debian", "org"), ("npmjs", "org"), ("npmjs", "com"),
    ("crates", "io"), ("golang", "org"), ("docker", "io"), ("ghcr", "io"), ("quay", "io"),
)]  # fmt: skip
LATER = re.compile(
    r"#.*\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b"
)


def files(*patterns: str) -> list[Path]:
    """What is in the repository, or about to be."""
    argv = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *patterns]  # fmt: skip
    listed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split("\0")
    found = [ROOT / name for name in listed if name and (ROOT / name).is_file()]
    assert found, patterns
    return found


def texts() -> list[tuple[str, str]]:
    return [
        (str(path.relative_to(ROOT)), path.read_bytes().decode(errors="replace"))
        for path in files()
    ]


def python() -> list[tuple[str, str]]:
    return [(name, text) for name, text in texts() if name.endswith(".py")]


def test_no_file_is_too_long_to_be_read() -> None:
    for name, text in python():
        if "/migrations/versions/" not in name:
            length = len(text.splitlines())
            assert length <= LINES or name in LONGER, f"{name} has {length} lines; the budget is {LINES}"  # fmt: skip


@pytest.mark.parametrize("name", LONGER)
def test_an_exception_from_the_budget_is_still_needed(name: str) -> None:
    assert len((ROOT / name).read_text().splitlines()) > LINES


def test_nothing_is_put_off_in_a_comment() -> None:
    for name, text in python():
        found = LATER.search(text)
        assert not found, f"{name}: {found}"


def test_nothing_names_a_package_registry() -> None:
    """Whose mirror a machine uses is its own affair; lock files are made without."""
    for name, text in texts():
        for registry in REGISTRIES:
            assert registry not in text, f"{name}: {registry}"


def test_nothing_names_a_place_on_the_machine_where_it_was_written() -> None:
    """A home and a clone, that is; `/root/` is one on every machine, our guests among them."""
    places = [f"{Path.home()}/"] if len(Path.home().parts) > 2 else []
    places += [f"{ROOT}/"] if len(ROOT.parts) > 2 else []
    for name, text in texts():
        for place in places:
            assert place not in text, f"{name}: {place}"


def test_files_with_real_tests_say_so_themselves() -> None:
    """`tools/test.py` runs the real tests of those that have the word."""
    borrowed = re.compile(r"import .*\bpytestmark\b")
    for name, text in python():
        assert not (name.startswith("tests/") and borrowed.search(text)), name
