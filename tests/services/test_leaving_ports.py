"""A port that was detached goes, and nobody goes on being told of it."""

from make_cloud import Cloud
from test_landing import routed, with_hosts

from arable.controllers import machines
from arable.controllers import nics as leaving
from arable.services import nics
from arable.wire.nics import NicQuery

LEASES = "select host from manifest_item where kind = 'lease' and body is not null"


def test_a_port_that_goes_before_its_machine_was_looked_at_is_known_to_no_router(
    cloud: Cloud,
) -> None:
    """The machine is off, so no host keeps the port; whoever was to look at the machine is held up meanwhile."""
    with_hosts(cloud, "a", "b")
    cloud.run("""update host set roles = '["compute", "routing"]'""")
    me = cloud.account("me")
    routed(cloud, me)
    cloud.run("update machine set wish = 'stopped', state = 'stopped', attention = true")
    with cloud.database.write() as tx:
        machines.attend(tx, cloud.around.clock.now())
    (port,) = cloud.do(me, nics.page, NicQuery()).items
    assert cloud.rows(LEASES) == [("host-a",)]
    cloud.do(me, nics.detach, port.id)
    with cloud.database.write() as tx:
        assert leaving.collect(tx, cloud.around.clock.now()) == 1
    assert cloud.rows("select id from nic") == []
    assert cloud.rows(LEASES) == []
