"""MLflow's tracking URIs, which may hold a user and a password: what may be shown of them."""

import re
from urllib.parse import unquote

_SECRET_OPTION = re.compile(r"(?<=[?&])(user|password|passwd|pwd|token|sslpassword)=([^&]*)", re.IGNORECASE)


def public_uri(uri: str) -> str:
    """A URI without the user and password that it may hold: what may be printed."""
    login = _login_of(uri)
    shown = uri.replace(f"{login}@", "", 1) if login else uri
    return _SECRET_OPTION.sub(r"\1=...", shown)


def how_to_open(uri: str) -> str:
    """What to open in a browser, or the command that serves it."""
    return public_uri(uri) if uri.startswith("http") else f"mlflow ui --backend-store-uri {public_uri(uri)}"


def without_secrets(text: str, uri: str) -> str:
    """A text, such as an error's message, without the user and password that a URI holds."""
    login = _login_of(uri)
    user, _, password = login.partition(":")
    secrets = {login, password, *(value for _, value in _SECRET_OPTION.findall(uri))}
    for secret in sorted(filter(None, secrets | {unquote(secret) for secret in secrets}), key=len, reverse=True):
        text = text.replace(f"{secret}@", "").replace(secret, "...")
    return text.replace(f'"{unquote(user)}"', '"..."') if user else text


def _login_of(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    return "" if scheme in ("sqlite", "file") else rest.rpartition("@")[0]
