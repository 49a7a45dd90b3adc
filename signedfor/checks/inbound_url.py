"""Where Twilio sends the inbound messages of each sender, and how it repeats webhooks."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from twilio.rest.api.v2010.account.application import ApplicationInstance
from twilio.rest.api.v2010.account.incoming_phone_number import IncomingPhoneNumberInstance
from twilio.rest.api.v2010.account.short_code import ShortCodeInstance
from twilio.rest.messaging.v1.service import ServiceInstance
from twilio.rest.webhooks.v1.rule import RuleInstance

from signedfor.checks import Finding, Level, fail, ok, skipped, warn
from signedfor.checks.twilio import NO_ACCESS, twilio_client
from signedfor.contract import INBOUND_PATH, STATUS_PATH
from signedfor.masks import masked_sender
from signedfor.settings import Settings
from signedfor.twilio.client import TWILIO_ERRORS, TwilioClient, http_status_of
from signedfor.twilio.messaging_services import MessagingServices, TooManyServices
from signedfor.twilio.overrides import OVERRIDES, repeats_failures
from signedfor.twilio.phone import channel_of, is_messaging_service

INBOUND_URL: Final = "inbound URL"
WEBHOOK_RULES: Final = "webhook rules"

MAX_SECONDS: Final = 20.0
"""For all senders together; each takes one to three requests, and the services' lists theirs."""
_SHOWN = 5
"""Senders that a finding names."""
_PAGE_SIZE = 100
# Of the SDK, of `requests`, and for an answer that is not Twilio's JSON.
_ERRORS = (*TWILIO_ERRORS, LookupError, TypeError, AttributeError)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_RETRIED_ON = {"HTTP_5XX", "CONNECTION_TIMEOUT", "READ_TIMEOUT"}


def check_inbound_urls(
    settings: Settings, senders: Iterable[str], *, max_seconds: float = MAX_SECONDS
) -> list[Finding]:
    """Ask Twilio for the inbound URL of each sender, and for webhook rules that match our URLs."""
    client = twilio_client(settings)
    ends_at = time.monotonic() + max_seconds
    return [
        *_InboundUrls(settings, client, ends_at=ends_at).check(senders),
        *_check_rules(settings, client),
    ]


class _OutOfTime(Exception):
    """The senders that are left are not checked."""


class _NotReadable(Exception):
    """The text says why Twilio's API does not tell a sender's URL."""


@dataclass(frozen=True, kw_only=True)
class _Webhook:
    """What is configured in Twilio for an inbound message."""

    url: str
    method: str
    where: str
    """Where in Twilio it is set, for the remedy."""
    fallback_url: str
    """Called instead, once the attempts at `url` have failed."""
    fallback_method: str
    is_needed_for_the_list: bool = False
    """Whether Twilio drops messages, and does not list them either, without a URL."""


@dataclass(frozen=True, kw_only=True)
class _Problem:
    """What is wrong with a sender's webhook; senders with the same problem share a finding."""

    level: Level
    what: str
    remedy: str


