"""Twilio's side of the webhook, with a signer of our own."""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlencode

import httpx
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from signedfor.settings import Settings

ACCOUNT = "AC" + "a" * 32
TOKEN = "current-token"
PREVIOUS_TOKEN = "previous-token"
SHARED_KEYS = {"webhooks_sharedkey_1": "first=secret", "webhooks_sharedkey_2": "second-secret"}
PUBLIC = "https://hooks.example.com/sms"
"""The application itself sees another host and no prefix."""
SID = "SM" + "b" * 32
PERSON = "+15558675309"
SENDER = "+15005550006"
FORM = "application/x-www-form-urlencoded; charset=UTF-8"

Fields = Mapping[str, str] | Sequence[tuple[str, str]]

SETTINGS = Settings(
    public_base_url=PUBLIC,
    twilio_account_sid=ACCOUNT,
    twilio_auth_token=SecretStr(TOKEN),
    twilio_previous_auth_token=SecretStr(PREVIOUS_TOKEN),
    twilio_webhook_shared_keys={key: SecretStr(own) for key, own in SHARED_KEYS.items()},
)


def sign(
    url: str, fields: Fields = (), *, token: str = TOKEN, digest: Callable[..., Any] = hashlib.sha1
) -> str:
    """Twilio's signature, implemented from its documentation and not with its SDK."""
    pairs = fields.items() if isinstance(fields, Mapping) else fields
    data = url + "".join(name + value for name, value in sorted(set(pairs)))
    mac = hmac.new(token.encode(), data.encode(), digest)
    return base64.b64encode(mac.digest()).decode()


@dataclass(frozen=True, kw_only=True)
class Twilio:
    """Sends requests to the webhook as Twilio does, signed for its public URL."""

    http: httpx.AsyncClient
    token: str = TOKEN
    public: str = PUBLIC
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def calling(cls, app: FastAPI) -> Self:
        """Twilio, calling `app` without a network."""
        transport = httpx.ASGITransport(app)
        return cls(http=httpx.AsyncClient(transport=transport, base_url="http://internal:8080"))

    async def post(self, target: str, fields: Fields) -> httpx.Response:
        """Post a signed form."""
        pairs = list(fields.items()) if isinstance(fields, Mapping) else list(fields)
        return await self.http.post(
            target,
            content=urlencode(pairs),
            headers={
                "Content-Type": FORM,
                "X-Twilio-Signature": sign(self.public + target, pairs, token=self.token),
                **self.headers,
            },
        )

    async def post_json(self, target: str, body: bytes) -> httpx.Response:
        """Post a signed JSON document, with its hash in the query."""
        separator = "&" if "?" in target else "?"
        target += f"{separator}bodySHA256={hashlib.sha256(body).hexdigest()}"
        return await self.http.post(
            target,
            content=body,
            headers={
                "Content-Type": "application/json",
                "X-Twilio-Signature": sign(self.public + target, token=self.token),
            },
        )

    async def status(self, message_id: str, status: str, **more: str) -> httpx.Response:
        """Post a status callback."""
        return await self.post(
            f"/webhook/status?message_id={message_id}", status_fields(MessageStatus=status, **more)
        )

    async def inbound(self, body: str, **more: str) -> httpx.Response:
        """Post an inbound message."""
        return await self.post("/webhook/inbound", inbound_fields(Body=body, **more))


def status_fields(**more: str) -> dict[str, str]:
    """The fields of a status callback, without those given as `-`."""
    return _without_dashes(
        {
            "AccountSid": ACCOUNT,
            "ApiVersion": "2010-04-01",
            "From": SENDER,
            "To": PERSON,
            "MessageSid": SID,
            "SmsSid": more.get("MessageSid", SID),
            "MessageStatus": "delivered",
            "SmsStatus": more.get("MessageStatus", "delivered"),
            **more,
        }
    )


def inbound_fields(**more: str) -> dict[str, str]:
    """The fields of an inbound message, without those given as `-`."""
    sid = more.get("MessageSid", SID)
    return _without_dashes(
        {
            "AccountSid": ACCOUNT,
            "ApiVersion": "2010-04-01",
            "From": PERSON,
            "To": SENDER,
            "MessageSid": sid,
            "SmsSid": sid,
            "SmsMessageSid": sid,
            "SmsStatus": "received",
            "Body": "",
            "NumMedia": "0",
            "NumSegments": "1",
            **more,
        }
    )


def _without_dashes(fields: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value != "-"}


async def metric(http: httpx.AsyncClient, name: str, **labels: str) -> float:
    """The value of a metric in `/metrics`, or 0 if it is not there yet."""
    text = (await http.get("/metrics")).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
