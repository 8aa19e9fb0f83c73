"""Who is in charge: pure decisions about leases, elections and liveness."""
