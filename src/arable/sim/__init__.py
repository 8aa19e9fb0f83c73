"""The whole cloud in one process and one thread on virtual time: real services, controllers and agents, simulated hosts."""
