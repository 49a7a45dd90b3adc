"""`.env.example` matches the settings."""

import re
from pathlib import Path

import pytest

from ops.codec_server.settings import CodecServerSettings
from ops.settings import OpsSettings
from signedfor.encryption import Encryption, load_encryption
from signedfor.settings import CampaignSettings, Settings
from tests.devtools.stack.support import ROOT
from tests.encryption import KEYS

_LINE = re.compile(r"^#?([A-Z][A-Z0-9_]*)=(.*)$", re.MULTILINE)
_REQUIRED = {
    "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
    "TWILIO_AUTH_TOKEN": "token",
    "PUBLIC_BASE_URL": "https://messages.example.com",
}
_TEMPORAL = {
    "TEMPORAL_ADDRESS",
    "TEMPORAL_NAMESPACE",
    "TEMPORAL_CODEC_ENDPOINT",
    "TEMPORAL_CODEC_AUTH",
    "TEMPORAL_API_KEY",
    "TEMPORAL_TLS",
    "TEMPORAL_TLS_CLIENT_CERT_PATH",
    "TEMPORAL_TLS_CLIENT_KEY_PATH",
    "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
    "TEMPORAL_TLS_SERVER_NAME",
    "TEMPORAL_CONFIG_FILE",
    "TEMPORAL_PROFILE",
}
_TRACES = {
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_TRACES_EXPORTER",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SERVICE_NAME",
    "OTEL_SDK_DISABLED",
}
_PAYLOADS = {
    "PAYLOAD_KEYS",
    "PAYLOAD_KEYS_FILE",
    "PAYLOAD_KEY_ID",
    "PAYLOAD_ACCEPT_PLAIN",
    "PAYLOAD_ENCRYPTION",
}
_STACK = {"DATA_DIR", "TEMPORAL_PORT", "TEMPORAL_UI_PORT", "SANDBOX_PORT", "KEEP_RUNNING"}
_COMPOSE = {
    "COMPOSE_PROFILES",
    "WEBHOOK_BIND",
    "WEBHOOK_REPLICAS",
    "PROXY_SITE",
    "PROXY_BIND",
    "PROXY_HTTP_PORT",
    "PROXY_HTTPS_PORT",
    "PROMETHEUS_PORT",
    "GRAFANA_PORT",
}


def _example() -> dict[str, str]:
    return dict(_LINE.findall((ROOT / ".env.example").read_text()))


def test_every_variable_is_explained_and_no_other() -> None:
    """The example names each variable of the settings, the stack and compose; and nothing else."""
    models = (OpsSettings, CampaignSettings, CodecServerSettings)
    settings = {name.upper() for model in models for name in model.model_fields}

    assert settings | _PAYLOADS | _TEMPORAL | _TRACES | _STACK | _COMPOSE == _example().keys()


def test_the_variables_of_encryption_are_read(tmp_path: Path) -> None:
    """With the example's values, encryption is on, and input in clear is accepted."""
    example = {name: value for name, value in _example().items() if name in _PAYLOADS}
    file = tmp_path / "keys"
    file.write_text(f"{KEYS}\n")

    read = load_encryption({**example, "PAYLOAD_KEYS": KEYS})

    assert Encryption.parse(KEYS) == read
    assert read == load_encryption({"PAYLOAD_KEYS_FILE": str(file)})
    sources = (ROOT / "signedfor/encryption.py").read_text()
    assert [] == [name for name in _PAYLOADS if f'"{name}"' not in sources]


def test_the_variables_of_the_stack_are_read() -> None:
    """The variables of `make up`, `make demo` and compose exist."""
    sources = "".join(
        path.read_text()
        for path in [*(ROOT / "devtools/stack").glob("*.py"), ROOT / "docker-compose.yml"]
    )

    assert [] == [name for name in _STACK | _COMPOSE if not re.search(rf"\b{name}\b", sources)]


def test_the_defaults_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings read from the example are the defaults."""
    example = _example()
    for name in Settings.model_fields:
        monkeypatch.setenv(name.upper(), example[name.upper()])
    for name, value in _REQUIRED.items():
        assert example[name] == ""
        monkeypatch.setenv(name, value)
    read = Settings()

    for name in Settings.model_fields.keys() - {each.lower() for each in _REQUIRED}:
        monkeypatch.delenv(name.upper())
    assert Settings() == read


def test_only_required_variables_are_not_commented_out() -> None:
    """A line that is not commented out is one that must be set."""
    text = (ROOT / ".env.example").read_text()

    filled = {name for name, _ in re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE)}
    assert {*_REQUIRED, "COMPOSE_PROFILES", "PAYLOAD_KEYS"} == filled


def test_no_secret_is_in_the_example() -> None:
    """Every secret is empty."""
    secret = re.compile("TOKEN|SECRET|KEY|PASSWORD")  # PAYLOAD_KEY_ID is none, and is empty too

    assert {} == {k: v for k, v in _example().items() if secret.search(k) and v}
