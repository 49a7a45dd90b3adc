"""What .env sets in docker-compose.yml: secrets, profiles, where Temporal is, database users."""

import json
import re
import stat
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from devtools.stack.ports import HOST
from devtools.stack.processes import ProcessGroup
from devtools.stack.temporal_cluster import Cluster
from signedfor.secret_files import SECRETS
from tests.devtools.stack.compose_file import COMPOSE, SERVICES, given
from tests.devtools.stack.support import ROOT

_PROFILES = {"temporal", "temporal-ui", "proxy", "prometheus", "grafana"}
_DATABASES = ("signedfor", "temporal", "temporal_visibility")
_EVERYTHING = """COMPOSE_PROFILES=temporal,proxy,monitoring
WEBHOOK_REPLICAS=3
WEBHOOK_PORT=0"""


@pytest.mark.parametrize("name", ["worker", "webhook", "ops"])
def test_temporal_can_be_anywhere(name: str) -> None:
    """Everything that .env.example says of the connection reaches the service."""
    example = (ROOT / ".env.example").read_text()
    explained = set(
        re.findall(r"^#?(TEMPORAL_(?:ADDRESS|NAMESPACE|API_KEY|TLS\w*))=", example, re.MULTILINE)
    )

    assert len(explained) > 6
    assert set() == explained - given(name)


def test_secrets_are_files() -> None:
    """No service has one in its environment, and each gets only the files that it reads."""
    for name, service in SERVICES.items():
        environment = service.get("environment", {})
        for variable, value in environment.items():
            # That of the codec server is in the UI's environment as well, in an address.
            if variable != "CODEC_SERVER_TOKEN" and re.search(
                "PASSWORD|PWD|TOKEN|SECRET|API_KEY$|HEADERS$", variable
            ):
                assert variable.endswith("_FILE"), (name, variable)
                assert value.startswith("/run/secrets/"), (name, variable)
            assert not re.search(r"://[^/@]*:[^/@]*@", str(value)), "a password in an address"
        read = set(re.findall(r"/run/secrets/(\w+)", str(environment)))
        # compose/databases reads the passwords of the users that it creates.
        others = {"temporal_database_password", "signedfor_database_password"}
        assert read | (others if name == "postgres" else set()) == {*service.get("secrets", [])}
    ours = {*SECRETS} - {"DATABASE_URL", "CODEC_SERVER_TOKEN"}
    assert {*ours, "PAYLOAD_KEYS"} == {
        name for name in given("worker") if f"{name}_FILE" in SERVICES["worker"]["environment"]
    }


def test_no_password_is_made_up() -> None:
    """Each secret is a file that somebody has made, or there is none."""
    made = set(re.findall(r"\b\w+_password\b", (ROOT / "compose/make-secrets").read_text()))

    for name, secret in COMPOSE["secrets"].items():
        if name in made:
            assert f"./secrets/{name}" == secret["file"]
        else:
            assert re.fullmatch(
                r"\$\{\w+:-(/dev/null|\./secrets/(twilio_auth_token|payload_keys))\}",
                secret["file"],
            )
    assert {name for name in COMPOSE["secrets"] if name.endswith("password")} == made
    assert "secrets/" in (ROOT / ".gitignore").read_text().split()


