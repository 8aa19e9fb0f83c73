"""Ctrl-C and SIGTERM as one exception, once: whoever is asked to leave again while tidying up goes on tidying up."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Leave(BaseException):
    """We were asked to leave."""


@contextmanager
def until_told() -> Iterator[None]:
    """A signal ends the block; what tidies up inside it is not disturbed by another one."""
    before = [(number, signal.getsignal(number)) for number in _SIGNALS]

    def leave(_number: int, _frame: FrameType | None) -> None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise Leave

    for number in _SIGNALS:
        signal.signal(number, leave)
    try:
        yield
    except Leave:
        pass
    finally:
        for number, handler in before:
            signal.signal(number, handler)
