import ast
import asyncio
import inspect
import itertools
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from signedfor import settings
from signedfor.consent import Scope
from signedfor.errors import InvalidSettings
from signedfor.inbound_texts import TextPolicy
from signedfor.message_activities import DEFAULT_POLICY
from signedfor.message_limits import parse_rules
from signedfor.settings import Settings, load_settings
from signedfor.temporal import TemporalUnavailable, connect_config, connect_temporal
from worker import policy

CANARY = "value-canary"
ACCOUNT = "AC" + "5" * 32
KEY = "SK" + "6" * 32
REQUIRED = {
    "TWILIO_ACCOUNT_SID": ACCOUNT,
    "TWILIO_AUTH_TOKEN": CANARY,
    "PUBLIC_BASE_URL": "https://hooks.example",
}


@pytest.fixture(autouse=True)
def _only_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove our variables from the environment of the tests."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def _load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in {**REQUIRED, **variables}.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def _refused(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    with pytest.raises(InvalidSettings) as caught:
        _load(monkeypatch, **variables)
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    return str(caught.value)


def test_settings_have_the_documented_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only three variables are required."""
    loaded = _load(monkeypatch)

    expected: dict[str, Any] = {
        "twilio_account_sid": ACCOUNT,
        "twilio_previous_auth_token": None,
        "twilio_api_key_sid": None,
        "twilio_api_base_url": None,
        "default_sender": None,
        "public_base_url": "https://hooks.example",
        "webhook_host": "127.0.0.1",
        "webhook_port": 8080,
        "webhook_metrics_address": None,
        "forward_all_statuses": False,
        "database_url": "sqlite:///.data/signedfor.db",
        "opt_out_scope": Scope.EVERYTHING,
        "review_suppresses": ("marketing",),
        "quiet_hours": {},
        "allowed_countries": (),
        "inbound_catch_up_minutes": 5,
        "inbound_workflow": None,
        "inbound_task_queue": None,
        "inbound_text_days": 30,
        "inbound_replies_file": None,
        "send_retry_budget": timedelta(hours=4),
        "receipt_checks_seconds": (600, 3600, 21_600),
        "unknown_outcome_wait_seconds": 30,
        "dead_letter_expiry_days": 30,
        "message_limits": (),
        "duplicate_window_seconds": 0,
        "max_sends_per_second": None,
        "max_concurrent_sends": 20,
        "max_cached_workflows": 1000,
        "worker_shutdown_seconds": 30,
        "temporal_deployment_name": None,
        "temporal_worker_build_id": None,
        "worker_metrics_address": None,
        "log_level": "INFO",
    }
    assert expected == {name: getattr(loaded, name) for name in expected}


def test_a_messages_default_policy_is_that_of_the_default_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A workflow uses it for a message that Twilio has before an attempt could report."""
    assert DEFAULT_POLICY == policy(_load(monkeypatch))


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("TWILIO_API_BASE_URL", "http://127.0.0.1:8010/", "http://127.0.0.1:8010"),
        ("TWILIO_EDGE", "dublin", "dublin"),
        ("TWILIO_REGION", "ie1", "ie1"),
        ("DEFAULT_SENDER", " +1 (500) 555-0006", "+15005550006"),
        ("DEFAULT_SENDER", "12345", "12345"),
        ("WEBHOOK_HOST", "0.0.0.0", "0.0.0.0"),
        (
            "TWILIO_WEBHOOK_SHARED_KEYS",
            "webhooks_sharedkey_1=a=b, webhooks_sharedkey_2=c",
            {"webhooks_sharedkey_1": SecretStr("a=b"), "webhooks_sharedkey_2": SecretStr("c")},
        ),
        ("WEBHOOK_PORT", "0", 0),
        ("FORWARD_ALL_STATUSES", "true", True),
        ("EVENT_STREAMS", "true", True),
        ("DATABASE_URL", "postgresql://u:p@h/n", "postgresql://u:p@h/n"),
        ("OPT_OUT_SCOPE", "sender", Scope.SENDER),
        ("REVIEW_SUPPRESSES", "marketing, news", ("marketing", "news")),
        ("REVIEW_SUPPRESSES", "all", ("all",)),
        ("REVIEW_SUPPRESSES", "none", ()),
        ("QUIET_HOURS", "marketing:us, news : canada", {"marketing": ("us",), "news": ("canada",)}),
        ("QUIET_HOURS", "a:b:us,a:b:france-marketing", {"a:b": ("us", "france-marketing")}),
        ("ALLOWED_COUNTRIES", "US, ca,GB,US", ("US", "CA", "GB")),
        ("ALLOWED_COUNTRIES", " All ", ("all",)),
        ("INBOUND_CATCH_UP_MINUTES", "0", 0),
        ("SEND_RETRY_BUDGET_SECONDS", "10", 10),
        ("RECEIPT_CHECKS_SECONDS", "1, 2,30", (1, 2, 30)),
        ("RECEIPT_CHECKS_SECONDS", "5", (5,)),
        ("UNKNOWN_OUTCOME_WAIT_SECONDS", "0", 0),
        ("DEAD_LETTER_EXPIRY_DAYS", "365", 365),
        ("MESSAGE_LIMITS", "person=5/24h,tenant:a=9/1h", parse_rules("person=5/24h,tenant:a=9/1h")),
        ("DUPLICATE_WINDOW_SECONDS", "600", 600),
        ("MAX_SENDS_PER_SECOND", "0.5", 0.5),
        ("MAX_CONCURRENT_SENDS", "1", 1),
        ("MAX_CACHED_WORKFLOWS", "10", 10),
        ("WORKER_SHUTDOWN_SECONDS", "1", 1),
        ("WORKER_METRICS_ADDRESS", "127.0.0.1:9464", "127.0.0.1:9464"),
        ("WORKER_METRICS_ADDRESS", "[::1]:9464", "[::1]:9464"),
        ("LOG_LEVEL", "debug", "DEBUG"),
        ("LOG_LEVEL", "", "INFO"),
    ],
)
def test_a_variable_sets_its_setting(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, value: object
) -> None:
    """The setting has the variable's name in lower case."""
    assert value == getattr(_load(monkeypatch, **{variable: text}), variable.lower())


