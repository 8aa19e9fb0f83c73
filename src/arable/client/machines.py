"""Machines, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.common import Page
from arable.wire.consoles import ConsoleOut
from arable.wire.machines import (
    DeployIn,
    DeployOut,
    DestroyIn,
    ExplainOut,
    MachineChange,
    MachineOut,
    MachineQuery,
    MoveIn,
    PasswordResetIn,
    PasswordResetOut,
    RecoverIn,
    ResizeIn,
    StopIn,
    UsageOut,
)
from arable.wire.operations import OperationOut


class Machines(Group):
    """Machines."""

    def console(self, machine: str, **how: Unpack[How]) -> ConsoleOut:
        """Get a ticket to a machine's serial console."""
        return self._to.write("POST", f"/v1/machines/{part(machine)}/console", ConsoleOut, how=how)

    def page(self, query: MachineQuery | None = None) -> Page[MachineOut]:
        """List machines."""
        return self._to.read("/v1/machines", Page[MachineOut], query)

    def all(self, query: MachineQuery | None = None) -> Iterator[MachineOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or MachineQuery())

    def deploy(self, ask: DeployIn, **how: Unpack[How]) -> DeployOut:
        """Deploy machines."""
        return self._to.write("POST", "/v1/machines", DeployOut, ask, how=how)

    def get(self, machine: str) -> MachineOut:
        """Show a machine."""
        return self._to.read(f"/v1/machines/{part(machine)}", MachineOut)

    def explain(self, machine: str) -> ExplainOut:
        """Explain a machine."""
        return self._to.read(f"/v1/machines/{part(machine)}/explain", ExplainOut)

    def usage(self, machine: str) -> UsageOut:
        """Show what a machine uses."""
        return self._to.read(f"/v1/machines/{part(machine)}/usage", UsageOut)

    def update(self, machine: str, ask: MachineChange, **how: Unpack[How]) -> MachineOut:
        """Rename a machine, or change its tags or user-data."""
        return self._to.write("PATCH", f"/v1/machines/{part(machine)}", MachineOut, ask, how=how)

    def start(self, machine: str, **how: Unpack[How]) -> OperationOut:
        """Start a machine."""
        return self._to.write("POST", f"/v1/machines/{part(machine)}/start", OperationOut, how=how)

    def stop(self, machine: str, ask: StopIn | None = None, **how: Unpack[How]) -> OperationOut:
        """Stop a machine."""
        return self._to.write(
            "POST", f"/v1/machines/{part(machine)}/stop", OperationOut, ask, how=how
        )

    def reboot(self, machine: str, **how: Unpack[How]) -> OperationOut:
        """Reboot a machine."""
        return self._to.write("POST", f"/v1/machines/{part(machine)}/reboot", OperationOut, how=how)

    def destroy(
        self, machine: str, ask: DestroyIn | None = None, **how: Unpack[How]
    ) -> OperationOut:
        """Destroy a machine."""
        return self._to.write(
            "POST", f"/v1/machines/{part(machine)}/destroy", OperationOut, ask, how=how
        )

    def recover(
        self, machine: str, ask: RecoverIn | None = None, **how: Unpack[How]
    ) -> OperationOut:
        """Recover a destroyed machine."""
        return self._to.write(
            "POST", f"/v1/machines/{part(machine)}/recover", OperationOut, ask, how=how
        )

    def expunge(self, machine: str, **how: Unpack[How]) -> OperationOut:
        """Erase a machine that is off."""
        return self._to.write(
            "POST", f"/v1/machines/{part(machine)}/expunge", OperationOut, how=how
        )

    def resize(self, machine: str, ask: ResizeIn, **how: Unpack[How]) -> MachineOut:
        """Resize a stopped machine."""
        return self._to.write(
            "POST", f"/v1/machines/{part(machine)}/resize", MachineOut, ask, how=how
        )

    def reset_password(
        self, machine: str, ask: PasswordResetIn | None = None, **how: Unpack[How]
    ) -> PasswordResetOut:
        """Reset a password within a machine."""
        path = f"/v1/machines/{part(machine)}/reset-password"
        return self._to.write("POST", path, PasswordResetOut, ask or PasswordResetIn(), how=how)

    def move(self, machine: str, ask: MoveIn | None = None, **how: Unpack[How]) -> OperationOut:
        """Move a machine to another host while it runs."""
        return self._to.write(
            "POST", f"/v1/machines/{part(machine)}/move", OperationOut, ask, how=how
        )

    def cancel_move(self, machine: str, **how: Unpack[How]) -> OperationOut:
        """Have a machine stay where it is."""
        return self._to.write(
            "POST", f"/v1/machines/{part(machine)}/cancel-move", OperationOut, how=how
        )
