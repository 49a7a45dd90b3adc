import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from devtools.sandbox.accounts import DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN
from devtools.stack.temporal_server import NAMESPACE
from ops.__main__ import POOL_SIZE
from ops.codec_server.settings import CodecServerSettings
from ops.settings import OpsSettings
from signedfor.contract import INBOUND_PATH, MESSAGES_QUEUE, TWILIO_SENDS_QUEUE
from signedfor.search_attributes import SEARCH_ATTRIBUTES
from signedfor.settings import CampaignSettings, Settings
from signedfor.twilio.overrides import OVERRIDES
from tests.devtools.stack.compose_file import COMPOSE, SERVICES, given
from tests.devtools.stack.support import ROOT
from webhook.resilience import MAX_TRANSACTIONS
from worker import ACTIVITY_THREADS

_OURS = {"migrate", "worker", "webhook", "ops", "codec-server", "sandbox"}
_ONCE = {"temporal-schema", "temporal-namespace", "migrate"}
_NO_SETTING = {"PGPASSWORD", "SANDBOX_PORT"}
"""Read by libpq and by the sandbox."""
_TEMPORAL = "TEMPORAL_"
"""How the variables begin that Temporal's SDK reads."""
_PAYLOADS = "PAYLOAD_"
"""How the variables begin that `signedfor.encryption` reads."""
_TRACES = "OTEL_"
"""How the variables begin that OpenTelemetry reads."""


def _dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()


def test_images_are_pinned() -> None:
    """Foreign images have version and digest, Temporal's server and tools one; no auto-setup."""
    images = {name: service["image"] for name, service in SERVICES.items() if name not in _OURS}

    pinned = re.compile(r"[a-z/-]+:v?\d+\.\d+[\w.-]*@sha256:[0-9a-f]{64}")
    assert [] == [image for image in images.values() if not pinned.fullmatch(image)]
    # One tag has one digest.
    assert len({*images.values()}) == len({image.partition("@")[0] for image in images.values()})
    assert not any("auto-setup" in image for image in images.values())
    versions = {
        image.partition("@")[0].partition(":")[2]
        for image in images.values()
        if image.startswith(("temporalio/server", "temporalio/admin-tools"))
    }
    assert 1 == len(versions)
    assert versions.pop().startswith("1.32.")


def test_every_port_is_published_on_this_machine_only() -> None:
    """Webhook and proxy can be published beyond it, if .env says so."""
    ports = {
        (name, port) for name, service in SERVICES.items() for port in service.get("ports", [])
    }
    beyond = {(name, port) for name, port in ports if not port.startswith("127.0.0.1:")}

    assert {"webhook", "proxy"} == {name for name, _ in beyond}
    assert [] == [
        port for _, port in beyond if not re.match(r"\$\{\w+_BIND:-127\.0\.0\.1\}:", port)
    ]


def test_the_webhooks_probes_are_not_published() -> None:
    """They are at an address of their own, where its health check asks."""
    webhook = SERVICES["webhook"]
    port = webhook["environment"]["WEBHOOK_METRICS_ADDRESS"].rpartition(":")[2]

    assert f"http://127.0.0.1:{port}/healthz" == webhook["healthcheck"]["test"][-1]
    assert [] == [each for each in webhook["ports"] if each.endswith(f":{port}")]


def test_every_service_has_limits() -> None:
    """Of memory and of processes: one that leaks does not take the others; and no core dumps."""
    for name, service in SERVICES.items():
        assert "mem_limit" in service, name
        assert service["pids_limit"] > 0, name
        assert ["no-new-privileges:true"] == service["security_opt"], name
        assert {"core": 0} == service["ulimits"], name
        # PostgreSQL's entrypoint changes the owner of its files and then the user.
        assert name == "postgres" or ["ALL"] == service["cap_drop"], name
        assert name == "proxy" or "cap_add" not in service, name
        # The user is the image's.
        assert service.keys().isdisjoint({"privileged", "user", "pid", "ipc", "devices"}), name