def test_passwords_are_made_once(tmp_path: Path) -> None:
    """Long, of letters and digits, in a folder that is closed; what exists stays."""
    script = ["/bin/sh", str(ROOT / "compose/make-secrets"), "secrets"]

    first = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=True)
    folder = tmp_path / "secrets"
    made = {path.name: path.read_text() for path in folder.iterdir()}
    second = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=True)

    keys = made.pop("payload_keys")
    assert re.fullmatch(r"20[0-9]{2}-[0-9]{2}=[A-Za-z0-9+/]{43}=\n", keys)
    assert 3 == len(made) == len({*made.values()})
    assert [] == [each for each in made.values() if not re.fullmatch(r"[A-Za-z0-9]{40}", each)]
    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)
    assert "put Twilio's auth token into secrets/twilio_auth_token" in first.stderr
    assert "" == second.stdout
    made["payload_keys"] = keys
    assert made == {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("variables", "also"),
    [
        ("COMPOSE_PROFILES=temporal", {"temporal", "temporal-ui"}),
        ("TEMPORAL_ADDRESS=a.b.tmprl.cloud:7233", set()),
        (
            "COMPOSE_PROFILES=temporal,proxy,monitoring\nWEBHOOK_REPLICAS=3\nWEBHOOK_PORT=0",
            _PROFILES,
        ),
        (None, {"temporal", "temporal-ui", "sandbox"}),
    ],
)
def test_compose_itself_accepts_the_file(
    variables: str | None, also: set[str], tmp_path: Path
) -> None:
    """`docker compose config`, by Docker Compose's own program, with each way to use the file."""
    (tmp_path / ".env").write_text(
        f"{variables}\nTWILIO_ACCOUNT_SID=AC1\nPUBLIC_BASE_URL=https://messages.example.com\n"
    )
    env_file = ROOT / "compose/sandbox.env" if variables is None else tmp_path / ".env"

    done = subprocess.run(
        [
            Path(sys.executable).with_name("docker-compose"),
            *("--env-file", env_file, "--file", ROOT / "docker-compose.yml"),
            *("config", "--format", "json"),
        ],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    assert "" == done.stderr
    services = json.loads(done.stdout)["services"]
    jobs = {"temporal-schema", "temporal-namespace"} if "temporal" in also else set()
    assert {"postgres", "migrate", "worker", "webhook", "ops", *also, *jobs} == services.keys()
    address = services["worker"]["environment"]["TEMPORAL_ADDRESS"]
    assert ("temporal:7233" if "temporal" in also else "a.b.tmprl.cloud:7233") == address
    if also == _PROFILES:
        assert (3, "0") == (
            services["webhook"]["scale"],
            services["webhook"]["ports"][0]["published"],
        )


def test_services_connect_as_their_own_user() -> None:
    """Ours as `signedfor`, Temporal's as `temporal`, each with its own password."""
    for name in ("migrate", "worker", "webhook", "ops"):
        environment = SERVICES[name]["environment"]
        assert "postgresql://signedfor@postgres/signedfor" == environment["DATABASE_URL"]
        assert "/run/secrets/signedfor_database_password" == environment["PGPASSWORD_FILE"]
    theirs = {"temporal-schema": ("SQL_USER", "SQL_PASSWORD_FILE")}
    theirs |= {"temporal": ("POSTGRES_USER", "POSTGRES_PWD_FILE")}
    for name, (user, password) in theirs.items():
        environment = SERVICES[name]["environment"]
        assert "temporal" == environment[user]
        assert "/run/secrets/temporal_database_password" == environment[password]
    superuser = {
        name for name, each in SERVICES.items() if "postgres_password" in each.get("secrets", [])
    }
    assert {"postgres"} == superuser


@pytest.mark.integration
def test_each_user_of_the_database_has_its_own(tmp_path: Path) -> None:
    """PostgreSQL's script, on a real server: no user is a superuser or opens another's database."""
    (tmp_path / "logs").mkdir()
    with ProcessGroup() as group:
        cluster = Cluster(folder=tmp_path, port=1, group=group)
        try:
            cluster.start_postgres()
            port = cluster.postgres.port
            users, databases = ("signedfor", "temporal"), (*_DATABASES, "postgres")
            opened = {
                (user, each) for user in users for each in databases if _opens(port, user, each)
            }
            written = {key for key in opened if _may_create_tables(port, *key)}
        finally:
            cluster.postgres.stop()
            cluster.remove()

    own = {
        ("signedfor", "signedfor"),
        ("temporal", "temporal"),
        ("temporal", "temporal_visibility"),
    }
    assert own == written
    # PostgreSQL's own database is open to all, and empty.
    assert own == {(user, database) for user, database in opened if database != "postgres"}


def _url(port: int, user: str, database: str) -> str:
    return f"postgresql://{user}:sandbox@{HOST}:{port}/{database}"


def _opens(port: int, user: str, database: str) -> bool:
    try:
        psycopg.connect(_url(port, user, database)).close()
    except psycopg.OperationalError:
        return False
    return True


def _may_create_tables(port: int, user: str, database: str) -> bool:
    try:
        with psycopg.connect(_url(port, user, database)) as connection:
            [row] = connection.execute(
                "SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = user"
            ).fetchall()
            assert (False,) == row
            connection.execute("CREATE TABLE a_table (id INTEGER)")
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True
