"""The encryption of payloads: keys, format, and what cannot be read."""

import base64
import itertools
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError

from signedfor import encryption as module
from signedfor.contract import MessageReport, MessageRequest
from signedfor.contract.message import DeliveryStatus
from signedfor.encryption import Encryption, EncryptionCodec, encrypting, load_encryption
from signedfor.errors import InvalidSettings
from signedfor.payloads import (
    INVALID_INPUT,
    UnreadableInput,
    UnreadablePayload,
    UnreadableSignal,
    data_converter,
)

NAMESPACE = "default"
OLD, NEW, OTHER = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2, 3))
CANARY = "+15558675309"
REQUEST = MessageRequest(to=CANARY, sender="+15005550006", body="The code is 4711.")


def _codec(
    keys: str = f"new={NEW}", *, namespace: str = NAMESPACE, accept_plain: bool = True
) -> EncryptionCodec:
    return EncryptionCodec(Encryption.parse(keys, accept_plain=accept_plain), namespace)


def _converter(keys: str = f"new={NEW}", **options: Any) -> DataConverter:
    return encrypting(Encryption.parse(keys, **options), NAMESPACE)


def _payload(value: object = REQUEST) -> Payload:
    return data_converter.payload_converter.to_payload(value)


@given(
    st.builds(
        Payload,
        metadata=st.dictionaries(st.text(max_size=20), st.binary(max_size=20), max_size=4),
        data=st.binary(max_size=1000),
    )
)
def test_what_is_encrypted_is_decrypted(payload: Payload) -> None:
    """Any payload survives, its metadata included, and nothing of it is in the encrypted one."""
    codec = _codec()

    encrypted = codec.encrypt(payload)

    assert payload == codec.decrypt(encrypted)
    assert {"encoding", "encryption-cipher", "encryption-key-id"} == set(encrypted.metadata)
    assert 12 + payload.ByteSize() + 16 == len(encrypted.data)


@given(
    metadata=st.dictionaries(
        st.sampled_from(["encoding", "encryption-cipher", "encryption-key-id"]) | st.text(),
        st.sampled_from([b"binary/encrypted", b"AES-256-GCM", b"new"]) | st.binary(max_size=40),
        max_size=4,
    ),
    data=st.binary(max_size=200),
)
def test_nothing_is_decrypted_but_what_the_key_encrypted(
    metadata: dict[str, bytes], data: bytes
) -> None:
    """Any other payload becomes one that says why it cannot be read; nothing raises."""
    codec = _codec(accept_plain=False)
    well_labelled = {
        "encoding": b"binary/encrypted",
        "encryption-cipher": b"AES-256-GCM",
        "encryption-key-id": b"new",
    }

    for labels in (metadata, metadata | well_labelled):
        marked = codec.decrypt(Payload(metadata=labels, data=data))

        assert b"binary/unreadable" == marked.metadata["encoding"]
        assert b"" == marked.data


def test_nonces_are_fresh() -> None:
    """The same payload is never encrypted to the same bytes: AES-GCM would give its key away."""
    codec, payload = _codec(), _payload()

    assert 1000 == len({codec.encrypt(payload).data[:12] for _ in range(1000)})


def test_the_clear_text_is_not_in_it() -> None:
    """Neither in the data nor in the metadata."""
    raw = _codec().encrypt(_payload()).SerializeToString()

    assert not any(each in raw for each in (CANARY.encode(), b"4711", b"json/plain", b"body"))


_VECTORS = (
    (
        b'"Your parcel is at the door."',
        (
            # pragma: allowlist nextline secret
            "AAECAwQFBgcICQoLTRTcE6CLoXTpKPnso+MSHuy4qEScGjYSKnrH3HIccpJxcdyfyq0y8QeEHpmo80Bdzj0P4ij4"
            "gb5UOlbTKMONvjH50XWiIdU="
        ),
    ),
)