def test_each_setting_is_explained() -> None:
    """A setting is followed by a docstring, unless it is self-explanatory."""
    self_explanatory = {
        "twilio_api_key_secret",
        "twilio_edge",
        "twilio_region",
        "webhook_host",
        "webhook_port",
        "log_level",
    }
    explained = {
        statement.target.id
        for each in ast.parse(inspect.getsource(settings)).body
        if isinstance(each, ast.ClassDef)
        for statement, after in itertools.pairwise(each.body)
        if isinstance(statement, ast.AnnAssign) and isinstance(after, ast.Expr)
        if isinstance(statement.target, ast.Name)
    }

    assert set() == set(Settings.model_fields) - explained - self_explanatory


@pytest.mark.parametrize("variable", REQUIRED)
def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """An empty variable counts as missing."""
    assert f"  {variable}: Field required" in _refused(monkeypatch, **{variable: ""})


def test_all_problems_are_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names every missing or bad variable."""
    text = _refused(
        monkeypatch,
        TWILIO_ACCOUNT_SID=CANARY,
        TWILIO_AUTH_TOKEN="",
        WEBHOOK_PORT=CANARY,
        RECEIPT_CHECKS_SECONDS=CANARY,
    )

    named = re.findall(r"^  ([A-Z_]+)", text, re.MULTILINE)
    expected = ["RECEIPT_CHECKS_SECONDS", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "WEBHOOK_PORT"]
    assert expected == sorted(named)
    assert ".env.example" in text


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("TWILIO_ACCOUNT_SID", "AC" + CANARY),
        ("TWILIO_ACCOUNT_SID", ACCOUNT + "\n"),
        ("TWILIO_API_KEY_SID", CANARY),
        ("DEFAULT_SENDER", f"{CANARY}!"),
        ("TWILIO_WEBHOOK_SHARED_KEYS", CANARY),
        ("TWILIO_WEBHOOK_SHARED_KEYS", f"webhooks_sharedkey_1={CANARY},"),
        ("TWILIO_WEBHOOK_SHARED_KEYS", f"key_1={CANARY}"),
        ("TWILIO_WEBHOOK_SHARED_KEYS", "webhooks_sharedkey_1="),
        ("WEBHOOK_PORT", "65536"),
        ("FORWARD_ALL_STATUSES", CANARY),
        ("EVENT_STREAMS", CANARY),
        ("OPT_OUT_SCOPE", CANARY),
        ("OPT_OUT_SCOPE", "category"),
        ("REVIEW_SUPPRESSES", f"marketing,{CANARY}!"),
        ("QUIET_HOURS", CANARY),
        ("QUIET_HOURS", f"marketing:us,news:{CANARY}"),
        ("QUIET_HOURS", f"{CANARY}!:us"),
        ("QUIET_HOURS", ":us"),
        ("QUIET_HOURS", "marketing:"),
        ("QUIET_HOURS", "marketing:us,"),
        ("ALLOWED_COUNTRIES", CANARY),
        ("ALLOWED_COUNTRIES", "US,UK"),
        ("ALLOWED_COUNTRIES", "US,all"),
        ("ALLOWED_COUNTRIES", "US,"),
        ("ALLOWED_COUNTRIES", "001"),
        ("INBOUND_CATCH_UP_MINUTES", "-1"),
        ("INBOUND_CATCH_UP_MINUTES", "1441"),
        ("SEND_RETRY_BUDGET_SECONDS", "9"),
        ("RECEIPT_CHECKS_SECONDS", f"600,{CANARY}"),
        ("RECEIPT_CHECKS_SECONDS", "600,60"),
        ("RECEIPT_CHECKS_SECONDS", "600,600"),
        ("RECEIPT_CHECKS_SECONDS", "0"),
        ("RECEIPT_CHECKS_SECONDS", "[600]"),
        ("UNKNOWN_OUTCOME_WAIT_SECONDS", "-1"),
        ("DEAD_LETTER_EXPIRY_DAYS", "0"),
        ("MESSAGE_LIMITS", CANARY),
        ("MESSAGE_LIMITS", f"person=5/24h,{CANARY}=5/1h"),
        ("MESSAGE_LIMITS", f"person:{CANARY}=5/99d"),
        ("DUPLICATE_WINDOW_SECONDS", "-1"),
        ("DUPLICATE_WINDOW_SECONDS", "86401"),
        ("MAX_SENDS_PER_SECOND", "0"),
        ("MAX_CONCURRENT_SENDS", "0"),
        ("WORKER_SHUTDOWN_SECONDS", CANARY),
        ("WORKER_METRICS_ADDRESS", CANARY),
        ("WORKER_METRICS_ADDRESS", "localhost:9464"),
        ("LOG_LEVEL", CANARY),
    ],
)
def test_a_bad_value_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str, text: str) -> None:
    """The error names the variable and does not repeat the value."""
    assert f"  {variable}" in _refused(monkeypatch, **{variable: text})


@pytest.mark.parametrize("variable", ["PUBLIC_BASE_URL", "TWILIO_API_BASE_URL"])
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("https://hooks.example", "https://hooks.example"),
        ("https://hooks.example/", "https://hooks.example"),
        ("https://hooks.example:8443/a/b/", "https://hooks.example:8443/a/b"),
        ("http://127.0.0.1:8010", "http://127.0.0.1:8010"),
        ("http://[::1]:8010", "http://[::1]:8010"),
    ],
)
def test_a_base_url_is_normalized(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, value: str
) -> None:
    """It may have a scheme, host, port and path; a slash at its end is removed."""
    assert value == getattr(_load(monkeypatch, **{variable: text}), variable.lower())


@pytest.mark.parametrize("variable", ["PUBLIC_BASE_URL", "TWILIO_API_BASE_URL"])
@pytest.mark.parametrize(
    "text",
    [
        CANARY,
        f"//{CANARY}",
        f"ftp://{CANARY}",
        "https://",
        f"https:/{CANARY}",
        f"https://{CANARY}:port",
        f"https://{CANARY}:99999",
        f"https://{CANARY}:0",
        f"https://[{CANARY}",
        f"https://me:{CANARY}@hooks.example",
        f"https://@{CANARY}",
        f"https://hooks.example/?{CANARY}",
        f"https://{CANARY}/?",
        f"https://{CANARY}/#",
        f"https://hooks.example/{CANARY} x",
        f" https://{CANARY}",
        f"https://{CANARY}\n.example",
        f"https://{CANARY}.exämple",
    ],
)
def test_a_bad_base_url_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    """Twilio must be able to call the URL exactly as it is written."""
    assert f"  {variable}: must " in _refused(monkeypatch, **{variable: text})


def test_an_api_key_needs_its_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Either both are given or neither."""
    loaded = _load(monkeypatch, TWILIO_API_KEY_SID=KEY, TWILIO_API_KEY_SECRET=CANARY)
    assert loaded.twilio_api_key_secret is not None

    monkeypatch.delenv("TWILIO_API_KEY_SECRET")
    assert "go together" in _refused(monkeypatch)
    monkeypatch.delenv("TWILIO_API_KEY_SID")
    assert "go together" in _refused(monkeypatch, TWILIO_API_KEY_SECRET=CANARY)


