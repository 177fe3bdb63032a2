"""PostgreSQL session parameters: the URL wins, the rest is ours, also behind a pooler."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import psycopg
import pytest
from flask import Flask
from sqlalchemy import create_engine, text

from smstracker.database import postgresql_session
from smstracker.database.engine import engine_options, prepare_engine
from smstracker.database.problems import PROBLEMS
from smstracker.extensions import db
from smstracker.web.health import database_problem
from tests.clients import Person
from tests.databases import migrate
from tests.signing import call_back, fields, sid

MakeApp = Callable[..., Flask]


@pytest.fixture
def database_url(postgresql_url: str) -> str:
    """PostgreSQL only."""
    return postgresql_url


SESSION_PARAMETERS = {
    "plan_cache_mode": "force_custom_plan",
    "lock_timeout": "2s",
    "statement_timeout": "10s",
    "idle_in_transaction_session_timeout": "15s",
}


def show_parameters(app: Flask) -> dict[str, str]:
    """Return the parameters of a session after a rollback."""
    names = [*SESSION_PARAMETERS, "search_path", "application_name"]
    with app.app_context(), db.engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        connection.rollback()
        return {name: str(connection.scalar(text(f"SHOW {name}"))) for name in names}


def test_session_has_our_limits_and_keeps_them_after_a_rollback(app: Flask) -> None:
    assert (
        show_parameters(app).items()
        >= {**SESSION_PARAMETERS, "application_name": "smstracker"}.items()
    )


def test_parameters_of_the_url_win(make_app: MakeApp, postgres: str) -> None:
    options = "-c%20lock_timeout%3D7s%20--statement-timeout%3D0"
    url = f"{postgres}&options={options}&application_name=desk"
    expected = SESSION_PARAMETERS | {
        "lock_timeout": "7s",
        "statement_timeout": "0",
        "application_name": "desk",
    }
    assert show_parameters(make_app(DATABASE_URL=url)).items() >= expected.items()


def test_options_that_are_repeated_are_all_used(make_app: MakeApp, postgres: str) -> None:
    url = f"{postgres}&options=-clock_timeout%3D7s&options=-csearch_path%3Dsms"
    assert (
        show_parameters(make_app(DATABASE_URL=url)).items()
        >= {
            "lock_timeout": "7s",
            "search_path": "sms",
        }.items()
    )


def test_limits_of_the_connection_come_from_the_url_first() -> None:
    def arguments(query: str) -> dict[str, object]:
        options: dict[str, object] = engine_options(f"postgresql+psycopg://h/d{query}", 4)[
            "connect_args"
        ]
        return options

    assert arguments("")["connect_timeout"] == 5
    assert "connect_timeout" not in arguments("?connect_timeout=30")
    assert arguments("?connect_timeout=30")["tcp_user_timeout"] == 10_000
    # A service has its own; what is passed beside it would win over them.
    assert set(arguments("?service=sms")) == {"fallback_application_name"}


def test_tables_are_made_and_used_in_the_schema_of_the_url(
    make_app: MakeApp, postgres: str
) -> None:
    engine = create_engine(postgres.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA IF EXISTS sms CASCADE"))
        connection.execute(text("CREATE SCHEMA sms"))
    url = f"{postgres}&options=-csearch_path%3Dsms"
    migrate(url)
    app = make_app(DATABASE_URL=url)
    alice = Person.signed_in(app, "alice@example.org")
    alice.has_message(body="Bring the blue umbrella")
    assert "blue umbrella" in alice.get("/messages?text=umbrella").text
    assert app.test_client().get("/readyz").status_code == 200
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM sms.message")) == 1
        assert connection.scalar(text("SELECT count(*) FROM public.message")) == 0
        connection.execute(text("DROP SCHEMA sms CASCADE"))
    engine.dispose()


def test_connection_that_the_server_ended_is_replaced_after_a_pause(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.replace("postgresql://", "postgresql+psycopg://")
    engine, administrator = create_engine(url, **engine_options(url, 1)), create_engine(url)
    prepare_engine(engine)
    with engine.connect() as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
    with monkeypatch.context() as patched:
        patched.setattr(engine.dialect, "do_ping", pytest.fail)
        engine.connect().close()  # used just now, so it costs no ping
    with administrator.connect() as connection:
        ended = text("SELECT pg_terminate_backend(:pid, 5000)")
        assert connection.scalar(ended, {"pid": pid})
    monkeypatch.setattr(postgresql_session, "MAX_IDLE_SECONDS", 0)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT pg_backend_pid()")) != pid
    engine.dispose()
    administrator.dispose()


def test_behind_a_pooler_each_transaction_has_our_limits_and_the_session_none(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A pooler makes up the process id that it gives to a client.
    monkeypatch.setattr(psycopg.ConnectionInfo, "backend_pid", 1)
    url = postgres.replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(url, **engine_options(url, 1))
    prepare_engine(engine)
    with engine.connect() as connection:
        assert connection.scalar(text("SHOW lock_timeout")) == "2s"
        raw = connection.connection.dbapi_connection
        assert isinstance(raw, psycopg.Connection)
        connection.rollback()
        assert raw.execute("SHOW lock_timeout").fetchone() == ("0",)
        assert raw.prepare_threshold is None
    engine.dispose()


class Pooler:
    """Refuses startup options; `parameters` is what the last client sent."""

    def __init__(self) -> None:
        self.parameters: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self._refuse(connection)

    def _refuse(self, connection: socket.socket) -> None:
        while True:
            length, code = struct.unpack("!II", connection.recv(8))
            if code != 80877103 and code != 80877104:  # requests for TLS, GSS
                break
            connection.sendall(b"N")
        self.parameters = connection.recv(length - 8).split(b"\0")
        message = b"unsupported startup parameter: options"
        if b"options" not in self.parameters:
            message = b"no more connections allowed (max_client_conn)"
        fields = b"SFATAL\0C08P01\0M" + message + b"\0\0"
        connection.sendall(b"E" + struct.pack("!I", len(fields) + 4) + fields)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextmanager
def pooler() -> Iterator[Pooler]:
    server = Pooler()
    try:
        yield server
    finally:
        server.close()


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("", "no_connections"),
        ("?options=-csearch_path%3Dsms", "pooler"),
    ],
)
def test_startup_options_are_only_sent_if_the_url_has_them(
    make_app: MakeApp, query: str, problem: str
) -> None:
    with pooler() as server:
        app = make_app(DATABASE_URL=f"postgresql://u@127.0.0.1:{server.port}/d{query}")
        with app.app_context():
            assert database_problem() is PROBLEMS[problem]
    assert (b"options" in server.parameters) is bool(query)


def test_session_that_was_opened_while_the_server_was_read_only_is_not_used_for_ever(
    app: Flask,
) -> None:
    with app.app_context(), db.engine.connect() as connection:
        connection.execute(text("SET default_transaction_read_only = on"))
        connection.commit()
    client = app.test_client()
    codes = [call_back(client, fields(sid(1), word)).status_code for word in ("sent", "delivered")]
    assert codes == [503, 204]


def test_server_that_vanishes_is_noticed_while_its_answer_is_awaited(app: Flask) -> None:
    with app.app_context(), db.engine.connect() as connection:
        driver = cast(psycopg.Connection, connection.connection.driver_connection)
        parameters = driver.info.get_parameters()
    assert parameters["keepalives_idle"] == parameters["keepalives_interval"] == "5"