@pytest.mark.parametrize(("data", "encrypted"), _VECTORS)
def test_vectors(data: bytes, encrypted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The vectors of docs/reference/encryption.md, with which other languages check theirs."""
    page = (Path(__file__).parents[2] / "docs/reference/encryption.md").read_text()
    keys = f"2026-11={base64.b64encode(bytes(range(32))).decode()}"
    payload = Payload(metadata={"encoding": b"json/plain"}, data=data)
    monkeypatch.setattr(os, "urandom", lambda length: bytes(range(length)))

    found = _codec(keys).encrypt(payload)

    assert base64.b64decode(encrypted) == found.data
    assert payload == _codec(keys).decrypt(found)
    assert encrypted in page
    assert keys in page
    assert base64.b64encode(payload.SerializeToString()).decode() in page


@pytest.mark.parametrize("where", ["nonce", "text", "tag", "short", "empty"])
def test_changed_data_is_not_decrypted(where: str) -> None:
    """A single changed bit anywhere, or a missing end."""
    codec, payload = _codec(), _codec().encrypt(_payload())
    data = bytearray(payload.data)
    match where:
        case "short":
            del data[-1]
        case "empty":
            del data[:]
        case _:
            data[{"nonce": 0, "text": 20, "tag": -1}[where]] ^= 1
    payload.data = bytes(data)

    _is_refused(codec, payload, "cannot be decrypted with the key new")


def _is_refused(codec: EncryptionCodec, payload: Payload, problem: str) -> None:
    """Whether input, result and signal are each refused in their way, naming the key."""
    marked = codec.decrypt(payload)
    convert = data_converter.payload_converter.from_payloads
    with pytest.raises(UnreadableInput, match=problem) as refused:
        convert([marked], [MessageRequest])
    assert (INVALID_INPUT, True) == (refused.value.type, refused.value.non_retryable)
    for hint in (MessageReport, dict, str):
        with pytest.raises(UnreadablePayload, match=problem):
            convert([marked], [hint])
    with pytest.raises(UnreadablePayload, match=problem):
        convert([marked])


def test_another_namespace_is_refused() -> None:
    """What is moved to another namespace cannot be read there."""
    payload = _codec(namespace="payments").encrypt(_payload())

    _is_refused(_codec(), payload, "for another namespace")


def test_another_key_id_is_refused() -> None:
    """The id is authenticated too, also if the same key has two."""
    payload = _codec(f"old={OLD}").encrypt(_payload())
    payload.metadata["encryption-key-id"] = b"new"

    _is_refused(_codec(f"new={OLD}"), payload, "cannot be decrypted with the key new")


def test_another_key_of_the_same_id_is_refused() -> None:
    """As when two machines have made keys of the same id."""
    _is_refused(_codec(f"new={OTHER}"), _codec().encrypt(_payload()), "another key of that id")


def test_an_unknown_key_is_named() -> None:
    """The sentence says which key is missing."""
    payload = _codec(f"2026-05={OLD}").encrypt(_payload())

    _is_refused(_codec(), payload, "encrypted with the key 2026-05, which is not among the PAYL")


@pytest.mark.parametrize("key_id", [b"", b"15558675309", b"a key", b"\xff", b"x" * 33])
def test_what_is_no_key_id_is_not_repeated(key_id: bytes) -> None:
    """Whoever can start a workflow chooses it, and logs must not show a number."""
    payload = _codec().encrypt(_payload())
    payload.metadata["encryption-key-id"] = key_id

    _is_refused(_codec(), payload, "key of an unknown id")


def test_the_format_of_others_is_refused() -> None:
    """Temporal's samples use the same encoding for theirs."""
    payload = _codec().encrypt(_payload())
    del payload.metadata["encryption-cipher"]

    _is_refused(_codec(), payload, "a format that is not ours")


def test_keys_rotate() -> None:
    """After a rotation the new key encrypts, and what the old one has encrypted is read."""
    before = _codec(f"old={OLD}").encrypt(_payload())
    both = _codec(f"new={NEW}, old={OLD}")
    after = both.encrypt(_payload())

    assert b"new" == after.metadata["encryption-key-id"]
    assert [_payload()] * 2 == [both.decrypt(before), both.decrypt(after)]
    assert _payload() == _codec(f"old={OLD},new={NEW}").decrypt(after)


def test_plain_payloads_are_read_by_default() -> None:
    """Callers without the key can send."""
    assert _payload() == _codec().decrypt(_payload())


def test_plain_payloads_can_be_refused() -> None:
    """With PAYLOAD_ACCEPT_PLAIN=off."""
    _is_refused(_codec(accept_plain=False), _payload(), "PAYLOAD_ACCEPT_PLAIN is off")


def test_encrypted_payloads_without_encryption() -> None:
    """A process that does not encrypt says why it cannot read them."""
    payload = _codec().encrypt(_payload())

    with pytest.raises(UnreadablePayload, match="key new, and PAYLOAD_ENCRYPTION is off here"):
        data_converter.payload_converter.from_payloads([payload], [dict])


@pytest.mark.parametrize("reason", [b"KEY", b"nonsense", b"\xff", b""])
def test_nobody_else_can_write_the_reason(reason: bytes) -> None:
    """A payload that claims to be unreadable is refused with one of our sentences."""
    payload = Payload(
        metadata={
            "encoding": b"binary/unreadable",
            "unreadable-because": reason,
            "encryption-key-id": CANARY.encode(),
        },
        data=CANARY.encode(),
    )

    with pytest.raises(UnreadableInput) as refused:
        data_converter.payload_converter.from_payloads([payload], [MessageRequest])

    assert CANARY[1:] not in str(refused.value)


def test_a_signal_waits_for_its_key() -> None:
    """It is neither dropped nor refused, because a worker that has the key would replay it."""
    status = DeliveryStatus(message_sid="SM" + "0" * 32, message_status="delivered")
    payload = _codec(f"old={OLD}").encrypt(_payload(status))
    convert = data_converter.payload_converter.from_payloads

    [unknown] = convert([_codec().decrypt(payload)], [DeliveryStatus])
    [without] = convert([payload], [DeliveryStatus])

    assert isinstance(unknown, UnreadableSignal)
    assert isinstance(without, UnreadableSignal)
    with pytest.raises(UnreadableInput):  # no key will ever make it readable
        convert([_codec(f"old={OTHER}").decrypt(payload)], [DeliveryStatus])


async def test_failures_are_encrypted() -> None:
    """Their text, stack trace, details and causes; the type, by which callers tell them, is not."""
    converter, failure = _converter(), Failure()
    try:
        try:
            raise ValueError(f"first {CANARY}")  # noqa: TRY301 - for its traceback
        except ValueError as error:
            raise ApplicationError(f"then {CANARY}", {"to": CANARY}, type="Refused") from error
    except ApplicationError as error:
        await converter.encode_failure(error, failure)

    raw = failure.SerializeToString()
    assert CANARY[1:].encode() not in raw
    assert Path(__file__).name.encode() not in raw
    assert "Refused" == failure.application_failure_info.type
    read = await converter.decode_failure(failure)
    assert f"Refused: then {CANARY}" == str(read)
    assert str(read.__cause__) == f"ValueError: first {CANARY}"


def test_unreadable_payloads_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """A line names the key; a thousand payloads do not make a thousand lines."""
    codec, payload = _codec(), _codec(f"old={OLD}").encrypt(_payload())

    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            codec.decrypt(payload)

    assert [
        (
            "A payload in the namespace default is encrypted with the key old, which is not among "
            "the PAYLOAD_KEYS here"
        )
    ] == [each.message for each in caplog.records]


def test_the_first_key_is_current_unless_another_is_named() -> None:
    """Further keys are only read."""
    keys = f"a={OLD}\n# a comment\nb={NEW}  # the next\n\nc={OTHER}\n"

    assert ["a", "b", "c"] == [key.id for key in Encryption.parse(keys).keys]
    assert ["b", "a", "c"] == [key.id for key in Encryption.parse(keys, current="b").keys]


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("", "has no key"),
        ("# nothing", "has no key"),
        (NEW, "must be pairs"),
        (f"={NEW}", "must be pairs"),
        (f"a={NEW},{OLD}", "in entry 2 the id"),
        (f"15558675309={NEW}", "at most 8 digits"),
        (f"a b={NEW}", "must be pairs"),
        ("a=secret!", "has no base64 for the key a"),
        ("a=AAAA", "needs 32 bytes in base64 for the key a; it has 3"),
        (f"a={base64.b64encode(bytes(16)).decode()}", "it has 16"),
        (f"a={base64.b64encode(bytes(33)).decode()}", "it has 33"),
        (f"a={NEW},a={OLD}", "names the key a twice"),
    ],
)
def test_wrong_keys(keys: str, problem: str) -> None:
    """A sentence says what is wrong, and repeats no key."""
    with pytest.raises(InvalidSettings) as refused:
        load_encryption({"PAYLOAD_KEYS": keys or " "})

    text = str(refused.value)
    assert text.startswith("PAYLOAD_KEYS ")
    assert problem in text
    assert not any(secret in text for secret in (OLD, NEW, "secret", "AAAA"))


