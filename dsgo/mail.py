"""Mail by SMTP: a report as a message, and sending it so that it is known whether the server has taken it."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import smtplib
import ssl
from collections.abc import Iterator, Mapping
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate

from dsgo.errors import MailError, SettingError
from dsgo.settings import Smtp

TIMEOUT_S = 30.0


class NotTaken(MailError):
    """The server has certainly not taken the message: it can be sent again."""


def check(smtp: Smtp) -> None:
    """Refuse settings that cannot work, or would show the password to everyone on the way.

    Raises:
        SettingError: a setting is missing or wrong; names it.
    """
    if not smtp.host:
        raise SettingError("DSGO_SMTP_HOST", smtp.host, "the name of a mail server")
    if not smtp.recipients:
        raise SettingError("DSGO_SMTP_RECIPIENTS", "", "one or more addresses with commas between them")
    for name, address in (("SENDER", smtp.sender), *(("RECIPIENTS", recipient) for recipient in smtp.recipients)):
        try:
            valid = Address(addr_spec=address).domain
        except (MessageError, ValueError, IndexError):
            valid = ""
        if not valid:
            raise SettingError(f"DSGO_SMTP_{name}", address, "an address such as name@example.org")
    for name, text in (("USER", smtp.user), ("PASSWORD", smtp.password)):
        if not text.isascii():  # Python's client cannot send another
            raise SettingError(f"DSGO_SMTP_{name}", "…", "of ASCII characters")
    if smtp.password and smtp.security == "none" and not _is_loopback(smtp.host):
        raise SettingError("DSGO_SMTP_SECURITY", smtp.security, "starttls or tls where there is a password")


def compose(
    smtp: Smtp,
    recipient: str,
    subject: str,
    *,
    name: str,
    text: str,
    html: str,
    pictures: Mapping[str, bytes],
    pdf: bytes,
) -> EmailMessage:
    """A message as text and as HTML with its PNG pictures inside, which clients show at once, and a PDF attached.

    Args:
        name: of what is sent, the same if it is sent again: mail programs show messages of one Message-ID once.
        pictures: by the name under which the HTML has them, `cid:<name>`.
    """
    message = EmailMessage()
    message["From"] = smtp.sender
    message["To"] = recipient
    message["Subject"] = " ".join(subject.split())  # a line break in a title would end the header
    message["Date"] = formatdate()
    digest = hashlib.sha256(f"{name} {recipient.lower()}".encode()).hexdigest()[:32]
    message["Message-ID"] = f"<{digest}@{Address(addr_spec=smtp.sender).domain}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: holiday notices do not answer it
    message.set_content(text)
    message.add_alternative(html, subtype="html")
    page = message.get_payload()[1]
    for cid, picture in pictures.items():
        page.add_related(picture, "image", "png", cid=f"<{cid}>", filename=f"{cid}.png", disposition="inline")
    message.add_attachment(pdf, "application", "pdf", filename=f"{name}.pdf")
    return message


@contextlib.contextmanager
def connected(smtp: Smtp) -> Iterator[smtplib.SMTP]:
    """A connection to the mail server, secured and logged in as the settings say.

    Raises:
        NotTaken: that fails.
    """
    client: smtplib.SMTP | None = None
    try:
        if smtp.security == "tls":
            client = smtplib.SMTP_SSL(smtp.host, smtp.port, timeout=TIMEOUT_S, context=_context(smtp))
        else:
            client = smtplib.SMTP(smtp.host, smtp.port, timeout=TIMEOUT_S)
        if smtp.security == "starttls":
            client.starttls(context=_context(smtp))
        if smtp.user:
            client.login(smtp.user, smtp.password)
    except (OSError, smtplib.SMTPException) as error:
        if client is not None:
            client.close()
        raise NotTaken(f"The mail server {smtp.host}:{smtp.port} cannot be used: {_said(error)}.", _REMEDY) from None
    try:
        yield client
    finally:
        with contextlib.suppress(OSError, smtplib.SMTPException):  # it has taken all that it was given
            client.quit()
        client.close()


def send(client: smtplib.SMTP, message: EmailMessage) -> None:
    """Hand one message to the server.

    Raises:
        NotTaken: it has refused the message.
        MailError: the connection broke: nobody knows whether it has taken it.
    """
    recipient = str(message["To"])
    try:
        client.send_message(message)
    except (
        smtplib.SMTPSenderRefused,
        smtplib.SMTPRecipientsRefused,
        smtplib.SMTPDataError,
        smtplib.SMTPHeloError,
        smtplib.SMTPNotSupportedError,
    ) as error:
        raise NotTaken(f"The mail server refuses the report for {recipient}: {_said(error)}.", _REMEDY) from None
    except (OSError, smtplib.SMTPException) as error:
        raise MailError(
            f"The connection broke while the report for {recipient} was being sent: {_said(error)}.",
            "It is not known whether it has arrived.",
        ) from None


_REMEDY = "Look at the settings DSGO_SMTP_*."


def _said(error: Exception) -> str:
    """What went wrong, in one line. Of a login's failure only the server's answer: never what was sent."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        (code, answer), *_ = error.recipients.values()
        return f"{code} {_text(answer)}"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_text(error.smtp_error)}"
    return str(error) or type(error).__name__


def _text(answer: bytes | str) -> str:
    text = answer.decode(errors="replace") if isinstance(answer, bytes) else answer
    return " ".join(text.split()).rstrip(".")


def _context(smtp: Smtp) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=smtp.ca or None)
    except OSError as error:
        raise SettingError("DSGO_SMTP_CA", smtp.ca, "a file with certificates in PEM form") from error


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
