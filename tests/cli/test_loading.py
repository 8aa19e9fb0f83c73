"""The collector of garbage rests while modules are loaded, and works again after, whatever became of that."""

import gc

import pytest

from arable.cli.loading import spared


def test_what_is_loaded_is_not_looked_at_then_nor_later():
    before = gc.get_freeze_count()
    try:
        with spared():
            assert not gc.isenabled()
            kept = [[] for _ in range(1000)]
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(kept)
    finally:
        gc.unfreeze()


def test_it_looks_again_after_a_module_that_can_not_be_loaded():
    with pytest.raises(ModuleNotFoundError), spared():
        import arable.no_such_module  # noqa: F401
    assert gc.isenabled()
    gc.unfreeze()
