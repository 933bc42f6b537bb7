"""Where the login of an FTP server comes from: environment, `.env`, netrc, and last the URI."""

from __future__ import annotations

import netrc
from dataclasses import dataclass, field

from dsgo import settings

NO_LOGIN_REMEDY = (
    "Set DSGO_FTP_USER and DSGO_FTP_PASSWORD, or add `machine {host} login … password …` to ~/.netrc "
    "(readable by you only). Anonymous access must be asked for in the same way."
)


@dataclass(frozen=True)
class Login:
    """A user's name and password; neither shows in a repr. `source` says where they were found."""

    user: str = field(repr=False)
    password: str = field(repr=False)
    source: str


def find_login(host: str, port: int, user: str | None = None, password: str | None = None) -> Login | None:
    """The login for the server `host:port`, or None if nobody has given one.

    `user` and `password` are the URI's own. A user in the URI rules out the login of any other user.

    Raises:
        SettingError: a setting of DSGo is wrong.
        netrc.NetrcParseError: `~/.netrc` is malformed. The message names file and line only.
    """
    found = [_from_environment(user), _from_env_file(host, port), _from_netrc(host)]
    for login in found:
        if login is not None and user in (None, login.user):
            return login
    if user is not None and password is not None:
        return Login(user, password, "the artifact URI")
    return None


def is_own_server(host: str, port: int, own: settings.Settings) -> bool:
    """Whether `host:port` is the FTP server of this copy of DSGo."""
    return host in (settings.HOST, "localhost", own.servers) and port == own.ftp_port


def _from_environment(user: str | None) -> Login | None:
    given_user, given_password = settings.ftp_login_of_environment()
    if not given_password:
        return None
    return Login(given_user or user or settings.FTP_USER, given_password, "DSGO_FTP_USER and DSGO_FTP_PASSWORD")


def _from_env_file(host: str, port: int) -> Login | None:
    own = settings.load()
    if not own.ftp_password or not is_own_server(host, port, own):
        return None
    return Login(own.ftp_user, own.ftp_password, str(own.env_file))


def _from_netrc(host: str) -> Login | None:
    try:
        hosts = netrc.netrc().hosts
    except OSError:  # none there, or none that this user may read
        return None
    except netrc.NetrcParseError as error:  # its own message may quote a password
        raise netrc.NetrcParseError(
            "malformed, or readable by others", error.filename or "~/.netrc", error.lineno
        ) from None
    if host not in hosts:  # the `default` entry is left out: it would send its password to any host
        return None
    user, _, password = hosts[host]
    return Login(user, password or "", "~/.netrc")
