"""MLflow's tracking URIs, which may hold a user and a password: which parts may be shown."""

import re
import shlex
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote

_SECRET_OPTION = re.compile(r"(?<=[?&])(user|password|passwd|pwd|token|sslpassword)=([^&]*)", re.IGNORECASE)


_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")
"""Of servers and databases; MLflow's file store takes no new runs."""


def check_tracking_uri(uri: str) -> str:
    """Return a tracking URI of a server or database; ValueError for another one."""
    scheme, separator, _ = uri.partition("://")
    if not separator or scheme.lower().partition("+")[0] not in _SCHEMES:
        known = ", ".join(f"{each}://" for each in _SCHEMES)
        raise ValueError(
            f"--mlflow must begin with one of {known}, but got {public_uri(uri)}; for a file, give its database: "
            "sqlite:////path/mlflow.db (MLflow does not write to folders such as mlruns any more)"
        )
    return uri


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a SQLite URI, as SQLAlchemy reads it; None for a server, or a database in memory."""
    from sqlalchemy import make_url  # late, so that --help answers at once

    if uri.partition("://")[0].partition("+")[0] != "sqlite":
        return None
    return Path(database) if (database := make_url(uri).database) else None


def public_uri(uri: str) -> str:
    """Return a URI without the user and password that it may hold, to be printed."""
    login = _login_of(uri)
    shown = uri.replace(f"{login}@", "", 1) if login else uri
    return _SECRET_OPTION.sub(r"\1=...", shown)


def how_to_open(uri: str) -> str:
    """Return the address to open in a browser, or the command that serves a database."""
    if uri.startswith("http"):
        return public_uri(uri)
    return f"{installed_command('mlflow')} ui --backend-store-uri {shlex.quote(public_uri(uri))}"


def installed_command(name: str) -> str:
    """Return the name of a command that was installed with this Python; its path if it is not on the shell's PATH."""
    beside = Path(sys.executable).with_name(name)
    if shutil.which(name) is not None or not beside.is_file():
        return name
    return shlex.quote(str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside))


def without_secrets(text: str, uri: str) -> str:
    """Return a text, such as an error's message, without the user and password of a URI."""
    login = _login_of(uri)
    user, _, password = login.partition(":")
    secrets = {login, password, *(value for _, value in _SECRET_OPTION.findall(uri))}
    for secret in sorted(filter(None, secrets | {unquote(secret) for secret in secrets}), key=len, reverse=True):
        text = text.replace(f"{secret}@", "").replace(secret, "...")
    return text.replace(f'"{unquote(user)}"', '"..."') if user else text


def _login_of(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    return "" if scheme in ("sqlite", "file") else rest.rpartition("@")[0]