def test_keys_may_be_url_safe() -> None:
    """Many tools make base64 with - and _."""
    secret = bytes([0xFB, 0xEF]) * 16
    standard, safe = base64.b64encode(secret).decode(), base64.urlsafe_b64encode(secret).decode()

    assert standard != safe
    assert Encryption.parse(f"a={standard}") == Encryption.parse(f"a={safe}")


def test_without_a_key_nothing_starts() -> None:
    """Encryption cannot be forgotten: only PAYLOAD_ENCRYPTION=off turns it off."""
    with pytest.raises(InvalidSettings, match="there is no key"):
        load_encryption({})
    with pytest.raises(InvalidSettings, match="there is no key"):
        load_encryption({"PAYLOAD_KEYS": "", "PAYLOAD_ENCRYPTION": ""})

    assert load_encryption({"PAYLOAD_ENCRYPTION": "off"}) is None


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"PAYLOAD_KEY_ID": "b"}, "PAYLOAD_KEYS lacks the key that PAYLOAD_KEY_ID names; it has a"),
        ({"PAYLOAD_ENCRYPTION": "maybe"}, "PAYLOAD_ENCRYPTION must be on or off"),
        ({"PAYLOAD_ACCEPT_PLAIN": "2"}, "PAYLOAD_ACCEPT_PLAIN must be on or off"),
        ({"PAYLOAD_KEYS_FILE": "/keys"}, "PAYLOAD_KEYS or PAYLOAD_KEYS_FILE, not both"),
    ],
)
def test_wrong_variables(variables: dict[str, str], problem: str) -> None:
    """A process with them does not start."""
    with pytest.raises(InvalidSettings, match=problem):
        load_encryption({"PAYLOAD_KEYS": f"a={NEW}", **variables})


