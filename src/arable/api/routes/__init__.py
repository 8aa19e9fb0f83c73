"""All operations, noun by noun. A noun that is not named here is not served: there is no scanning."""

from arable.api.operation import Op

OPERATIONS: tuple[Op, ...] = ()
