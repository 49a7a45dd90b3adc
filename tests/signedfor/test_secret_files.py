"""Secrets in files, by `NAME_FILE`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from ops.settings import OpsSettings
from signedfor.secret_files import SECRETS, BadSecretFiles, read_secret_files
from tests.worker_process import ROOT, environment


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_comes_from_its_file(tmp_path: Path, name: str, end: str) -> None:
    """Without the line break that editors add; spaces are part of it."""
    (tmp_path / "secret").write_bytes(f" pass=word:1 {end}".encode())
    variables = {f"{name}_FILE": str(tmp_path / "secret"), "OTHER": "1"}

    read_secret_files(variables)
    read_secret_files(variables)

    assert {name: " pass=word:1 ", "OTHER": "1"} == variables


def test_an_empty_file_is_like_an_empty_variable(tmp_path: Path) -> None:
    """So a secret that is not needed can be /dev/null."""
    (tmp_path / "empty").write_text("\n")
    variables = {
        "TWILIO_API_KEY_SECRET_FILE": os.devnull,
        "TEMPORAL_API_KEY_FILE": str(tmp_path / "empty"),
        "TWILIO_AUTH_TOKEN_FILE": "",
    }

    read_secret_files(variables)

    assert {"TWILIO_AUTH_TOKEN_FILE": ""} == variables


def test_every_problem_is_named_at_once_without_a_value(tmp_path: Path) -> None:
    """The text names variables, and neither what is in the files nor where they are."""
    (tmp_path / "two-lines").write_text("canary-1\ncanary-2\n")
    (tmp_path / "binary").write_bytes(b"canary-\xff")
    (tmp_path / "large").write_text("canary-" * 10_000)
    (tmp_path / "fine").write_text("canary")
    variables = {
        "DATABASE_URL_FILE": str(tmp_path / "missing"),
        "OTEL_EXPORTER_OTLP_HEADERS_FILE": str(tmp_path / "two-lines"),
        "PGPASSWORD_FILE": str(tmp_path / "binary"),
        "TEMPORAL_API_KEY_FILE": str(tmp_path / "large"),
        "TWILIO_API_KEY_SECRET_FILE": str(tmp_path),
        "TWILIO_AUTH_TOKEN_FILE": str(tmp_path / "fine"),
        "TWILIO_AUTH_TOKEN": "canary-3",
        "TWILIO_PREVIOUS_AUTH_TOKEN_FILE": str(tmp_path / "fine"),
    }

    with pytest.raises(BadSecretFiles) as caught:
        read_secret_files(variables)

    wrong = [name for name in SECRETS if name in variables or f"{name}_FILE" in variables]
    wrong.remove("TWILIO_PREVIOUS_AUTH_TOKEN")
    assert [f"{name}_FILE" for name in wrong] == [name for name, _ in caught.value.problems]
    assert 6 == len(wrong)
    assert "cannot be read (No such file or directory)" in str(caught.value)
    assert "so is TWILIO_AUTH_TOKEN: set one of them" in str(caught.value)
    assert "canary" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_every_secret_can_be_in_a_file() -> None:
    """Each setting that is one, and each variable that .env.example calls one."""
    settings = {
        name.upper()
        for name, field in OpsSettings.model_fields.items()
        if SecretStr in {field.annotation, *getattr(field.annotation, "__args__", ())}
    }
    text = (ROOT / ".env.example").read_text()
    after = re.compile(r"^# Secret\.[^\n]*\n(?:# [^\n]*\n)*#?([A-Z_]+)=", re.MULTILINE)
    explained = set(after.findall(text))

    assert len(settings) > 2
    # The keys' file may have several lines, and callers read it without this module. The other is
    # read by Temporal's command line.
    others = {"PAYLOAD_KEYS", "TEMPORAL_CODEC_AUTH"}
    assert set() == (settings | explained) - {*SECRETS} - others


@pytest.mark.parametrize(
    "command", [("worker",), ("webhook",), ("ops",), ("starter", "doctor"), ("devtools.sandbox",)]
)
def test_every_process_reads_them(tmp_path: Path, command: tuple[str, ...]) -> None:
    """It ends with the sentence, and no traceback, if a file cannot be used."""
    variables = environment(f"sqlite:///{tmp_path}/a.db", TWILIO_AUTH_TOKEN="")
    variables["TWILIO_AUTH_TOKEN_FILE"] = str(tmp_path / "missing")

    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode in {1, 2}
    assert "TWILIO_AUTH_TOKEN_FILE: the file cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
