"""Which Messaging Service a sender belongs to. Twilio has no query for it, only each one's list."""

from collections.abc import Callable, Iterator
from typing import Final

from twilio.rest.messaging.v1.service import ServiceInstance

from signedfor.twilio.client import TwilioClient
from signedfor.twilio.phone import channel_of

MAX_SERVICES: Final = 500
"""Services that are read, each with one request for each kind of sender."""
_PAGE_SIZE = 100


class TooManyServices(Exception):
    """The account has more than `MAX_SERVICES`; the sender's was not among the first."""


class MessagingServices:
    """The senders of the account's Messaging Services, read as far as needed and kept.

    A sender is in one service at most, so reading ends where it is found. The methods raise what
    the SDK and `requests` raise. Not thread-safe.
    """

    def __init__(
        self,
        client: TwilioClient,
        *,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        """`progress` is called before each request, and may raise to end it."""
        self._client = client
        self._progress = progress
        self._services: list[ServiceInstance] | None = None
        self._senders = {
            read: _Senders(read) for read in (_phone_numbers, _short_codes, _channel_senders)
        }

    def service_of(self, sender: str) -> ServiceInstance | None:
        """The service that has this normalized sender; None if none has it.

        Raises:
            TooManyServices: or one that was not read may have it.
        """
        if channel_of(sender):
            read = _channel_senders
        elif sender.startswith("+"):
            read = _phone_numbers
        elif sender.isdecimal():
            read = _short_codes
        else:
            return None
        return self._find(self._senders[read], sender)

    def _find(self, senders: "_Senders", sender: str) -> ServiceInstance | None:
        services = self._all()
        # A service counts as read when its whole list is, so that a failure can be repeated.
        while sender not in senders.service and senders.read_services < len(services):
            service = services[senders.read_services]
            self._progress()
            for each in senders.read(service):
                senders.service.setdefault(each, service)
            senders.read_services += 1
        found = senders.service.get(sender)
        if found is None and len(services) >= MAX_SERVICES:
            raise TooManyServices
        return found

    def _all(self) -> list[ServiceInstance]:
        if self._services is None:
            self._progress()
            self._services = self._client.messaging.v1.services.list(
                limit=MAX_SERVICES, page_size=_PAGE_SIZE
            )
        return self._services


def _phone_numbers(service: ServiceInstance) -> Iterator[str]:
    for each in service.phone_numbers.stream(page_size=_PAGE_SIZE):
        yield each.phone_number or ""


def _short_codes(service: ServiceInstance) -> Iterator[str]:
    for each in service.short_codes.stream(page_size=_PAGE_SIZE):
        yield each.short_code or ""


def _channel_senders(service: ServiceInstance) -> Iterator[str]:
    # As "whatsapp:+15005550006".
    for each in service.channel_senders.stream(page_size=_PAGE_SIZE):
        yield each.sender or ""


class _Senders:
    """The senders of one kind, as far as they were read."""

    def __init__(self, read: Callable[[ServiceInstance], Iterator[str]]) -> None:
        self.read = read
        self.read_services = 0
        self.service: dict[str, ServiceInstance] = {}
