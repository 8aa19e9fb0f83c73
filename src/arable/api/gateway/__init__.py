"""Where agents come in: one TLS port, one channel for each host, and the few calls beside it (`wire/agent.py`)."""