class _InboundUrls:
    """The check of all senders, which reads what they share once."""

    def __init__(self, settings: Settings, client: TwilioClient, *, ends_at: float) -> None:
        self._settings = settings
        self._client = client
        self._ends_at = ends_at
        self._expected = settings.public_base_url + INBOUND_PATH
        self._services = MessagingServices(client, progress=self._check_time)
        self._channel_senders: dict[str, dict[str, Any]] = {}

    def check(self, senders: Iterable[str]) -> list[Finding]:
        """One finding for each problem, or one that says that there is none."""
        problems: dict[_Problem, list[str]] = defaultdict(list)
        unreadable: dict[str, list[str]] = defaultdict(list)
        known = [each for each in dict.fromkeys(senders) if _can_be_answered(each)]
        unchecked: list[str] = []
        for index, sender in enumerate(known):
            try:
                for each in self._problems_of(sender):
                    problems[each].append(sender)
            except _OutOfTime:
                unchecked = known[index:]
                break
            except (_NotReadable, *_ERRORS) as error:
                unreadable[_reason(error)].append(sender)
        if not known:
            return [
                skipped(
                    INBOUND_URL, "no sender that people can answer is known; set DEFAULT_SENDER"
                )
            ]
        findings = [
            Finding(
                name=INBOUND_URL,
                level=problem.level,
                what=f"{_named(of)}: {problem.what}",
                remedy=problem.remedy,
            )
            for problem, of in problems.items()
        ]
        findings += [skipped(INBOUND_URL, f"{_named(of)}: {why}") for why, of in unreadable.items()]
        if unchecked:
            findings.append(skipped(INBOUND_URL, f"{_named(unchecked)}: it took too long"))
        return findings or [ok(INBOUND_URL, f"Right for {_named(known)}.")]

    def _problems_of(self, sender: str) -> Iterator[_Problem]:
        for webhook in self._webhooks_of(sender):
            problem = self._problem(webhook)
            if problem is not None:
                yield problem

    def _problem(self, webhook: _Webhook) -> _Problem | None:
        url, _, fragment = webhook.url.partition("#")
        here = f"Set it to {self._expected}#{OVERRIDES} with HTTP POST: {webhook.where}."
        if not url:
            if webhook.is_needed_for_the_list:
                what = "No inbound URL is set, so Twilio drops messages from people."
                return _Problem(level=Level.FAIL, what=what, remedy=here)
            return self._unheard("No inbound URL is set.", here)
        if not _is_same(url, self._expected):
            return self._unheard(f"The inbound URL leads elsewhere ({_host(url)}).", here)
        if webhook.method.upper() != "POST":
            return self._unheard(
                f"The inbound URL is called with {webhook.method}, which is answered 405.", here
            )
        if not repeats_failures(fragment):
            return _Problem(
                level=Level.WARN,
                what="The inbound URL has no connection overrides that let Twilio try again after "
                "a failure.",
                remedy=here,
            )
        # Any other fallback is the operator's business.
        fallback = webhook.fallback_url.partition("#")[0]
        if _is_same(fallback, self._expected) and webhook.fallback_method.upper() != "POST":
            return _Problem(
                level=Level.WARN,
                what=f"The fallback URL is called with {webhook.fallback_method}, which is "
                "answered 405.",
                remedy=f"Set its HTTP method to POST: {webhook.where}.",
            )
        return None

    def _unheard(self, what: str, remedy: str) -> _Problem:
        """A STOP reaches us by the list of messages only, if at all."""
        minutes = self._settings.inbound_catch_up_minutes
        if minutes == 0:
            what += " A STOP is never heard of, as INBOUND_CATCH_UP_MINUTES is 0."
            return _Problem(level=Level.FAIL, what=what, remedy=remedy)
        what += f" A STOP is heard of up to {minutes} minutes later, from Twilio's list."
        return _Problem(level=Level.WARN, what=what, remedy=remedy)

    def _webhooks_of(self, sender: str) -> Iterator[_Webhook]:
        """The webhooks for `sender`; several for a service that leaves it to its numbers."""
        self._check_time()
        if is_messaging_service(sender):
            service = self._client.messaging.v1.services(sender).fetch()
            yield from self._of_service(service)
            return
        service_of_it = self._service_of(sender)
        if service_of_it is not None and not service_of_it.use_inbound_webhook_on_number:
            yield _of_service(service_of_it)
        else:
            yield self._of_sender(sender)

    def _service_of(self, sender: str) -> ServiceInstance | None:
        try:
            return self._services.service_of(sender)
        except TooManyServices:
            raise _NotReadable("the account has too many Messaging Services to search") from None

    def _of_service(self, service: ServiceInstance) -> Iterator[_Webhook]:
        if not service.use_inbound_webhook_on_number:
            yield _of_service(service)
            return
        for number in service.phone_numbers.stream(page_size=_PAGE_SIZE):
            yield self._of_sender(number.phone_number or "")
        for code in service.short_codes.stream(page_size=_PAGE_SIZE):
            yield self._of_sender(code.short_code or "")
        for each in service.channel_senders.stream(page_size=_PAGE_SIZE):
            yield self._of_sender(each.sender or "")

    def _of_sender(self, sender: str) -> _Webhook:
        self._check_time()
        if channel_of(sender):
            return self._of_channel_sender(sender)
        if sender.startswith("+"):
            numbers = self._client.incoming_phone_numbers.list(phone_number=sender, limit=1)
            if not numbers:
                raise _NotReadable("the account does not have this number")
            if numbers[0].sms_application_sid:
                return self._of_application(numbers[0].sms_application_sid)
            return _of_resource(
                numbers[0], 'in the Twilio console, at the number, "A message comes in"'
            )
        codes = self._client.short_codes.list(short_code=sender, limit=1)
        if not codes:
            raise _NotReadable("the account does not have this short code")
        return _of_resource(
            codes[0], 'in the Twilio console, at the short code, "A message comes in"'
        )

    def _of_application(self, sid: str) -> _Webhook:
        return _of_resource(
            self._client.applications(sid).fetch(),
            "in the Twilio console, at the TwiML app that the number uses",
        )

    def _of_channel_sender(self, sender: str) -> _Webhook:
        channel = channel_of(sender)
        if channel not in {"whatsapp", "rcs"}:
            raise _NotReadable(f"Twilio's API does not tell the URL of {channel} senders")
        hooks = self._channel_senders.get(channel)
        if hooks is None:
            hooks = {}
            for each in self._client.messaging.v2.channels_senders.stream(
                channel=channel, page_size=_PAGE_SIZE
            ):
                self._check_time()
                hooks[each.sender_id or ""] = each.webhook
            self._channel_senders[channel] = hooks
        if sender not in hooks:
            raise _NotReadable("the account does not have this sender")
        hook = hooks[sender] or {}
        return _Webhook(
            url=hook.get("callback_url") or "",
            method=hook.get("callback_method") or "POST",
            fallback_url=hook.get("fallback_url") or "",
            fallback_method=hook.get("fallback_method") or "POST",
            where='in the Twilio console, at the sender, "Webhook URL for incoming messages"',
        )

    def _check_time(self) -> None:
        if time.monotonic() > self._ends_at:
            raise _OutOfTime


