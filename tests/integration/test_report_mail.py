"""Reports by mail: a real SMTP server on the loopback, with and without TLS, and senders that are killed."""

import email
import email.policy
import os
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import create_report
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult
from standins import INFO, Production, Registry

from dsgo import outbox
from dsgo.ftp_certificate import ensure_certificate
from dsgo.settings import HOST, Settings, load

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "s3cret and long"
WEEK = "2016-W25"
MADE = {}


class Inbox:
    """What the server has been given. `refuse` answers a command instead of the server, `ended` after a message."""

    def __init__(self):
        self.messages, self.logins = [], []
        self.refuse = {}
        self.ended = lambda: None

    async def handle_RCPT(self, server, session, envelope, address, options):
        if answer := self.refuse.get(address):
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.messages.append((session.ssl is not None, envelope.mail_from, envelope.rcpt_tos, envelope.content))
        self.ended()
        return self.refuse.get("DATA", "250 OK")

    def authenticate(self, server, session, envelope, mechanism, data):
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password.decode() == PASSWORD, handled=False)


class Server(Controller):
    """aiosmtpd's controller with the options of the SMTP protocol that these tests need."""

    def __init__(self, inbox, port, **options):
        self.options = options
        super().__init__(inbox, hostname=HOST, port=port)

    def factory(self):
        return SMTP(self.handler, hostname=HOST, **self.options)


@pytest.fixture(autouse=True)
def made_once(monkeypatch):
    """Equal reports are made once: these tests are about what becomes of them."""

    def create(name, week, registry, language):
        info = registry.productions[name].info
        key = (name, week, language.code, info["title"], info["synthetic"])
        if key not in MADE:
            MADE[key] = real(name, week, registry, language)
        return MADE[key]

    real = create_report.create_report
    monkeypatch.setattr(create_report, "create_report", create)


@pytest.fixture
def inbox():
    return Inbox()


@pytest.fixture
def start(inbox, free_ports, monkeypatch):
    """Function: start the server with these options, and set DSGO_SMTP_* to it."""
    running = []

    def start(*, security="none", certificate=None, recipients="a@example.org", login=False):
        (port,) = free_ports(1)
        options = {}
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, ensure_certificate(certificate, HOST))
            options = {"tls_context": context, "require_starttls": True}
        if login:
            options |= {
                "authenticator": inbox.authenticate,
                "auth_required": True,
                "auth_require_tls": bool(certificate),
            }
            monkeypatch.setenv("DSGO_SMTP_USER", "sender")
            monkeypatch.setenv("DSGO_SMTP_PASSWORD", PASSWORD)
        server = Server(inbox, port, **options)
        server.start()
        running.append(server)
        values = {
            "HOST": HOST,
            "PORT": str(port),
            "SECURITY": security,
            "SENDER": "dsgo@example.com",
            "RECIPIENTS": recipients,
        }
        for name, value in values.items():
            monkeypatch.setenv(f"DSGO_SMTP_{name}", value)
        return server

    yield start
    for server in running:
        if server.server is not None:
            server.stop()


@pytest.fixture
def certificate(tmp_path):
    ensure_certificate(tmp_path / "server.pem", HOST)
    return tmp_path / "server.pem"


def send(tmp_path, capsys, *options, production=None):
    """Exit code and standard error of the command with --send."""
    registry = Registry(wind_solar=production or Production())
    arguments = ["--collection", "wind_solar", "--output", str(tmp_path / "reports"), "--send", *options]
    code = create_report.main(arguments, registry)
    return code, capsys.readouterr().err.strip()


def parsed(inbox, place=-1):
    return email.message_from_bytes(inbox.messages[place][3], policy=email.policy.default)


def test_a_report_arrives_with_text_page_pictures_and_pdf(start, inbox, tmp_path, capsys):
    start()
    assert send(tmp_path, capsys) == (0, "sent to a@example.org")
    (message,) = inbox.messages
    assert message[:3] == (False, "dsgo@example.com", ["a@example.org"])
    mail = parsed(inbox)
    assert mail["Subject"] == "German wind and solar power: 20–26 June 2016"
    assert (mail["From"], mail["To"]) == ("dsgo@example.com", "a@example.org")
    text, page = mail.get_body(("plain",)).get_content(), mail.get_body(("html",)).get_content()
    for words in ("Both forecasts were closer", "20–26 June 2016", "version 3 (gradient boosting)"):
        assert words in text and words in page
    assert "<" not in text and "Content-Security-Policy" not in page and '"data:' not in page
    pictures = {part["Content-ID"]: part for part in mail.walk() if part.get_content_type() == "image/png"}
    assert len(pictures) == 4
    for cid, part in pictures.items():
        assert f'src="cid:{cid.strip("<>")}"' in page
        assert part.get_content().startswith(b"\x89PNG") and part.get_content_disposition() == "inline"
    (pdf,) = mail.iter_attachments()
    assert pdf.get_filename() == f"wind_solar_{WEEK}.pdf"
    assert pdf.get_content() == (tmp_path / "reports" / f"wind_solar_{WEEK}.pdf").read_bytes()


