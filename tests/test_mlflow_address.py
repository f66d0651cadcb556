"""What is shown of an address: never the user, never the password."""

import pytest

from study.mlflow_address import how_to_open, public_uri, without_secrets


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://me:secret@host:5000", "http://host:5000"),
        ("https://me@host/mlflow", "https://host/mlflow"),
        ("postgresql://me:se/cr@et@host/db", "postgresql://host/db"),
        ("postgresql://host/db?user=me&password=secret&sslmode=require", None),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
    ],
)
def test_an_address_is_shown_without_who_comes(uri: str, shown: str | None) -> None:
    expected = "postgresql://host/db?user=...&password=...&sslmode=require" if shown is None else shown
    assert public_uri(uri) == expected
    assert "secret" not in public_uri(uri)


@pytest.mark.parametrize(
    "uri",
    ["http://me:s%40cret@host:5000", "postgresql://me:s%40cret@host/db", "postgresql://host/db?password=s%40cret"],
)
def test_a_message_is_shown_without_the_password(uri: str) -> None:
    message = f'FATAL: no entry for user "me" with s@cret or s%40cret at {uri}'
    shown = without_secrets(message, uri)
    assert "cret" not in shown
    assert "FATAL: no entry" in shown
    assert without_secrets(message, "http://host") == message


def test_a_server_is_opened_and_a_database_served() -> None:
    assert how_to_open("http://me:secret@host:5000") == "http://host:5000"
    assert how_to_open("sqlite:////runs/mlflow.db") == "mlflow ui --backend-store-uri sqlite:////runs/mlflow.db"
