"""`make demo`: the main job before one's eyes, from an empty lab to a customer's machine that answers.

Run as `python -m arable.processes.demo [--once] [--farm]`. Everything is done as an operator and a customer would do it:
the operator by the API, the customer by `arable apply`, the visitor by HTTP from the lab's internet. Then a farm grows and
shrinks under load (`demo_farm.py`), while one may look around. With `--once` it leaves by itself after the first answer, or
with `--farm` after the farm, with status 0 only if all went well.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from arable.client.arable import Arable
from arable.domain.errors import Unavailable
from arable.lab import look
from arable.processes import demo_farm, up, up_commands
from arable.processes.foreseen import told
from arable.processes.leaving import Leave, until_told
from arable.processes.up import EXAMPLES, Cloud, Say, Wanted
from arable.runtime.ca import keep
from arable.runtime.clock import Clock, RealClock
from arable.runtime.entropy import Entropy
from arable.wire.accounts import AccountIn, FirstUserIn
from arable.wire.users import KeyIn

CUSTOMER = "acme"
_FILE = EXAMPLES / "first-machine.yaml"
_MACHINE = "web"  # as that file calls it
_ANSWER_WITHIN = 120.0
_STEP = timedelta(milliseconds=500)


def main(
    once: Annotated[
        bool, typer.Option("--once", help="Leave at the end; status 0 if the answer was right.")
    ] = False,
    farm: Annotated[
        bool,
        typer.Option("--farm", help="Show the farm, too, which without --once is always shown."),
    ] = False,
    api: Annotated[str, typer.Option(help="HOST:PORT of the API.")] = "127.0.0.1:0",
) -> None:
    """Bring up a cloud in an emulated data centre, and a customer's machine in it that answers."""
    clock = RealClock()
    say = up_commands.spoken(clock)
    data = Path(tempfile.mkdtemp(prefix="arable-demo-"))
    done = False
    with told(), until_told():
        up.check_machine(data)
        try:
            wanted = Wanted(data=data, topology=up.topology_of(None), api=api)
            with up.cloud(wanted, clock, say) as cloud:
                show(cloud, clock, say)
                done = not farm
                if not once:
                    typer.echo(look_around(cloud))
                if farm or not once:
                    done = _show_farm(cloud, clock, say)
                if not once:
                    up_commands.stay(cloud, clock)
        except Leave:
            say("leaving: machines, hosts and wires go")
            raise
        finally:
            if done:
                shutil.rmtree(data)
            else:
                typer.echo(f"what there is to read is in {data}", err=True)
    raise typer.Exit(0 if done else 1)


def show(cloud: Cloud, clock: Clock, say: Say) -> None:
    """The main job. Raises what goes wrong, `Unavailable` for an answer that is not the machine's."""
    say(f"an operator makes the account {CUSTOMER}")
    key = _customer(cloud)
    say(f"{CUSTOMER} says: arable apply -f {_FILE.name}")
    _arable(cloud, key, say, "apply", "--file", str(_FILE))
    with Arable(cloud.url, key) as customer:
        (forward,) = (rule for rule in customer.rules.all() if rule.kind == "forward")
        assert forward.address, "a forward is of an address"
        url = f"http://{customer.addresses.get(forward.address).address}/"
    say(f"somebody on the internet asks for {url}")
    page = _answer(cloud, url, clock)
    say(f"and {_MACHINE} answers: {' '.join(page.split())}")


def _customer(cloud: Cloud) -> str:
    """A new account; the API key of its first user."""
    password = Entropy.system().secret(24)
    with cloud.operator() as operator:
        operator.accounts.create(
            AccountIn(name=CUSTOMER, user=FirstUserIn(name=CUSTOMER, password=password))
        )
    with Arable(cloud.url) as client:
        client.sign_in(CUSTOMER, password)
        secret = client.keys.create(KeyIn(name="demo")).secret
    assert secret, "a fresh key is told"
    keep(_key_file(cloud), secret, Entropy.system())
    return secret


def _key_file(cloud: Cloud) -> Path:
    return cloud.wanted.data / f"{CUSTOMER}.key"


def _show_farm(cloud: Cloud, clock: Clock, say: Say) -> bool:
    """Whether all went well. What did not is told, and the cloud stays for who wants to look at it."""
    key = _key_file(cloud).read_text()
    say(f"{CUSTOMER} says: arable farm apply -f {demo_farm.FILE.name}")
    try:
        _arable(cloud, key, say, "farm", "apply", "--file", str(demo_farm.FILE))
        with Arable(cloud.url, key) as customer:
            demo_farm.show(cloud, customer, clock, typer.echo)
    except Unavailable as error:
        say(f"this went wrong: {error.public}")
        return False
    say("a farm grew and shrank by itself")
    return True


def _arable(cloud: Cloud, key: str, say: Callable[[str], None], *words: str) -> None:
    """The command line, as a process of the customer's. Raises `Unavailable` when it fails."""
    argv = [sys.executable, "-m", "arable.processes.main", *words]
    environment = os.environ | {"ARABLE_URL": cloud.url, "ARABLE_TOKEN": key}
    child = subprocess.Popen(
        argv,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stderr
    for line in child.stderr:
        say(f"  {line.rstrip()}")
    if child.wait():
        raise Unavailable(f"`arable {words[0]}` failed")


def _answer(cloud: Cloud, url: str, clock: Clock) -> str:
    """What the machine says; it may still be starting its web server."""
    assert cloud.site, "the demonstration is in a lab"
    end = clock.monotonic() + _ANSWER_WITHIN
    while True:
        try:
            page = look.fetch(cloud.site, url)
        except Unavailable:
            if clock.monotonic() > end:
                raise
            clock.wait(_STEP)
            continue
        if page.status != 200 or f"hostname={_MACHINE}" not in page.text.splitlines():
            raise Unavailable(f"{url} answered {page.status}: {page.text[:200]}")
        return page.text


def look_around(cloud: Cloud) -> str:
    """What one may do now."""
    data = cloud.wanted.data
    key = _key_file(cloud)
    return "\n".join(
        [
            up_commands.look_around(cloud),
            "",
            f"As {CUSTOMER}, in another terminal:",
            f"  export ARABLE_URL={cloud.url} ARABLE_TOKEN=$(cat {key}) ARABLE_DATA={data}",
            "  arable machine list; arable machine console web; arable event list",
            "  arable lab curl http://203.0.113.11/",
        ]
    )


if __name__ == "__main__":
    typer.run(main)
