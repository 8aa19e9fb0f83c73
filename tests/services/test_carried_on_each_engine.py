"""A volume's way to another pool, on both databases: rows are held there in one order."""

from test_carried_volumes import balanced, boss, elsewhere, erased, go, scraps, told, word
from test_snapshots import off
from test_volumes import of, state, two

from arable.services import migrating

__all__ = ["boss", "off", "two"]


def test_a_volume_goes_is_called_off_and_goes_again(off, boss, cloud):
    me, _machine, volume, _snapshot = off
    target = elsewhere(cloud, volume)
    go(cloud, boss, volume, target)
    cloud.do(boss, migrating.cancel, volume)
    erased(cloud)
    asked = go(cloud, boss, volume, target)
    word(cloud)
    assert (state(cloud, boss, asked), of(cloud, me, volume).state) == ("done", "attached")
    erased(cloud)
    assert (told(cloud), scraps(cloud), cloud.rows("select * from carry")) == ({}, [], [])
    assert balanced(cloud)
