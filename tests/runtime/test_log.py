"""Lines of a log: what they hold, and that nothing in them can pass for a line of its own."""

import json
import subprocess
import sys
from typing import Any

import pytest

PROGRAM = """
import json, logging, sys
from arable.runtime import log
form, verbose, text, facts = json.loads(sys.argv[1])
log.configure(log.Form(form), "here", verbose=verbose)
log.tell(log.units("calls"), text, **facts)
log.tell(logging.getLogger("arable.odd"), text, **facts)
try:
    raise ValueError("broken\\nin two")
except ValueError:
    logging.getLogger("arable.odd").exception("it failed")
"""


def said(form: str, text: str, *, verbose: bool = False, **facts: Any) -> list[str]:
    """In a process of its own: logging is everybody's."""
    asked = json.dumps([form, verbose, text, facts])
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, asked], capture_output=True, text=True, check=True
    )
    return ran.stderr.splitlines()


def test_json_is_one_object_a_line_whatever_is_in_it() -> None:
    told = said("json", "two\nlines", request="a\n{}", empty="", none=None, ms=1.5)
    first, second, third = (json.loads(line) for line in told)
    assert first["logger"] == "arable.units.calls"
    assert first["text"] == "two\nlines"
    assert first["request"] == "a\n{}"
    assert first["ms"] == 1.5
    assert first["process"] == "here"
    assert first["at"].endswith("+00:00")
    assert not {"empty", "none"} & first.keys()
    assert second["logger"] == "arable.odd"
    assert (third["level"], third["text"]) == ("error", "it failed")
    assert "ValueError: broken\nin two" in third["error"]


@pytest.mark.parametrize(("verbose", "lines"), [(False, 1), (True, 2)])
def test_text_tells_units_of_work_only_to_those_who_want_more(verbose: bool, lines: int) -> None:
    told = [line for line in said("text", "done", verbose=verbose, request="abc") if "done" in line]
    assert len(told) == lines
    assert all(line.endswith("done request=abc") for line in told)
