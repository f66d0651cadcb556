"""Addresses are shown without user and password."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from study.tracking.address import (
    check_tracking_uri,
    how_to_open,
    installed_command,
    public_uri,
    sqlite_file,
    without_secrets,
)
from study.tracking.client import tracking_uri


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
def test_public_uri_has_no_user_and_no_password(uri: str, shown: str | None) -> None:
    expected = "postgresql://host/db?user=...&password=...&sslmode=require" if shown is None else shown
    assert public_uri(uri) == expected
    assert "secret" not in public_uri(uri)


@pytest.mark.parametrize(
    "uri",
    ["http://me:s%40cret@host:5000", "postgresql://me:s%40cret@host/db", "postgresql://host/db?password=s%40cret"],
)
def test_messages_have_no_user_and_no_password(uri: str) -> None:
    message = f'FATAL: no entry for user "me" with s@cret or s%40cret at {uri}'
    shown = without_secrets(message, uri)
    assert "cret" not in shown
    assert "FATAL: no entry" in shown
    assert without_secrets(message, "http://host") == message


def test_how_to_open_names_a_server_or_a_command() -> None:
    assert how_to_open("http://me:secret@host:5000") == "http://host:5000"
    shown = how_to_open("sqlite:////runs/mlflow.db")
    assert shown.endswith("mlflow ui --backend-store-uri sqlite:////runs/mlflow.db")
    assert shlex.split(how_to_open("sqlite:////my runs/a;b/mlflow.db"))[-1] == "sqlite:////my runs/a;b/mlflow.db"


def test_sqlite_uris_name_the_file_that_sqlalchemy_opens() -> None:
    assert sqlite_file("sqlite:////runs/a%20b/mlflow.db?timeout=5") == Path("/runs/a b/mlflow.db")
    assert sqlite_file("sqlite+pysqlite:///mlflow.db") == Path("mlflow.db")
    assert sqlite_file("sqlite://") is None
    assert sqlite_file("http://host:5000") is None


@pytest.mark.parametrize("folder", ["100%25", "what?x=1"])
def test_mlflows_database_in_a_folder_it_would_misread_is_refused(tmp_path: Path, folder: str) -> None:
    output = tmp_path / folder / "quick"
    with pytest.raises(ValueError, match=re.escape(str(output.parent)) + "; name another place with --mlflow"):
        tracking_uri(None, output)
    remedy = f"sqlite:///{tmp_path}/mlflow.db"
    assert tracking_uri(remedy, output) == remedy
    assert tracking_uri(None, tmp_path / folder) == remedy


def test_commands_outside_of_path_are_called_by_their_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "tool").touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    assert installed_command("tool") == str(folder / "tool")
    monkeypatch.chdir(tmp_path)
    assert installed_command("tool") == ".venv/bin/tool"
    monkeypatch.setenv("PATH", str(folder))
    assert installed_command("tool") == "tool"
    assert installed_command("absent") == "absent"


@pytest.mark.parametrize(
    "uri", ["http://h", "HTTPS://h/x", "sqlite:////r/m.db", "postgresql+psycopg://h/d", "mysql+pymysql://u:p@h/d"]
)
def test_servers_and_databases_are_tracking_uris(uri: str) -> None:
    assert check_tracking_uri(uri) == uri


@pytest.mark.parametrize("uri", ["htp://x", "mlruns", "./mlruns", "file:///tmp/mlruns", "databricks", "", "s3://b/x"])
def test_another_tracking_uri_is_refused_with_the_known_schemes(uri: str) -> None:
    with pytest.raises(ValueError, match=r"--mlflow must begin with one of http://, https://, sqlite://.* but got "):
        check_tracking_uri(uri)


def test_a_refused_tracking_uri_shows_no_password() -> None:
    with pytest.raises(ValueError, match="but got htp://host") as refused:
        check_tracking_uri("htp://me:secret@host")
    assert "secret" not in str(refused.value)