def test_a_deployment_name_needs_a_build_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """Either both are given or neither."""
    loaded = _load(
        monkeypatch,
        TEMPORAL_DEPLOYMENT_NAME="signedfor",
        TEMPORAL_WORKER_BUILD_ID="1.4.0-rc.1+5f0c2d1",
    )
    assert ("signedfor", "1.4.0-rc.1+5f0c2d1") == (
        loaded.temporal_deployment_name,
        loaded.temporal_worker_build_id,
    )

    monkeypatch.delenv("TEMPORAL_WORKER_BUILD_ID")
    assert "TEMPORAL_DEPLOYMENT_NAME and TEMPORAL_WORKER_BUILD_ID go together" in _refused(
        monkeypatch
    )
    monkeypatch.delenv("TEMPORAL_DEPLOYMENT_NAME")
    assert "TEMPORAL_DEPLOYMENT_NAME and TEMPORAL_WORKER_BUILD_ID go together" in _refused(
        monkeypatch, TEMPORAL_WORKER_BUILD_ID="7"
    )


def test_a_workflow_for_inbound_messages_needs_its_task_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Either both are given or neither; our own queues have no worker for it."""
    workflow = {"INBOUND_WORKFLOW": "AnswerReply"}
    loaded = _load(monkeypatch, **workflow, INBOUND_TASK_QUEUE="replies")
    assert ("AnswerReply", "replies") == (loaded.inbound_workflow, loaded.inbound_task_queue)
    for queue in ("messages", "twilio-sends"):
        refused = _refused(monkeypatch, **workflow, INBOUND_TASK_QUEUE=queue)
        assert "INBOUND_TASK_QUEUE: must be your own" in refused

    monkeypatch.delenv("INBOUND_TASK_QUEUE")
    assert "INBOUND_WORKFLOW and INBOUND_TASK_QUEUE go together" in _refused(monkeypatch)
    monkeypatch.delenv("INBOUND_WORKFLOW")
    assert "go together" in _refused(monkeypatch, INBOUND_TASK_QUEUE=CANARY)


@pytest.mark.parametrize(
    ("variables", "dispatches", "keeps"),
    [
        ({}, False, True),
        ({"INBOUND_TEXT_DAYS": "0"}, False, False),
        ({"INBOUND_WORKFLOW": "AnswerReply", "INBOUND_TASK_QUEUE": "replies"}, True, True),
    ],
)
def test_which_texts_are_stored(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], *, dispatches: bool, keeps: bool
) -> None:
    """Those that a workflow of the service receives, and those that are kept for some days."""
    expected = TextPolicy(dispatches=dispatches, keeps=keeps)

    assert expected == _load(monkeypatch, **variables).inbound_texts


def test_the_deployment_name_of_the_worker_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporal's Worker Controller names a deployment after its namespace and resource."""
    loaded = _load(
        monkeypatch,
        TEMPORAL_DEPLOYMENT_NAME="messaging/signedfor",
        TEMPORAL_WORKER_BUILD_ID="v1-4-0-5f0c",
    )

    assert "messaging/signedfor" == loaded.temporal_deployment_name


