"""Bad variables and files of configuration: a sentence names them, and repeats no value."""

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from ops.codec_server.settings import CodecServerSettings, load_codec_server_settings
from ops.settings import OpsSettings, load_ops_settings
from signedfor.encryption import load_encryption
from signedfor.errors import InvalidSettings
from signedfor.settings import Settings, load_settings
from tests.bad_inputs.rows import DIGITS, NUMBER, TEXT
from webhook.replies import InvalidReplies, read_replies

_REQUIRED = {
    "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
    "TWILIO_AUTH_TOKEN": "x",
    "PUBLIC_BASE_URL": "https://hooks.example.com",
    "OPS_USERS_FILE": "users",
}
_LOADED: dict[Callable[[], BaseSettings], type[BaseSettings]] = {
    load_settings: Settings,
    load_ops_settings: OpsSettings,
    load_codec_server_settings: CodecServerSettings,
}
_VALUES = {
    "a word": TEXT,
    "a number": NUMBER,
    "digits": DIGITS,
    "other digits": f"٣{TEXT}",
    "a long number": "9" * 5_000,
    "no number": "nan",
    "infinity": "1e999",
    "less than nothing": "-1",
    "bytes": f"{TEXT}\udcff",
    "a line end": f"{TEXT}\n{TEXT}",
    "an unfinished address": f"https://[{TEXT}",
    "an address with a password": f"https://{TEXT}:{TEXT}@x:99999/",
    "pairs": f"{TEXT}={TEXT},={TEXT},,{TEXT}:{TEXT}",
    "JSON": f'{{"{TEXT}": ["{TEXT}"]}}',
    "deep JSON": "[" * 20_000,
    "65,536 characters": TEXT * 5_500,
}
_VARIABLES = [
    pytest.param(load, name.upper(), id=f"{model.__name__}: {name}")
    for load, model in _LOADED.items()
    for name in model.model_fields
    if model is Settings or name not in Settings.model_fields
]


@pytest.mark.parametrize(("load", "variable"), _VARIABLES)
def test_any_value_of_a_variable_is_taken_or_refused(
    load: Callable[[], BaseSettings], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is refused is named, and the value is not repeated."""
    for name, value in _REQUIRED.items():
        monkeypatch.setenv(name, value)
    for what, value in _VALUES.items():
        monkeypatch.setenv(variable, value)
        try:
            load()
        except InvalidSettings as error:
            text = str(error)
            assert variable in text, (what, text)
            assert TEXT not in text, what
            assert DIGITS not in text, what


_KEY = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(content, id=name)
        for name, content in {
            "nothing": b"",
            "a comment": f"# {TEXT}".encode(),
            "a key without an id": _KEY.encode(),
            "an id that is a number": f"{DIGITS}={_KEY}".encode(),
            "an id with spaces": f"{TEXT} x={_KEY}".encode(),
            "a byte order mark": b"\xef\xbb\xbf" + f"a={_KEY}".encode(),
            "UTF-16": f"a={_KEY}".encode("utf-16"),
            "NUL": f"a=\0{_KEY}".encode(),
            "not UTF-8": b"a=\xff",
            "a short key": b"a=AAAA",
            "a long key": f"a={base64.b64encode(bytes(64)).decode()}".encode(),
            "no base64": f"a={TEXT}!".encode(),
            "an id twice": f"a={_KEY}\na={_KEY}".encode(),
            "JSON": f'{{"a": "{_KEY}"}}'.encode(),
            "a megabyte": TEXT.encode() * 90_000,
            "100,000 lines": f"{TEXT}\n".encode() * 100_000,
        }.items()
    ],
)
def test_a_bad_file_of_keys_is_refused(content: bytes, tmp_path: Path) -> None:
    """The sentence names the variable, and repeats no key."""
    file = tmp_path / TEXT
    file.write_bytes(content)

    with pytest.raises(InvalidSettings) as refused:
        load_encryption({"PAYLOAD_KEYS_FILE": str(file)})

    text = str(refused.value)
    assert "PAYLOAD_KEYS_FILE" in text
    assert [] == [each for each in (TEXT, DIGITS, _KEY) if each in text]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(content, id=name)
        for name, content in {
            "a word": TEXT.encode(),
            "a text alone": f'stop = "{TEXT}"'.encode(),
            "a table twice": f'[default]\nstop = "{TEXT}"\n[default]\nhelp = "x"'.encode(),
            "a keyword twice": f'[default]\nstop = "{TEXT}"\nstop = "x"'.encode(),
            "an unknown keyword": f'[default]\n"{NUMBER}" = "{TEXT}"'.encode(),
            "a text that is a number": f"[default]\nstop = {DIGITS}".encode(),
            "a text that is a list": f'[default]\nstop = ["{TEXT}"]'.encode(),
            "a text that is too long": f'[default]\nstop = "{TEXT * 200}"'.encode(),
            "a text with NUL": f'[default]\nstop = "{TEXT}\\u0000"'.encode(),
            "a text that XML cannot have": f'[default]\nstop = "{TEXT}\\ufffe"'.encode(),
            "a table of no sender": f'["{TEXT}!"]\nstop = "x"'.encode(),
            "a table of a number that is none": f'["+1{DIGITS}{DIGITS}"]\nstop = "x"'.encode(),
            "an unfinished text": f'[default]\nstop = "{TEXT}'.encode(),
            "an unfinished table": f'["{NUMBER}'.encode(),
            "a byte order mark": b"\xef\xbb\xbf[default]\n" + f'stop = "{TEXT}"'.encode(),
            "UTF-16": f'[default]\nstop = "{TEXT}"'.encode("utf-16"),
            "not UTF-8": b'[default]\nstop = "\xff"',
            "JSON": f'{{"default": {{"stop": "{TEXT}"}}}}'.encode(),
            "deep arrays": b"a = " + b"[" * 50_000,
            "deep tables": f"[{'.'.join(['a'] * 5_000)}]\nstop = {DIGITS}".encode(),
        }.items()
    ],
)
def test_a_bad_file_of_replies_is_refused(content: bytes, tmp_path: Path) -> None:
    """The sentence says which table, and repeats no number and no text."""
    file = tmp_path / "replies.toml"
    file.write_bytes(content)

    with pytest.raises(InvalidReplies) as refused:
        read_replies(file)

    text = str(refused.value)
    assert "INBOUND_REPLIES_FILE" in text
    assert [] == [each for each in (TEXT, DIGITS) if each in text]