def test_what_can_be_reached_from_where() -> None:
    """The proxy reaches the webhooks only, and Prometheus what it collects from."""
    # With the machine's own, every port would be published.
    modes = {
        name: each["network_mode"] for name, each in SERVICES.items() if "network_mode" in each
    }
    assert {"sandbox": "service:worker"} == modes
    networks = {name: set(each.get("networks", ["default"])) for name, each in SERVICES.items()}
    del networks["sandbox"]  # it has the worker's

    assert {"webhook"} == {name for name in networks if "front" in networks[name]} - {"proxy"}
    assert {"front"} == networks["proxy"]
    assert {"metrics", "monitoring"} == networks["prometheus"] == networks["grafana"]
    assert {"worker", "webhook", "prometheus", "grafana"} == {
        name for name in networks if "metrics" in networks[name]
    }
    assert COMPOSE["networks"]["metrics"] == {"internal": True}


def test_every_long_running_service_is_watched_and_restarted() -> None:
    """Services have health checks and restarts; what runs once is retried if it fails."""
    for name, service in SERVICES.items():
        if name in _ONCE:
            assert service["restart"].startswith("on-failure"), name
        else:
            assert "unless-stopped" == service["restart"], name
            # The UI's image has nothing to check it with.
            assert "healthcheck" in service or name == "temporal-ui", name


def test_what_a_service_needs_starts_before_it() -> None:
    """Services wait for health, one-shots for their end; each condition can be met."""
    needs = {
        name: {other: how["condition"] for other, how in service.get("depends_on", {}).items()}
        for name, service in SERVICES.items()
    }

    healthy, done = "service_healthy", "service_completed_successfully"
    assert {
        "postgres": {},
        "temporal-schema": {"postgres": healthy},
        "temporal": {"temporal-schema": done},
        "temporal-namespace": {"temporal": healthy},
        "temporal-ui": {"temporal": healthy},
        "migrate": {"postgres": healthy},
        "worker": {"migrate": done, "temporal-namespace": done},
        "proxy": {"webhook": healthy},
        "webhook": {"migrate": done},
        "ops": {"migrate": done},
        "codec-server": {},
        "sandbox": {"worker": "service_started"},
        "prometheus": {},
        "grafana": {"prometheus": healthy},
    } == needs
    for name, conditions in needs.items():
        for other, condition in conditions.items():
            if condition == healthy:
                assert "healthcheck" in SERVICES[other], (name, other)
            if condition == done:
                assert other in _ONCE, (name, other)


@pytest.mark.parametrize("name", sorted(_OURS))
def test_every_variable_is_a_setting(name: str) -> None:
    """Our services read every variable that compose sets for them."""
    models = (OpsSettings, CampaignSettings, CodecServerSettings)
    settings = {field.upper() for model in models for field in model.model_fields}

    variables = given(name)
    assert set() == {
        each
        for each in variables - settings - _NO_SETTING
        if not each.startswith((_TRACES, _TEMPORAL, _PAYLOADS))
    }


@pytest.mark.parametrize("name", ["worker", "webhook", "ops"])
def test_every_setting_can_be_set(name: str) -> None:
    """Every setting can be set for worker, webhook and operations page."""
    # The campaign's too: `docker compose run worker signedfor campaign start`.
    own = OpsSettings if name == "ops" else Settings
    known = {field.upper() for field in own.model_fields | CampaignSettings.model_fields}
    elsewhere = {
        "worker": {"WEBHOOK_HOST", "WEBHOOK_PORT", "WEBHOOK_METRICS_ADDRESS"},
        "webhook": {"WORKER_METRICS_ADDRESS"},
        "ops": {
            *("WEBHOOK_HOST", "WEBHOOK_PORT", "WEBHOOK_METRICS_ADDRESS"),
            "WORKER_METRICS_ADDRESS",
        },
    }

    assert set() == known - elsewhere[name] - given(name)


def test_the_proxy_passes_on_twilios_requests_only() -> None:
    """Not health checks and metrics, which are on the same port."""
    text = (ROOT / "compose/Caddyfile").read_text()

    assert ["/webhook/*", None] == [path or None for path in re.findall(r"handle (\S+)? ?\{", text)]
    assert f"dynamic a webhook {SERVICES['webhook']['environment']['WEBHOOK_PORT']}" in text
    assert "${PROXY_SITE:-localhost}" == SERVICES["proxy"]["environment"]["PROXY_SITE"]