def _can_be_answered(sender: str) -> bool:
    """Whether it can receive messages; a name cannot."""
    is_number = sender.startswith("+") or sender.isdecimal()
    return is_number or bool(channel_of(sender)) or is_messaging_service(sender)


def _of_service(service: ServiceInstance) -> _Webhook:
    return _Webhook(
        url=service.inbound_request_url or "",
        method=service.inbound_method or "POST",
        fallback_url=service.fallback_url or "",
        fallback_method=service.fallback_method or "POST",
        where='in the Twilio console, at the Messaging Service, Integration, "Send a webhook"',
        is_needed_for_the_list=True,
    )


def _of_resource(
    resource: IncomingPhoneNumberInstance | ShortCodeInstance | ApplicationInstance, where: str
) -> _Webhook:
    return _Webhook(
        url=resource.sms_url or "",
        method=resource.sms_method or "POST",
        fallback_url=resource.sms_fallback_url or "",
        fallback_method=resource.sms_fallback_method or "POST",
        where=where,
    )


def _is_same(url: str, expected: str) -> bool:
    """Whether both call the same; a query is no difference, as the signature covers it."""
    return _place(url) == _place(expected)


def _place(url: str) -> tuple[object, ...] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    return parts.scheme, parts.hostname, port, parts.path


def _host(url: str) -> str:
    """The scheme and host of another's URL: the rest may be a secret."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "not a URL"
    return f"{parts.scheme}://{parts.hostname}" if parts.hostname else "not a URL"


def _named(senders: list[str]) -> str:
    shown = ", ".join(masked_sender(each) for each in senders[:_SHOWN])
    more = len(senders) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _reason(error: Exception) -> str:
    if isinstance(error, _NotReadable):
        return str(error)
    status = http_status_of(error)
    if status in NO_ACCESS:
        return f"the credentials may not read it, or it is not the account's (HTTP {status})"
    if status is not None:
        return f"Twilio answers HTTP {status}"
    return f"Twilio could not be asked ({type(error).__name__})"


def _check_rules(settings: Settings, client: TwilioClient) -> list[Finding]:
    """Whether a rule of Twilio's Webhooks API takes the place of our URLs' connection overrides."""
    urls = [settings.public_base_url + path for path in (INBOUND_PATH, STATUS_PATH)]
    try:
        rules = client.webhooks.v1.rules.list(page_size=_PAGE_SIZE)
        matching = [rule for url in urls if (rule := _matching(rules, url)) is not None]
        chosen = {each["settingId"] for rule in matching for each in rule.settings or []}
        applied = [client.webhooks.v1.settings(each).fetch() for each in sorted(chosen)]
        has_keys = bool(settings.twilio_webhook_shared_keys)
        found = [_problem_with(each, has_keys=has_keys) for each in applied]
        findings = [each for each in found if each is not None]
    except _ERRORS as error:
        return [skipped(WEBHOOK_RULES, _reason(error))]
    if matching and not findings:
        return [ok(WEBHOOK_RULES, "One applies to the webhook, and lets Twilio try again.")]
    return findings or [ok(WEBHOOK_RULES, "None applies to the webhook.")]


def _matching(rules: list[RuleInstance], url: str) -> RuleInstance | None:
    """The rule that Twilio applies to `url`: the exact one, the longest prefix, or the default."""
    prefixes = []
    default = None
    for each in rules:
        if each.match_type == "EXACT_MATCH" and each.value == url:
            return each
        if each.match_type == "PREFIX_MATCH" and each.prefix and url.startswith(each.prefix):
            prefixes.append(each)
        if each.match_type == "DEFAULT":
            default = each
    return max(prefixes, key=lambda each: len(each.prefix or ""), default=default)


def _problem_with(setting: Any, *, has_keys: bool) -> Finding | None:
    """What the setting of a matching rule breaks. The SDK has its JSON as it is."""
    if setting.signature and not has_keys:
        return fail(
            WEBHOOK_RULES,
            "One applies to the webhook and signs with a shared key, which the webhook refuses.",
            "Set TWILIO_WEBHOOK_SHARED_KEYS, or remove the signature from the rule's setting, with "
            "Twilio's Webhooks API.",
        )
    retries = (setting.connection or {}).get("retryPolicy") or {}
    kinds = set(retries.get("retryOn") or ())
    if retries.get("retryCount", 0) > 0 and ("ALL" in kinds or kinds >= _RETRIED_ON):
        return None
    return warn(
        WEBHOOK_RULES,
        "One applies to the webhook instead of its connection overrides, and does not let Twilio "
        "try again after every failure.",
        'Give the rule\'s setting "retryPolicy": {"retryCount": 5, "retryOn": ["ALL"]}, or delete '
        "the rule, with Twilio's Webhooks API.",
    )
