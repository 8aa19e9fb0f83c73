"""A disk that is full is nobody's bug: it passes, and whoever found no room there tries again.

Drivers say `NoRoom` where they foresaw it. Where one did not, its error would end a whole round, and with it what makes room.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from arable.domain.errors import NoRoom

_FULL = frozenset([errno.ENOSPC, errno.EDQUOT])


@contextmanager
def or_no_room() -> Iterator[None]:
    """Whatever is written within and finds the disk full raises `NoRoom`; all other errors stay what they are."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise NoRoom("the disk is full", detail=str(error)) from error
