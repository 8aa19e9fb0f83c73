"""The gateway of a restored database: hosts are told nothing before they were heard, and then everything."""

from agent import make_agent as make
from arable.store import incarnations, restore
from gateway.living_agent import living
from gateway.make_gateway import rig, run, until
from gateway.test_gateway_agents import all_run, wants


def test_a_host_that_holds_more_than_a_restored_database_takes_what_that_says(database, tmp_path):
    async def scenario():
        hardware = make.Rig()
        async with rig(database, tmp_path) as one:
            one.writer.submit(
                lambda tx: incarnations.draw(tx, "first", one.around.clock.now())
            ).result(60)
            host = one.joined("h1")
            async with living(host, one.port, lambda: one.tls(host), hardware=hardware):
                wants(one, host, "a", "b")
                await until(lambda: all_run(one, host, "a", "b"))
        with (
            database.write() as tx
        ):  # the copy knows of one guest, by a generation that was given twice
            tx.exec_driver_sql(f"delete from manifest_item where id = '{make.machine('b')}'")
            restore.renew(tx, "second", one.around.clock.now())
        async with rig(database, tmp_path) as one:
            before = held(hardware)
            async with living(host, one.port, lambda: one.tls(host), hardware=hardware):
                await until(lambda: any(report.full for report in one.reports))
                assert held(hardware) == before, "nothing was told yet"
                one.writer.submit(lambda tx: incarnations.heard(tx, host, 2)).result(60)
                await until(lambda: held(hardware)[0] == "second")
                assert hardware.runs("a")
                assert hardware.runs("b"), "a stranger is kept"
                assert hardware.starts("a") == hardware.starts("b") == 1

    run(scenario())


def held(hardware: make.Rig) -> tuple[str, int]:
    manifest = hardware.ledger.held.manifest
    return manifest.incarnation, manifest.generation