def test_a_week_is_sent_to_each_address_once_in_whatever_language(start, inbox, tmp_path, capsys, monkeypatch):
    start(recipients="a@example.org, b@example.org,a@example.org")
    assert send(tmp_path, capsys)[0] == 0
    assert [message[2] for message in inbox.messages] == [["a@example.org"], ["b@example.org"]], (
        "nobody sees the others"
    )
    code, said = send(tmp_path, capsys, "--language", "de")
    assert code == 0 and "sent before to a@example.org" in said and len(inbox.messages) == 2
    monkeypatch.setenv("DSGO_SMTP_RECIPIENTS", "A@example.org,c@example.org")
    assert send(tmp_path, capsys)[0] == 0
    assert [message[2] for message in inbox.messages[2:]] == [["c@example.org"]]
    assert send(tmp_path, capsys, "--week", "2016-W24")[0] == 0
    assert [message[2] for message in inbox.messages[3:]] == [["A@example.org"], ["c@example.org"]]
    assert parsed(inbox, 0)["Message-ID"] != parsed(inbox, 3)["Message-ID"]


@pytest.mark.parametrize("language", ["en", "de"])
def test_starttls_with_a_login(start, inbox, tmp_path, capsys, monkeypatch, certificate, language):
    start(security="starttls", certificate=certificate, login=True)
    monkeypatch.setenv("DSGO_SMTP_CA", str(certificate))
    code, said = send(tmp_path, capsys, "--language", language, production=Production(info={**INFO, "synthetic": True}))
    assert (code, said) == (0, "sent to a@example.org")
    assert inbox.messages[0][0] and inbox.logins == [("sender", PASSWORD)]
    assert parsed(inbox)["Subject"].endswith({"en": "(synthetic data)", "de": "(künstliche Daten)"}[language])


def test_a_server_that_cannot_be_trusted_gets_neither_password_nor_report(start, inbox, tmp_path, capsys, certificate):
    start(security="starttls", certificate=certificate, login=True)  # its certificate is nobody's that the system knows
    code, said = send(tmp_path, capsys)
    assert code == 1 and "certificate verify failed" in said and PASSWORD not in said
    assert inbox.messages == inbox.logins == []


def test_a_server_without_tls_gets_nothing_where_tls_is_asked_for(start, inbox, tmp_path, capsys):
    start(security="starttls", login=True)
    code, said = send(tmp_path, capsys)
    assert code == 1 and "STARTTLS" in said and "DSGO_SMTP_" in said
    assert inbox.messages == inbox.logins == []


def test_a_wrong_password_is_said_without_it_and_nothing_is_in_doubt(
    start, inbox, tmp_path, capsys, monkeypatch, certificate
):
    start(security="starttls", certificate=certificate, login=True)
    monkeypatch.setenv("DSGO_SMTP_CA", str(certificate))
    monkeypatch.setenv("DSGO_SMTP_PASSWORD", "wrong-password")
    code, said = send(tmp_path, capsys)
    assert code == 1 and "535" in said and "wrong-password" not in said
    monkeypatch.setenv("DSGO_SMTP_PASSWORD", PASSWORD)
    assert send(tmp_path, capsys) == (0, "sent to a@example.org")


@pytest.mark.parametrize("refused", ["b@example.org", "DATA"])
def test_what_the_server_refuses_can_be_sent_later(start, inbox, tmp_path, capsys, refused):
    start(recipients="a@example.org,b@example.org,c@example.org")
    inbox.refuse[refused] = "550 no such mailbox here"
    code, said = send(tmp_path, capsys)
    assert code == 1 and "refuses the report for b@example.org: 550 no such mailbox here" in said
    inbox.refuse.clear()
    inbox.messages.clear()
    assert send(tmp_path, capsys)[0] == 0
    expected = {"b@example.org"} if refused != "DATA" else {"a@example.org", "b@example.org", "c@example.org"}
    assert {message[2][0] for message in inbox.messages} == expected


def test_a_server_that_is_down_is_said_and_nothing_is_in_doubt(start, inbox, tmp_path, capsys):
    server = start()
    server.stop()
    code, said = send(tmp_path, capsys)
    assert code == 1 and "cannot be used" in said and "Traceback" not in said
    server = start()
    assert send(tmp_path, capsys) == (0, "sent to a@example.org")


