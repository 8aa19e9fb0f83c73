"""Arable, watched: `python -m bench.profiled FILE …` is `arable …` with a thread that looks where the time goes.

Every few milliseconds it reads the CPU clock of each thread and charges what was used since to where that thread is
now. So it counts work, not waiting, in C as well as in Python, and a thread that waits for the interpreter's lock is
charged nothing. It looks while `FILE.go` exists, and writes what it found to FILE when that has gone.
"""

import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

import msgspec

_EVERY = 0.004
_CALLERS = 2
_LETTERS = 150


class Profile(msgspec.Struct):
    """Seconds of CPU: by thread, by function itself, by function with all it calls, by statement and who says it."""

    threads: dict[str, float]
    alone: dict[str, float]
    within: dict[str, float]
    statements: dict[str, float] = {}


def where(frame: FrameType) -> str:
    """A function, as people find it."""
    code = frame.f_code
    _, found, rest = code.co_filename.rpartition("/arable/")
    if not found:
        rest = "/".join(code.co_filename.rsplit("/", 2)[-2:])
    return f"{rest}:{code.co_qualname}"


def statement(top: FrameType) -> str | None:
    """What the database is asked by this thread, and the two of our functions that are nearest; None: nothing."""
    frame: FrameType | None = top
    text, names = "", list[str]()
    while frame is not None and len(names) < _CALLERS:
        if not text and frame.f_code.co_name in ("do_execute", "do_executemany"):
            text = " ".join(str(frame.f_locals["statement"]).split())[:_LETTERS]
        elif text and "/arable/" in frame.f_code.co_filename:
            names.append(where(frame))
        frame = frame.f_back
    return f"{text} <- {' <- '.join(names)}" if text else None


def _clock(ident: int) -> float:
    try:
        return time.clock_gettime(time.pthread_getcpuclockid(ident))
    except OSError:  # it ended just now
        return 0.0


def look(go: Path) -> Profile:
    """For as long as the file is there."""
    threads: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    within: Counter[str] = Counter()
    statements: Counter[str] = Counter()
    me = threading.get_ident()
    names: dict[int, str] = {}
    last: dict[int, float] = {}
    while go.exists():
        time.sleep(_EVERY)
        for ident, top in sys._current_frames().items():  # noqa: SLF001 - there is no other way
            if ident == me:
                continue
            now = _clock(ident)
            used = now - last.get(ident, now)
            last[ident] = now
            if used <= 0:
                continue
            if ident not in names:
                names |= {each.ident: each.name for each in threading.enumerate() if each.ident}
            threads[names.get(ident, "?").rpartition("_")[0] or names.get(ident, "?")] += used
            alone[where(top)] += used
            if (asked := statement(top)) is not None:
                statements[asked] += used
            seen = set()
            frame: FrameType | None = top
            while frame is not None:
                seen.add(where(frame))
                frame = frame.f_back
            for each in seen:
                within[each] += used
    return Profile(dict(threads), dict(alone), dict(within), dict(statements))


def _watch(file: Path) -> None:
    go = file.with_suffix(".go")
    while True:
        if go.exists():
            file.write_bytes(msgspec.json.encode(look(go)))
        time.sleep(0.05)


def main() -> None:
    """The rest of the arguments is Arable's."""
    file = Path(sys.argv[1])
    threading.Thread(target=_watch, args=(file,), name="profile", daemon=True).start()
    sys.argv = ["arable", *sys.argv[2:]]
    from arable.processes.main import main as arable

    arable()


if __name__ == "__main__":
    main()
