"""Hashes of recipients and messages in the attempt records.

Two messages that Twilio's list cannot distinguish have one fingerprint.
"""

import hashlib
import json

from signedfor.contract import MessageRequest


def recipient_hash(address: str) -> str:
    """The hash of a recipient's address in the records."""
    return _hashed([address])


def fingerprint(message: MessageRequest, *, sender: str) -> str:
    """Equal for two messages that Twilio's list cannot distinguish."""
    if message.content_sid is not None:
        return template_fingerprint(message.to, sender)
    return text_fingerprint(message.to, sender, message.body or "", len(message.media_urls))


def text_fingerprint(to: str, sender: str, body: str, media: int) -> str:
    """The fingerprint of a message, or of a row in Twilio's list, with a text and `media` files."""
    return _hashed([to, sender, body, media])


def template_fingerprint(to: str, sender: str) -> str:
    """The fingerprint of a message with a template.

    Twilio's list shows the rendered text, which we do not know. So all template messages to one
    recipient have the same fingerprint, and any row of the list may be one of them.
    """
    return _hashed([to, sender])


def _hashed(parts: list[object]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
