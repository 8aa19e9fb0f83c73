"""Mail, by an SMTP server that an operator named. Encrypted unless it is on this machine (`domain`'s routes see to that).

All notices that wait for a route go in one mail: a pod without power is one mail, and not forty.
"""

import smtplib
import socket
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import format_datetime

from arable.domain.alert import Notice, Security, Target, Told
from arable.domain.errors import Conflict, Unavailable
from arable.runtime.clock import Clock
from arable.runtime.secret import Secret
from arable.runtime.sending import SECONDS


class Mail:
    """`tls` says whom to trust; the machine's own authorities, usually."""

    most = 50

    def __init__(self, clock: Clock, tls: ssl.SSLContext | None = None) -> None:
        self._clock = clock
        self._tls = tls or ssl.create_default_context()

    def send(self, target: Target, secret: Secret | None, notices: Sequence[Notice]) -> None:
        """See `Sender`. One that some recipients refuse was taken: the others have it."""
        try:
            with self._connected(target) as smtp:
                if target.user and secret is not None:
                    smtp.login(target.user, secret.reveal())
                smtp.send_message(self._message(target, notices))
        except smtplib.SMTPAuthenticationError as error:
            raise Conflict(f"it does not let {target.user} in: status {error.smtp_code}") from error
        except smtplib.SMTPResponseException as error:
            raise Conflict(f"it answered with status {error.smtp_code}") from error
        except smtplib.SMTPRecipientsRefused as error:
            raise Conflict("it refused all recipients") from error
        except smtplib.SMTPNotSupportedError as error:
            raise Conflict(f"it can't do that: {error}") from error
        except (smtplib.SMTPException, OSError) as error:
            raise Unavailable(f"can't be reached: {error or type(error).__name__}") from error

    def _connected(self, target: Target) -> smtplib.SMTP:
        here = socket.gethostname()
        if target.security is Security.TLS:
            return smtplib.SMTP_SSL(
                target.server, target.port, here, timeout=SECONDS, context=self._tls
            )
        smtp = smtplib.SMTP(target.server, target.port, here, timeout=SECONDS)
        if target.security is Security.STARTTLS:
            try:
                smtp.starttls(context=self._tls)
            except BaseException:
                smtp.close()
                raise
        return smtp

    def _message(self, target: Target, notices: Sequence[Notice]) -> EmailMessage:
        made = EmailMessage()
        made["From"] = target.sender
        made["To"] = ", ".join(target.recipients)
        made["Subject"] = subject(notices)
        made["Date"] = format_datetime(self._clock.now())
        made["Message-ID"] = f"<{notices[0].id}@arable>"
        made["Auto-Submitted"] = "auto-generated"
        made.set_content("\n".join(paragraph(each) for each in notices))
        return made


def subject(notices: Sequence[Notice]) -> str:
    """What is to be seen in a list of mails."""
    first = notices[0]
    alert = first.alert
    said = f"{alert.severity} {alert.kind} {alert.name}: {first.what}"
    more = f" (and {len(notices) - 1} more)" if len(notices) > 1 else ""
    return f"[arable] {said}{more}"


def paragraph(notice: Notice) -> str:
    """One notice in a mail's text."""
    alert = notice.alert
    rows = [
        ("alert", alert.id),
        ("kind", alert.kind),
        ("subject", f"{alert.name} ({alert.subject})"),
        ("severity", alert.severity),
        ("since", alert.since.isoformat(timespec="seconds")),
        *([("until", alert.until.isoformat(timespec="seconds"))] if alert.until else []),
        ("delivery", notice.id),
    ]
    head = f"{alert.text}\n" if notice.what is not Told.ENDED else f"Over: {alert.text}\n"
    return head + "".join(f"    {name:<9} {value}\n" for name, value in rows)