@pytest.mark.parametrize("name", ["with.dot", "with:colon", "__ours", "a b", "n" * 101])
def test_a_bad_deployment_name_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Temporal would refuse it, or it could not be typed without quoting."""
    refused = _refused(monkeypatch, TEMPORAL_DEPLOYMENT_NAME=name, TEMPORAL_WORKER_BUILD_ID="7")

    assert "TEMPORAL_DEPLOYMENT_NAME" in refused
    assert name not in refused


def test_secrets_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Printing or dumping the settings does not show tokens."""
    loaded = _load(
        monkeypatch,
        TWILIO_PREVIOUS_AUTH_TOKEN=CANARY,
        TWILIO_WEBHOOK_SHARED_KEYS=f"webhooks_sharedkey_1={CANARY}",
        TWILIO_API_KEY_SID=KEY,
        TWILIO_API_KEY_SECRET=CANARY,
    )

    assert CANARY not in f"{loaded} {loaded!r} {loaded.model_dump()} {loaded.model_dump_json()}"
    assert CANARY == loaded.twilio_auth_token.get_secret_value()


def test_an_unreachable_temporal_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the address and its variable."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")

    with pytest.raises(TemporalUnavailable, match=r"127\.0\.0\.1:1.*TEMPORAL_ADDRESS"):
        asyncio.run(connect_temporal())


