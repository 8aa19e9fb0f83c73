"""The grid and its regions, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.common import Page
from arable.wire.grid_instructions import (
    CancelInstructionIn,
    InstructIn,
    InstructionOut,
    InstructionQuery,
)
from arable.wire.grid_limits import GridLimitOut, GridLimitQuery, GridLimitsIn
from arable.wire.grid_sums import (
    GridAccountsOut,
    GridBillQuery,
    GridBillsOut,
    GridEventQuery,
    GridEventsOut,
    GridSumQuery,
)
from arable.wire.regions import (
    GridOut,
    GridTokenIn,
    GridTokenOut,
    JoinGridIn,
    RegionChange,
    RegionOut,
    RegionQuery,
)
from arable.wire.sign_on import RotatedOut, SignOnIn, SignOnOut


class Regions(Group):
    """Regions of the grid."""

    def page(self, query: RegionQuery | None = None) -> Page[RegionOut]:
        """List regions of the grid."""
        return self._to.read("/v1/regions", Page[RegionOut], query)

    def all(self, query: RegionQuery | None = None) -> Iterator[RegionOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or RegionQuery())

    def get(self, region: str) -> RegionOut:
        """Show a region."""
        return self._to.read(f"/v1/regions/{part(region)}", RegionOut)

    def update(self, region: str, ask: RegionChange, **how: Unpack[How]) -> RegionOut:
        """Change what the grid manager says of a region."""
        return self._to.write("PATCH", f"/v1/regions/{part(region)}", RegionOut, ask, how=how)

    def delete(self, region: str, **how: Unpack[How]) -> None:
        """Remove a region from the grid."""
        self._to.write("DELETE", f"/v1/regions/{part(region)}", type(None), how=how)

    def join(self, ask: JoinGridIn, **how: Unpack[How]) -> GridOut:
        """Make this cloud a region of a grid."""
        return self._to.write("POST", "/v1/grid/join", GridOut, ask, how=how)

    def sign_on(self, ask: SignOnIn, **how: Unpack[How]) -> SignOnOut:
        """Get a token for another region."""
        return self._to.write("POST", "/v1/grid/sign-on", SignOnOut, ask, how=how)

    def rotate_keys(self, **how: Unpack[How]) -> RotatedOut:
        """Replace the keys by which this region signs."""
        return self._to.write("POST", "/v1/grid/keys", RotatedOut, how=how)

    def leave(self, **how: Unpack[How]) -> GridOut:
        """Leave the grid."""
        return self._to.write("POST", "/v1/grid/leave", GridOut, how=how)


class Grid(Group):
    """All regions together."""

    def status(self) -> GridOut:
        """Show all regions together: inventory, capacity, load, faults."""
        return self._to.read("/v1/grid", GridOut)

    def bills(self, query: GridBillQuery | None = None) -> GridBillsOut:
        """Show what a month comes to in all regions, by account."""
        return self._to.read("/v1/grid/bills", GridBillsOut, query)

    def accounts(self, query: GridSumQuery | None = None) -> GridAccountsOut:
        """Show what accounts hold in all regions."""
        return self._to.read("/v1/grid/accounts", GridAccountsOut, query)

    def events(self, query: GridEventQuery | None = None) -> GridEventsOut:
        """List the newest events of all regions' operators."""
        return self._to.read("/v1/grid/events", GridEventsOut, query)

    def limits(self, query: GridLimitQuery | None = None) -> Page[GridLimitOut]:
        """List accounts' limits over all regions, and regions' shares of them."""
        return self._to.read("/v1/grid/limits", Page[GridLimitOut], query)

    def set_limits(self, ask: GridLimitsIn, **how: Unpack[How]) -> GridLimitOut:
        """Change what an account may hold in all regions together."""
        return self._to.write("PATCH", "/v1/grid/limits", GridLimitOut, ask, how=how)

    def instructions(self, query: InstructionQuery | None = None) -> Page[InstructionOut]:
        """List what regions were told to do, and how far they are."""
        return self._to.read("/v1/grid/instructions", Page[InstructionOut], query)

    def instruct(self, ask: InstructIn, **how: Unpack[How]) -> InstructionOut:
        """Tell regions to do something."""
        return self._to.write("POST", "/v1/grid/instructions", InstructionOut, ask, how=how)

    def cancel(self, ask: CancelInstructionIn, **how: Unpack[How]) -> InstructionOut:
        """Take an instruction back."""
        return self._to.write("POST", "/v1/grid/instructions/cancel", InstructionOut, ask, how=how)

    def token(self, ask: GridTokenIn, **how: Unpack[How]) -> GridTokenOut:
        """Make a one-time token for a region."""
        return self._to.write("POST", "/v1/grid/tokens", GridTokenOut, ask, how=how)
