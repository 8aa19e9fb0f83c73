"""What a routing appliance is told to do, rendered from its wish. Pure; every runtime uses the same."""