def test_keys_from_a_file(tmp_path: Path) -> None:
    """A line for each key; a file that cannot be read is named by its variable."""
    file = tmp_path / "keys"
    file.write_text(f"a={NEW}\nb={OLD}\n")

    found = load_encryption({"PAYLOAD_KEYS_FILE": str(file), "PAYLOAD_KEY_ID": "b"})

    assert found == Encryption.parse(f"b={OLD},a={NEW}")
    file.write_bytes(b"\xff\xfe")
    for name in (tmp_path / "missing", tmp_path, file):
        with pytest.raises(InvalidSettings, match="PAYLOAD_KEYS_FILE"):
            load_encryption({"PAYLOAD_KEYS_FILE": str(name)})


def test_keys_do_not_show() -> None:
    """Neither in a repr, which a traceback may have, nor in the label that others see."""
    encryption = Encryption.parse(f"a={NEW},b={OLD}")
    secrets = [bytes([number]) * 32 for number in (1, 2)]

    shown = f"{encryption!r} {[key.label for key in encryption.keys]}"

    assert not any(str(secret)[2:20] in shown or secret.hex()[:16] in shown for secret in secrets)
    labels = [Encryption.parse(f"a={key}").current.label for key in (OLD, NEW, OTHER)]
    assert all(one != other for one, other in itertools.combinations(labels, 2))


def test_the_variables_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As by every process."""
    for name in [name for name in os.environ if name.startswith("PAYLOAD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PAYLOAD_KEYS", f"a={NEW}")
    monkeypatch.setenv("PAYLOAD_ACCEPT_PLAIN", "false")

    assert Encryption.parse(f"a={NEW}", accept_plain=False) == module.load_encryption()