@pytest.mark.parametrize("name", ["worker", "webhook", "ops", "codec-server"])
def test_a_key_is_demanded(name: str) -> None:
    """Compose starts nothing without one, and nothing in the file turns encryption off."""
    service = SERVICES[name]

    assert "payload_keys" in service["secrets"]
    assert "/run/secrets/payload_keys" == service["environment"]["PAYLOAD_KEYS_FILE"]
    # The codec server without encryption would have nothing to do.
    off = service["environment"].get("PAYLOAD_ENCRYPTION")
    assert off in {"${PAYLOAD_ENCRYPTION:-}", None}


def test_a_stopping_worker_can_drain() -> None:
    """Compose waits longer than a worker drains by default."""
    grace = SERVICES["worker"]["stop_grace_period"]

    assert int(grace.removesuffix("s")) > Settings.model_fields["worker_shutdown_seconds"].default


def test_the_namespace_script_matches_the_contract() -> None:
    """The script registers exactly our search attributes, and keeps closed runs for 30 days."""
    script = (ROOT / "compose/temporal-namespace").read_text()

    registered = dict(re.findall(r"--name (\w+) --type (\w+)", script))
    assert {
        key.name: key.indexed_value_type.name.title() for key in SEARCH_ATTRIBUTES
    } == registered
    assert "retention_days=30\n" in script
    for name in ("temporal-namespace", "worker", "webhook", "ops"):
        found = SERVICES[name]["environment"]["TEMPORAL_NAMESPACE"]
        assert f"${{TEMPORAL_NAMESPACE:-{NAMESPACE}}}" == found


def test_the_sends_have_one_partition() -> None:
    """The queue of the sends, and no other, has a single partition."""
    config = yaml.safe_load((ROOT / "compose/dynamicconfig.yaml").read_text())

    for kind in ("Read", "Write"):
        (rule,) = config[f"matching.numTaskqueue{kind}Partitions"]
        assert {"value": 1, "constraints": {"taskQueueName": TWILIO_SENDS_QUEUE}} == rule
    assert MESSAGES_QUEUE not in str(config)


def test_postgresql_takes_every_connection() -> None:
    """Temporal's four services, each with two pools, three workers, webhook and page fit."""
    (setting,) = (each for each in SERVICES["postgres"]["command"] if "max_connections" in each)
    environment = SERVICES["temporal"]["environment"]
    temporal = 4 * (
        int(environment.get("SQL_MAX_CONNS", 20)) + int(environment.get("SQL_VIS_MAX_CONNS", 10))
    )
    worker = ACTIVITY_THREADS + 2 * Settings.model_fields["max_concurrent_sends"].default

    reserved_for_superusers = 3
    needed = temporal + 3 * worker + MAX_TRANSACTIONS + 1 + POOL_SIZE + reserved_for_superusers
    assert needed <= int(setting.partition("=")[2])


def test_the_scripts_of_services_exist() -> None:
    """Each script that a service runs is in the mounted folder."""
    for name in ("temporal-schema", "temporal", "temporal-namespace"):
        service = SERVICES[name]
        shell, script = service["command"]
        assert ("/bin/sh", ["./compose:/compose:ro"]) == (shell, service["volumes"])
        assert (ROOT / script.lstrip("/")).is_file()
    config = SERVICES["temporal"]["environment"]["DYNAMIC_CONFIG_FILE_PATH"]
    assert (ROOT / config.lstrip("/")).is_file()
    [databases] = [each for each in SERVICES["postgres"]["volumes"] if "initdb.d" in each]
    assert os.access(ROOT / databases.partition(":")[0], os.X_OK)


