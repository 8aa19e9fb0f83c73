"""Power by Redfish, as nearly every server's BMC speaks it, through the library `sushy`.

What is sent goes where the operator said or nowhere: no redirects are followed, no proxy and no `.netrc` of the
environment are used. The BMC is believed by its certificate: one that the machine's authorities vouch for, or the
given authority, or the one certificate of the given fingerprint (BMCs tend to sign their own). Nothing is tried again
here and nothing waited for: who asked comes back.

Sushy and what it needs are 25 MB in memory, which a server without BMCs is spared.
"""

import logging
import ssl
from typing import Any

from arable.domain.errors import BadInput, CloudError, Conflict, Forbidden, NotFound, Unavailable
from arable.domain.power import ROOT, Bmc, PowerState, split
from arable.runtime.secret import Secret

logging.getLogger("sushy").setLevel(logging.CRITICAL)  # whoever asked tells what went wrong, once

CONNECT_SECONDS, READ_SECONDS = 5.0, 15.0


class RedfishPower:
    """One machine's. Connects for each call: they are rare, and many BMCs bear no long connections."""

    def __init__(self, bmc: Bmc, password: Secret) -> None:
        self._bmc = bmc
        self._password = password
        self._base, self._system = split(bmc.url)

    def state(self) -> PowerState:
        return PowerState(self._with(_state))

    def off(self) -> None:
        import sushy

        def off(system: Any) -> None:
            if _state(system) is not PowerState.OFF:
                system.reset_system(sushy.RESET_FORCE_OFF)

        self._with(off)

    def on(self) -> None:
        import sushy

        def on(system: Any) -> None:
            if _state(system) is not PowerState.ON:
                system.reset_system(sushy.RESET_ON)

        self._with(on)

    def _with(self, work: Any) -> Any:
        import sushy

        connector = sushy.connector.Connector(
            self._base,
            server_side_retries=1,
            default_request_timeout=READ_SECONDS,
            connect_timeout=CONNECT_SECONDS,
            verify=not self._bmc.fingerprint,
        )
        try:
            session = connector._session  # noqa: SLF001 - there is no other way to say whom to believe
            session.trust_env = False
            session.max_redirects = 0
            session.mount("https://", _adapter(self._bmc))
            session.mount("http://", _refusing())
            root = sushy.Sushy(
                self._base,
                auth=sushy.auth.BasicAuth(self._bmc.user, self._password.reveal()),
                connector=connector,
                public_connector=connector,
            )
            return work(root.get_system(self._path(root)))
        except sushy.exceptions.SushyError as error:
            raise _told(error) from error
        finally:
            connector.close()

    def _path(self, root: Any) -> str | None:
        """Of the machine: the one that the URL names, or the only one there is."""
        if self._system:
            return self._system
        paths = root.get_system_collection().members_identities
        if len(paths) != 1:
            raise BadInput(
                f"{self._base} manages {len(paths)} systems; name one in the URL, such as"
                f" {self._base}{ROOT}Systems/1",
                field="url",
            )
        return str(paths[0])


def _state(system: Any) -> PowerState:
    import sushy

    known = {sushy.POWER_STATE_ON: PowerState.ON, sushy.POWER_STATE_OFF: PowerState.OFF}
    return known.get(system.power_state, PowerState.CHANGING)


def _adapter(bmc: Bmc) -> Any:
    """Which certificates are believed, whatever `requests` would."""
    from requests.adapters import HTTPAdapter

    known: dict[str, Any] = {}
    if bmc.fingerprint:
        known = {"assert_fingerprint": bmc.fingerprint, "cert_reqs": "CERT_NONE"}
    else:
        context = ssl.create_default_context(cadata=bmc.authority or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        known = {"ssl_context": context}

    class Believing(HTTPAdapter):
        def build_connection_pool_key_attributes(
            self, request: Any, verify: Any, cert: Any = None
        ) -> Any:
            where, _ = super().build_connection_pool_key_attributes(request, verify, cert)
            return where, known

        def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
            """As the context says; this would add the authorities that `requests` brings."""

    return Believing()


def _refusing() -> Any:
    """Passwords don't go over a network in the clear, wherever a BMC may lead us."""
    from requests.adapters import HTTPAdapter
    from requests.exceptions import InvalidSchema

    class Refusing(HTTPAdapter):
        def send(self, *_args: Any, **_more: Any) -> Any:
            raise InvalidSchema("not without TLS")

    return Refusing()


def _told(error: Exception) -> CloudError:
    import sushy

    text = str(error).strip() or type(error).__name__
    match error:
        case sushy.exceptions.AccessError():
            return Forbidden(f"the BMC refuses this user or password: {text}")
        case sushy.exceptions.ResourceNotFoundError():
            return NotFound(f"the BMC knows no such system: {text}")
        case sushy.exceptions.ConnectionError() | sushy.exceptions.ServerSideError():
            return Unavailable(f"the BMC can't be asked: {text}")
        case _:
            return Conflict(f"the BMC does not do that: {text}")
