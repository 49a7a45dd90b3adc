"""Encrypting and decrypting what is in a history, as the SDK does it to single payloads."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from google.protobuf.message import Message
from temporalio.api.common.v1 import Header, Payload, SearchAttributes
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from signedfor.encryption import EncryptionCodec, load_encryption, with_codec

KEYS = "test=" + "A" * 43 + "="
_WRITTEN_BY_THE_CORE = "data"
"""The detail of a local activity's marker that no codec sees."""


class _ReadsOnly(EncryptionCodec):
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)


async def stranger_to(address: str, settings: Mapping[str, str]) -> Client:
    """A client that reads what is encrypted with the settings' keys, and sends in clear."""
    encryption = load_encryption(settings)
    assert encryption is not None
    return await Client.connect(
        address, data_converter=with_codec(_ReadsOnly(encryption, "default"))
    )


def decrypt(events: Iterable[HistoryEvent], client: Client) -> list[HistoryEvent]:
    """The events, decrypted in place with the client's keys, if it has any."""
    found = list(events)
    codec = client.data_converter.payload_codec
    if isinstance(codec, EncryptionCodec):
        for event in found:
            for payload in encoded_payloads(event):
                payload.CopyFrom(codec.decrypt(payload))
    return found


def encrypt(events: Iterable[HistoryEvent], codec: EncryptionCodec) -> list[HistoryEvent]:
    """The events, encrypted in place."""
    found = list(events)
    for event in found:
        for payload in encoded_payloads(event):
            payload.CopyFrom(codec.encrypt(payload))
    return found


def encoded_payloads(message: Message) -> Iterator[Payload]:
    """The payloads in it that pass through a codec."""
    if isinstance(message, Payload):
        yield message
    if isinstance(message, Payload | SearchAttributes | Header):
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for name, part in value.items():
                    if name != _WRITTEN_BY_THE_CORE:
                        yield from encoded_payloads(part)
        else:
            for part in value if field.is_repeated else (value,):
                yield from encoded_payloads(part)