def test_the_sandbox_shares_the_network_of_the_worker() -> None:
    """The sandbox is found on the worker's loopback, and calls the webhook by its service name."""
    sandbox = SERVICES["sandbox"]
    lines = (ROOT / "compose/sandbox.env").read_text().splitlines()
    environment = dict(line.split("=", 1) for line in lines if not line.startswith("#"))

    assert (["sandbox"], "service:worker") == (sandbox["profiles"], sandbox["network_mode"])
    port = sandbox["environment"]["SANDBOX_PORT"]
    assert f"http://127.0.0.1:{port}" == environment["TWILIO_API_BASE_URL"]
    webhook = SERVICES["webhook"]["environment"]["WEBHOOK_PORT"]
    assert f"http://webhook:{webhook}" == environment["PUBLIC_BASE_URL"]
    inbound_url = f"{environment['PUBLIC_BASE_URL']}{INBOUND_PATH}#{OVERRIDES}"
    assert inbound_url == sandbox["command"][-1]
    assert "temporal,sandbox" == environment["COMPOSE_PROFILES"]
    assert DEFAULT_ACCOUNT_SID == environment["TWILIO_ACCOUNT_SID"]
    token = ROOT / environment["TWILIO_AUTH_TOKEN_FILE"]
    assert DEFAULT_AUTH_TOKEN == token.read_text().strip()


def test_monitoring_is_a_profile_of_its_own() -> None:
    """Prometheus and Grafana start only when they are asked for, and keep nothing secret."""
    monitoring = {name for name, each in SERVICES.items() if each.get("profiles") == ["monitoring"]}

    assert {"prometheus", "grafana"} == monitoring
    assert "environment" not in SERVICES["prometheus"]
    grafana = SERVICES["grafana"]["environment"]
    assert ("true", "Viewer") == (
        grafana["GF_AUTH_ANONYMOUS_ENABLED"],
        grafana["GF_AUTH_ANONYMOUS_ORG_ROLE"],
    )
    assert ("true", "false") == (
        grafana["GF_AUTH_DISABLE_LOGIN_FORM"],
        grafana["GF_AUTH_BASIC_ENABLED"],
    )


def test_prometheus_collects_where_worker_and_webhook_publish() -> None:
    """Each job has the service's name and the port of its metrics."""
    config = yaml.safe_load((ROOT / "compose/prometheus/prometheus.yml").read_text())
    found = {
        job["job_name"]: (where["names"], str(where["port"]))
        for job in config["scrape_configs"]
        for where in job["dns_sd_configs"]
    }

    assert {
        "worker": (
            ["worker"],
            SERVICES["worker"]["environment"]["WORKER_METRICS_ADDRESS"].rpartition(":")[2],
        ),
        "webhook": (
            ["webhook"],
            SERVICES["webhook"]["environment"]["WEBHOOK_METRICS_ADDRESS"].rpartition(":")[2],
        ),
    } == found
    assert ["./compose/prometheus:/etc/prometheus:ro"] == [
        each for each in SERVICES["prometheus"]["volumes"] if each.startswith("./")
    ]


def test_grafana_finds_its_dashboard() -> None:
    """The mounted files exist; the dashboard asks the data source that is provided."""
    volumes = [each.split(":") for each in SERVICES["grafana"]["volumes"]]
    mounted = {there: ROOT / here for here, there, _ in volumes}
    [provider] = yaml.safe_load((ROOT / "compose/grafana/dashboards.yml").read_text())["providers"]
    [source] = yaml.safe_load((ROOT / "compose/grafana/datasource.yml").read_text())["datasources"]
    home = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    dashboard = json.loads((mounted[provider["options"]["path"]] / home.name).read_text())

    assert all(path.exists() for path in mounted.values())
    assert provider["options"]["path"] == str(home.parent)
    assert {source["uid"]} == {
        panel["datasource"]["uid"] for panel in dashboard["panels"] if panel["type"] != "row"
    }
    assert "http://prometheus:9090" == source["url"]


def test_the_health_of_a_worker_is_that_of_its_event_loop() -> None:
    """Its metrics answer also while it hangs."""
    [url] = [each for each in SERVICES["worker"]["healthcheck"]["test"] if "://" in each]

    assert url.endswith("/healthz")


