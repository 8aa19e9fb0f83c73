"""Where agents come in: one TLS port, one channel for each host, and the few calls beside it (`wire/agent.py`).

Put together on the event loop that will run it, from the outside in:

    desk = Desk(database, writer, around, server_name, settle)    # services/desk.py; settle is the controllers'
    channels = Channels(desk, clock)                              # who is connected: pushes, reports
    consoles = Consoles(tickets, channels.open_console, entropy)  # api/console.py; also a route of the public API
    calls = Calls(desk, consoles, clock)                          # join, renew, image parts, consoles
    gateway = Gateway(calls, channels, clock, tls)                # the port; tls lets those in who join

The writer's `committed` gives the hosts that were nudged to `channels.nudge`, from its own thread. `channels.start()`
begins their tasks on the loop and `await gateway.start(socket)` listens; at the end `channels.stop()` tells agents to
go elsewhere, `gateway.stop()` hangs up, `calls.close()` ends the threads, and only then the writer may stop. A fresh
certificate is put into place by `gateway.refresh`.
"""
