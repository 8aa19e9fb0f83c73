"""What replicas hold and lock while one is lost, on both databases."""

from test_replicated_volumes import (
    boss,
    shared,
    test_a_lost_storage_hosts_volumes_are_where_their_replicas_are,
    test_what_has_grown_takes_room_for_its_replica_too,
    twice,
)

__all__ = [
    "boss",
    "shared",
    "test_a_lost_storage_hosts_volumes_are_where_their_replicas_are",
    "test_what_has_grown_takes_room_for_its_replica_too",
    "twice",
]