@pytest.mark.parametrize(
    ("target", "modules"),
    [
        ("app", ("worker", "webhook.__main__", "starter")),
        ("sandbox", ("devtools.sandbox.__main__",)),
    ],
)
def test_the_image_has_what_runs_in_it(
    target: str, modules: tuple[str, ...], tmp_path: Path
) -> None:
    """Its commands import, and everything of ours that they import was copied into the image."""
    for source in _copied_into(target):
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, tmp_path / source)
        else:
            (tmp_path / source).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, tmp_path / source)
    program = f"""
import importlib, sys
for name in {modules!r}:
    importlib.import_module(name)
files = [module.__file__ or "" for module in list(sys.modules.values())
         if getattr(module, "__file__", None)]
outside = [file for file in files if file.startswith({str(ROOT)!r}) and ".venv" not in file]
sys.exit("not in the image: " + ", ".join(outside) if outside else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    assert ("devtools" in "".join(_copied_into(target))) == (target == "sandbox")
    assert "tests" not in _copied_into(target)


def _copied_into(target: str) -> list[str]:
    """What the stage of the image and the stage it is based on copy from this folder."""
    sources: list[str] = []
    for stage in ("base", target):
        for line in re.findall(r"^COPY (?!--from)(.*)$", _stages()[stage], re.MULTILINE):
            *names, _ = line.split()
            sources += [name for name in names if not name.startswith("compose/")]
    return sources


def _stages() -> dict[str, str]:
    stage = re.compile(r"^FROM \S+ AS ([\w-]+)\n(.*?)(?=^FROM |\Z)", re.DOTALL | re.MULTILINE)
    return dict(stage.findall(_dockerfile()))


@pytest.mark.parametrize("command", ["worker", "webhook", "starter"])
def test_modules_of_the_current_folder_are_not_imported(command: str, tmp_path: Path) -> None:
    """Started next to another application's `settings.py`, our commands use their own settings."""
    for name in ("settings", "logs", "store", "cli", "messaging", "sandbox", "stack"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('of another application')\n")

    done = subprocess.run(
        [sys.executable, "-m", command, *(["--version"] if command == "starter" else [])],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "of another application" not in done.stderr
    if command == "starter":
        assert 0 == done.returncode, done.stderr
    else:
        assert 1 == done.returncode
        assert "TWILIO_ACCOUNT_SID" in done.stderr


def test_the_image_is_locked_and_not_root() -> None:
    """Packages come with their hashes, and every stage that runs does so as another user."""
    installs = re.findall(r"pip --python \S+ install (.*)", _dockerfile())
    stages = _stages()

    assert 2 == len(re.findall(r"\b(?:install|add|download)\s+-*\w", _commands(_dockerfile())))
    assert 2 == len(installs)
    assert all(line.startswith("--require-hashes -r ") for line in installs)
    bases = re.findall(
        r"^FROM (python:3\.13-slim@sha256:[0-9a-f]{64}) AS ", _dockerfile(), re.MULTILINE
    )
    assert (2, 1) == (len(bases), len({*bases})), "what installs has the Python of what runs"
    for target in ("app", "sandbox"):
        assert "\nUSER 10001:10001\nCMD " in stages[target]
        assert target == SERVICES["worker" if target == "app" else "sandbox"]["build"]["target"]


def _commands(dockerfile: str) -> str:
    """What it runs, without `install -d`, which makes a folder."""
    runs = re.findall(r"^RUN (.*(?:\\\n.*)*)", dockerfile, re.MULTILINE)
    return "\n".join(runs).replace("install -d", "")


@pytest.mark.parametrize("lock", ["requirements.lock", "devtools/sandbox/requirements.lock"])
def test_every_locked_package_has_a_hash(lock: str) -> None:
    """What the image installs."""
    packages = re.split(r"^(?=\w)", (ROOT / lock).read_text(), flags=re.MULTILINE)[1:]

    assert len(packages) > 0
    assert [] == [each.split()[0] for each in packages if "--hash=sha256:" not in each]


def test_health_checks_run_what_is_in_the_image() -> None:
    """Our services check themselves with a script that the image has."""
    for name in sorted(_OURS - _ONCE):
        kind, command, url = SERVICES[name]["healthcheck"]["test"]
        assert ("CMD", "answers") == (kind, command)
        assert url.startswith("http://127.0.0.1:")
    assert (ROOT / "compose/answers").is_file()
