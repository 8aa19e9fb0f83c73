"""At the grid port: what farms of other regions are to be here (`services/farm_partners.py`), one transaction each."""

import asyncio
import re

import msgspec

from arable.api import problems
from arable.api.grid.app import GridAnswer, GridRequest, GridRoute, json_answer
from arable.domain.errors import BadInput
from arable.services import farm_partners
from arable.services.call import Surroundings
from arable.services.execution import Writer
from arable.wire.grid import FARMS, FarmPartIn, FarmPartOut, FarmPartsIn, FarmPartsOut


def route(writer: Writer, around: Surroundings) -> GridRoute:
    """Of a management server whose parts these are."""

    async def taken(request: GridRequest) -> GridAnswer:
        try:
            ask = msgspec.json.decode(await request.body(), type=FarmPartsIn)
        except msgspec.ValidationError as error:
            raise problems.of_validation(error, "body") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadInput("not JSON", field="body") from error
        parts = [await _one(request.region, each) for each in ask.parts]
        return json_answer(FarmPartsOut(parts=tuple(parts)))

    async def _one(region: str, part: FarmPartIn) -> FarmPartOut:
        done = writer.submit(lambda tx: farm_partners.take(tx, around, region, part))
        return await asyncio.wrap_future(done)

    return GridRoute("POST", re.compile(re.escape(FARMS)), taken)
