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


class Profile(msgspec.Struct):
    """Seconds of CPU: by thread, by function itself, by function with all it calls."""

    threads: dict[str, float]
    alone: dict[str, float]
    within: dict[str, float]


def where(frame: FrameType) -> str:
    """A function, as people find it."""
    code = frame.f_code
    _, found, rest = code.co_filename.rpartition("/arable/")
    if not found:
        rest = "/".join(code.co_filename.rsplit("/", 2)[-2:])
    return f"{rest}:{code.co_qualname}"


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
            seen = set()
            frame: FrameType | None = top
            while frame is not None:
                seen.add(where(frame))
                frame = frame.f_back
            for each in seen:
                within[each] += used
    return Profile(dict(threads), dict(alone), dict(within))


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
