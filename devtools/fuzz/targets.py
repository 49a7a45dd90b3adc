"""What is open to input from outside, as functions of bytes: each answers anything, or says no.

A target fails by any exception but the ones with which its function refuses input, or by an answer
that breaks the function's contract.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError as ProtobufDecodeError
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload
from temporalio.exceptions import ApplicationError

from devtools.fuzz.mutations import CLEAR, KEYS, NAMESPACE
from signedfor.campaigns.recipients import RecipientsFile, UnreadableFile
from signedfor.contract import CancelRequest, DeadLetterRequest, DeliveryStatus, MessageRequest
from signedfor.csv_problems import CsvProblems
from signedfor.destinations import Destinations
from signedfor.encryption import Encryption, EncryptionCodec
from signedfor.masks import contains_number_of, masked_sender
from signedfor.payloads import (
    CIPHER,
    CIPHER_FIELD,
    ENCODING_FIELD,
    ENCRYPTED,
    INVALID_INPUT,
    KEY_ID_FIELD,
    MAX_PROBLEMS,
    UnreadablePayload,
    data_converter,
    unreadable_problem,
)
from signedfor.recipient_rules import recipient_problem
from signedfor.spreadsheets import number_damage, text_damage, unmasked
from signedfor.store.csv_files import CsvRows, InvalidCsv
from signedfor.template import InvalidTemplate, MissingField, placeholders, render
from signedfor.twilio.keywords import classify_inbound
from signedfor.twilio.media_urls import media_url_problem
from signedfor.twilio.phone import InvalidAddress, normalize_recipient, normalize_sender
from signedfor.twilio.segments import count_segments
from webhook.body import DecodeError, decode_events, decode_form, decode_json
from webhook.signature import Signatures, has_body_hash

_SIGNATURES: Final = Signatures(
    public_base_url="https://hooks.example.com/sms", auth_token=SecretStr("a-token")
)
_STRICT, _TOLERANT = (
    EncryptionCodec(Encryption.parse(KEYS, accept_plain=accept_plain), NAMESPACE)
    for accept_plain in (False, True)
)
_MODELS: Final = (MessageRequest, DeadLetterRequest, DeliveryStatus, CancelRequest)


def signatures(data: bytes) -> None:
    """No signature that was not made with the token is right."""
    with suppress(DecodeError, ValueError):
        target, _, rest = data.partition(b"\n")
        fields = decode_form(rest)
        has_body_hash(decode_form(target), rest)
        assert not _SIGNATURES.match(
            target=target.decode("ascii"), fields=fields, signature=rest.decode("latin-1")
        )


def forms(data: bytes) -> None:
    """A form is decoded into text, or refused."""
    with suppress(DecodeError):
        for name, value in decode_form(data).multi_items():
            (name + value).encode()


def json_bodies(data: bytes) -> None:
    """A JSON body is decoded into flat text, or refused; a batch of events is a list."""
    with suppress(DecodeError):
        for name, value in decode_json(data).multi_items():
            (name + value).encode()
    with suppress(DecodeError):
        assert isinstance(decode_events(data), list)


def keywords(data: bytes) -> None:
    """Every text has one meaning, whatever Twilio says of it."""
    text = _text(data)
    classify_inbound(text, None)
    classify_inbound(text, text[:20])


def numbers(data: bytes) -> None:
    """An address has one spelling, which is not changed again."""
    text = _text(data)
    for normalize in (normalize_recipient, normalize_sender):
        with suppress(InvalidAddress):
            address = normalize(text)
            assert normalize(address) == address
            masked_sender(address)
            recipient_problem(address, sender=None, own=(), destinations=Destinations(["US"]))
    contains_number_of(text, "+15558675309")


def segments(data: bytes) -> None:
    """A text has at least as many segments as its units fill."""
    found = count_segments(_text(data))
    assert found.count <= found.units <= 160 * max(found.count, 0)


def texts(data: bytes) -> None:
    """What a campaign makes of a template, a cell or a URL."""
    text = _text(data)
    media_url_problem(text)
    number_damage(text)
    text_damage(text)
    unmasked(text)
    with suppress(InvalidTemplate, MissingField):
        render(text, dict.fromkeys(placeholders(text), text[:100]))


def csv_files(data: bytes) -> None:
    """A file is read to its end, or refused with a line."""
    with suppress(UnreadableFile):
        file = RecipientsFile(io.BytesIO(data), size=len(data))
        file.header("to")
        for line in file.lines():
            assert line.number > 1
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")
    rows = CsvRows(
        text,
        required=("recipient",),
        optional=("note",),
        parse=lambda cells: cells.recipient(),
        problems=CsvProblems(),
    )
    with suppress(InvalidCsv):
        rows.validate()
        for batch in rows.batches():
            assert batch


def payloads(data: bytes) -> None:
    """A payload is a model, or one small failure."""
    encoding = b"json/plain" if data[:1] != b"\xff" else data[:12]
    payload = Payload(metadata={"encoding": encoding}, data=data)
    for model in _MODELS:
        try:
            (found,) = data_converter.payload_converter.from_payloads([payload], [model])
        except ApplicationError as error:
            found = error
        if isinstance(found, ApplicationError):
            assert (found.type, found.non_retryable) == (INVALID_INPUT, True)
            assert len(found.details[0]) <= MAX_PROBLEMS + 1
        else:
            assert isinstance(found, model)


def encrypted_payloads(data: bytes) -> None:
    """A payload is decrypted, or says why not; nothing comes of it but what the key encrypted."""
    given = Payload()
    try:
        given.ParseFromString(data)
    except ProtobufDecodeError:
        given = Payload(metadata={ENCODING_FIELD: ENCRYPTED, CIPHER_FIELD: CIPHER}, data=data)
    for codec in (_STRICT, _TOLERANT):
        for payload in (given, *_as_encrypted(given)):
            clear = codec.decrypt(payload)
            is_plain = payload.metadata[ENCODING_FIELD] != ENCRYPTED
            if unreadable_problem(clear) is None:
                assert clear == CLEAR or (is_plain and codec is _TOLERANT)
            with suppress(ApplicationError, UnreadablePayload):
                data_converter.payload_converter.from_payloads([clear], [MessageRequest])


def _as_encrypted(payload: Payload) -> Iterator[Payload]:
    """The same data, said to be encrypted with a key that is there."""
    metadata = {ENCODING_FIELD: ENCRYPTED, CIPHER_FIELD: CIPHER, KEY_ID_FIELD: b"fuzz"}
    yield Payload(metadata=metadata, data=payload.data)
    yield Payload(metadata={**payload.metadata, **metadata}, data=payload.data)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    each.__name__: each
    for each in (
        *(signatures, forms, json_bodies, keywords, numbers, segments, texts, csv_files),
        payloads,
        encrypted_payloads,
    )
}
CORPUS: Final = Path(__file__).with_name("corpus")
"""Inputs that once made a target fail or slow: a folder for each, read by the tests."""
