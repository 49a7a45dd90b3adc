"""What the account has configured in Twilio: senders, Messaging Services and webhook rules."""

from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from hashlib import md5
from typing import Any

from devtools.sandbox.addresses import channel_of, is_e164, is_short_code
from devtools.sandbox.magic import sender_error

Resource = dict[str, Any]
"""A resource by Twilio's JSON names."""


class Kind(StrEnum):
    """A kind of resource, by the name of its list."""

    NUMBERS = "incoming_phone_numbers"
    SHORT_CODES = "short_codes"
    APPLICATIONS = "applications"
    SERVICES = "services"
    SENDERS = "senders"
    """WhatsApp and RCS senders, of the Senders API."""
    POOL = "pool"
    """Which service a sender is in: `service_sid`, by the sender's SID."""
    RULES = "rules"
    SETTINGS = "settings"


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where Twilio sends an inbound message; `url` is empty if nowhere."""

    url: str
    method: str = "POST"
    service_sid: str | None = None
    """The Messaging Service that the recipient is in."""


class Configuration:
    """The resources.

    Any number or short code that may send is the account's, and every `MG...` is a service of it:
    each comes into being when it is first asked for, with the inbound URL of the settings.
    """

    def __init__(self) -> None:
        self._resources: dict[Kind, dict[str, Resource]] = defaultdict(dict)

    def put(self, kind: Kind, sid: str, resource: Resource | None) -> None:
        """Store `resource`, or delete it."""
        if resource is None:
            self._resources[kind].pop(sid, None)
        else:
            self._resources[kind][sid] = resource

    def get(self, kind: Kind, sid: str) -> Resource | None:
        """The resource `sid`."""
        return self._resources[kind].get(sid)

    def all(self, kind: Kind) -> list[Resource]:
        """Every resource of the kind, oldest first."""
        return list(self._resources[kind].values())

    def pool(self, service_sid: str, kind: Kind) -> list[Resource]:
        """The senders of this kind in a service."""
        members = self._resources[Kind.POOL].items()
        sids = {sid for sid, each in members if each["service_sid"] == service_sid}
        return [each for each in self.all(kind) if each["sid"] in sids]

    def webhook_for(self, to: str, *, default: str | None) -> Webhook:
        """The webhook for messages to our sender `to`; `default` where no URL was configured."""
        found = self._sender(to)
        if found is None:
            return Webhook(default or "")
        membership = self.get(Kind.POOL, found["sid"])
        service_sid = None if membership is None else membership["service_sid"]
        service = None if service_sid is None else self.get(Kind.SERVICES, service_sid)
        if service is not None and not service["use_inbound_webhook_on_number"]:
            method = service["inbound_method"]
            return Webhook(_or(service["inbound_request_url"], default), method, service_sid)
        if (application_sid := found.get("sms_application_sid")) is not None:
            found = self.get(Kind.APPLICATIONS, application_sid) or found
        if "webhook" in found:
            hook = found["webhook"]
            return Webhook(_or(hook["callback_url"], default), hook["callback_method"], service_sid)
        return Webhook(_or(found["sms_url"], default), found["sms_method"], service_sid)

    def _sender(self, address: str) -> Resource | None:
        named = "sender_id" if channel_of(address) else "short_code"
        kind = Kind.SENDERS if channel_of(address) else Kind.SHORT_CODES
        if address.startswith("+"):
            named, kind = "phone_number", Kind.NUMBERS
        return next((each for each in self.all(kind) if each[named] == address), None)


def _or(url: str | None, default: str | None) -> str:
    return (default or "") if url is None else url


def number(address: str) -> Resource | None:
    """The number `address` as it is before anything is configured; None if it is not ours."""
    if not is_e164(address) or sender_error(address, strict=False) is not None:
        return None
    return {"sid": _sid("PN", address), "phone_number": address, **_SMS}


def short_code(address: str) -> Resource | None:
    """The short code `address`, likewise."""
    if not is_short_code(address):
        return None
    return {"sid": _sid("SC", address), "short_code": address, **_SMS}


def service(sid: str) -> Resource:
    """The Messaging Service `sid`, likewise."""
    return {
        "sid": sid,
        "friendly_name": "",
        "inbound_request_url": None,
        "inbound_method": "POST",
        "fallback_url": None,
        "fallback_method": "POST",
        "use_inbound_webhook_on_number": False,
    }


_SMS = {
    "friendly_name": "",
    "sms_url": None,
    "sms_method": "POST",
    "sms_fallback_url": "",
    "sms_fallback_method": "POST",
    "sms_application_sid": None,
}


def application(sid: str) -> Resource:
    """The application `sid`, likewise."""
    return {"sid": sid, **_SMS, "sms_url": ""}


def _sid(prefix: str, address: str) -> str:
    """The same for the same address, so that it needs no storing."""
    return prefix + md5(address.encode(), usedforsecurity=False).hexdigest()