def test_an_invalid_temporal_address_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the variable."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", "not a host")

    with pytest.raises(TemporalUnavailable, match="TEMPORAL_ADDRESS"):
        asyncio.run(connect_temporal())


def test_a_lazy_client_needs_no_temporal(monkeypatch: pytest.MonkeyPatch) -> None:
    """It connects at its first call."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "texts")

    client = asyncio.run(connect_temporal(lazy=True, identity="me"))

    assert ("texts", "me") == (client.namespace, client.identity)


def test_an_empty_temporal_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose sets each, empty or not; an empty path would be taken for the current folder."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", "temporal.example:7233")
    for name in ("API_KEY", "NAMESPACE", "TLS", "CONFIG_FILE", "PROFILE"):
        monkeypatch.setenv(f"TEMPORAL_{name}", "")
    for name in ("CLIENT_CERT_PATH", "CLIENT_KEY_PATH", "SERVER_CA_CERT_PATH", "SERVER_NAME"):
        monkeypatch.setenv(f"TEMPORAL_TLS_{name}", "")

    config = connect_config()

    assert {"target_host": "temporal.example:7233"} == {
        key: value for key, value in config.items() if value is not None
    }


@pytest.mark.parametrize("content", [None, f"[profile.default\nkey = '{CANARY}'"])
def test_invalid_temporal_variables_are_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    """The error is one of ours and does not repeat their values."""
    if content is None:
        monkeypatch.setenv("TEMPORAL_TLS_CLIENT_CERT_PATH", str(tmp_path / CANARY))
        monkeypatch.setenv("TEMPORAL_TLS_CLIENT_KEY_PATH", str(tmp_path / CANARY))
    else:
        profile = tmp_path / "temporal.toml"
        profile.write_text(content)
        monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(profile))

    with pytest.raises(InvalidSettings, match="TEMPORAL_") as caught:
        asyncio.run(connect_temporal())

    assert CANARY not in str(caught.value)