def test_a_sender_killed_between_sending_and_recording_does_not_send_again_by_itself(start, inbox, tmp_path, capsys):
    start()
    code = "import sys, create_report, standins; registry = standins.Registry(wind_solar=standins.Production());"
    code += "create_report.main(['--collection', 'wind_solar', '--output', sys.argv[1], '--send'], registry)"
    path = os.pathsep.join([str(ROOT), str(ROOT / "report"), str(ROOT / "tests")])
    command = [sys.executable, "-c", code, str(tmp_path / "reports")]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.DEVNULL)
    inbox.ended = lambda: process.send_signal(signal.SIGKILL)  # the message is there, the answer is not
    with process:
        assert process.wait(timeout=300) == -signal.SIGKILL
    inbox.ended = lambda: None
    assert len(inbox.messages) == 1
    code, said = send(tmp_path, capsys)
    assert code == 1 and "was cut short" in said and "--again a@example.org" in said
    assert len(inbox.messages) == 1, "not a second time"
    assert send(tmp_path, capsys, "--again", "a@example.org") == (0, "sent to a@example.org")
    first, second = (parsed(inbox, place)["Message-ID"] for place in (0, 1))
    assert first == second, "mail programs show it once"
    code, said = send(tmp_path, capsys, "--again", "a@example.org")
    assert code == 0 and "sent before" in said and len(inbox.messages) == 2


def test_a_connection_that_breaks_in_the_message_leaves_it_in_doubt(start, tmp_path, capsys, monkeypatch):
    start(recipients="a@example.org,b@example.org")
    real = smtplib.SMTP.getreply

    def getreply(client):
        code, answer = real(client)
        if code == 354:  # from here on the server may have the message
            client.sock.shutdown(socket.SHUT_RDWR)
        return code, answer

    monkeypatch.setattr(smtplib.SMTP, "getreply", getreply)
    code, said = send(tmp_path, capsys)
    assert code == 1 and "not known whether it has arrived" in said and "--again a@example.org" in said
    with outbox.opened(load().outbox) as record:
        assert record.find(outbox.Letter("wind_solar", WEEK, "a@example.org")).ended is None
        assert record.find(outbox.Letter("wind_solar", WEEK, "b@example.org")) is None


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({"HOST": ""}, [], "DSGO_SMTP_HOST"),
        ({"RECIPIENTS": " , "}, [], "DSGO_SMTP_RECIPIENTS"),
        ({"RECIPIENTS": "a@example.org\nBcc: x@example.org"}, [], "DSGO_SMTP_RECIPIENTS"),
        ({"RECIPIENTS": "nobody"}, [], "DSGO_SMTP_RECIPIENTS='nobody'"),
        ({"SENDER": ""}, [], "DSGO_SMTP_SENDER"),
        ({"SECURITY": "ssl"}, [], "DSGO_SMTP_SECURITY='ssl'"),
        ({"PORT": "smtp"}, [], "DSGO_SMTP_PORT='smtp'"),
        ({"HOST": "mail.example.org", "PASSWORD": PASSWORD}, [], "starttls or tls where there is a password"),
        ({"PASSWORD": "pässword"}, [], "DSGO_SMTP_PASSWORD='…'"),
        ({}, ["--again", "x@example.org"], "--again x@example.org"),
    ],
)
def test_settings_that_cannot_work_are_named_before_anything_is_written(
    start, inbox, tmp_path, capsys, monkeypatch, changes, options, words
):
    start()
    for name, value in changes.items():
        monkeypatch.setenv(f"DSGO_SMTP_{name}", value)
    code, said = send(tmp_path, capsys, *options)
    assert code == 1 and words in said and PASSWORD not in said
    assert inbox.messages == [] and not (tmp_path / "reports").exists()


def test_a_hostile_title_stays_in_the_subject(start, inbox, tmp_path, capsys):
    start()
    title = "Power\r\nBcc: x@example.org\n<script>alert(1)</script>"
    assert send(tmp_path, capsys, production=Production(info={**INFO, "title": title}))[0] == 0
    mail = parsed(inbox)
    assert mail["Bcc"] is None and mail["Subject"].startswith("Power Bcc: x@example.org <script>")
    assert "<script" not in mail.get_body(("html",)).get_content()


def test_the_password_comes_from_the_file_and_shows_nowhere(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text(f"DSGO_SMTP_PASSWORD={PASSWORD}\nDSGO_SMTP_HOST=mail.example.org\n")
    settings = load({"DSGO_HOME": str(tmp_path)})
    assert settings.smtp.password == PASSWORD and settings.smtp.port == 587
    assert PASSWORD not in repr(settings) and PASSWORD not in str(settings.child_environment())
    assert load({"DSGO_SMTP_SECURITY": "tls"}).smtp.port == 465
    assert Settings(home=tmp_path).outbox in Settings(home=tmp_path).databases, "a backup has it"
