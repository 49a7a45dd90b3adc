"""The doctor's check of inbound URLs: the official SDK, and the sandbox in Twilio's place."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from twilio.rest import Client
from twilio.rest.messaging.v2.channels_sender import ChannelsSenderList
from twilio.rest.webhooks.v1.rule import RuleList
from twilio.rest.webhooks.v1.setting import SettingList

from devtools.sandbox.accounts import DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN
from devtools.sandbox.client import SandboxControl
from signedfor.checks import Finding, Level
from signedfor.checks.inbound_url import check_inbound_urls
from signedfor.masks import masked_sender
from signedfor.settings import Settings
from tests.devtools.sandbox.support import running_sandbox
from tests.devtools.sandbox.test_configuration import everywhere, number_sid, pool
from tests.signedfor.checks.test_services import Answers, answering

PUBLIC = "https://hooks.example.com/sms"
INBOUND = PUBLIC + "/webhook/inbound"
RIGHT = INBOUND + "#rc=5&rp=all&rt=5000"
CODE = "72345"
WHATSAPP = "whatsapp:+15005550126"
SERVICE = "MG" + "d" * 32


@pytest.fixture(scope="module")
def sandbox() -> Iterator[str]:
    """A sandbox for these tests: its base URL."""
    with running_sandbox() as (url, _):
        yield url


_numbers = count(3000)


@pytest.fixture
def number() -> str:
    """A number of ours that no other test uses."""
    return f"+1500555{next(_numbers)}"


@pytest.fixture
def twilio(sandbox: str) -> Client:
    """The official client, for all of Twilio's hosts."""
    return everywhere(sandbox)


def found(url: str, *senders: str, max_seconds: float = 20, **changes: object) -> list[Finding]:
    """The findings for these senders, without those of webhook rules."""
    settings = _settings(url, **changes)
    return [
        each
        for each in check_inbound_urls(settings, senders, max_seconds=max_seconds)
        if each.name == "inbound URL"
    ]


def rules_found(url: str) -> list[tuple[Level, str]]:
    """The findings of webhook rules."""
    findings = check_inbound_urls(_settings(url), [])
    return [(each.level, each.what) for each in findings if each.name == "webhook rules"]


def _settings(url: str, **changes: object) -> Settings:
    return Settings.model_validate(
        {
            "twilio_account_sid": DEFAULT_ACCOUNT_SID,
            "twilio_auth_token": DEFAULT_AUTH_TOKEN,
            "twilio_api_base_url": url,
            "public_base_url": PUBLIC,
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("url", "method", "level", "words"),
    [
        (RIGHT, "POST", "ok", "Right for +1500***"),
        (INBOUND.replace(".com", ".com:443") + "?to=us#rp=all", "POST", "ok", "Right"),
        (INBOUND, "POST", "warn", "no connection overrides"),
        (INBOUND + "#rc=5", "POST", "warn", "no connection overrides"),
        (RIGHT, "GET", "warn", "called with GET, which is answered 405"),
        ("", "POST", "warn", "No inbound URL is set"),
        (RIGHT.replace("https", "http"), "POST", "warn", "elsewhere (http://hooks.example.com)"),
        (RIGHT.replace("/sms", ""), "POST", "warn", "leads elsewhere"),
        (PUBLIC + "/webhook/inbound/", "POST", "warn", "leads elsewhere"),
        ("https://u:pass@x.example/secret?k=1", "POST", "warn", "elsewhere (https://x.example)"),
        ("https://[bad", "POST", "warn", "elsewhere (not a URL)"),
    ],
)
def test_the_url_of_a_number(  # noqa: PLR0917 - pytest passes them by name
    sandbox: str, twilio: Client, number: str, url: str, method: str, level: str, words: str
) -> None:
    """It must be ours, with POST and overrides; the finding shows neither number nor secrets."""
    twilio.incoming_phone_numbers(number_sid(twilio, number)).update(sms_url=url, sms_method=method)

    (finding,) = found(sandbox, number)

    assert (level, True) == (finding.level, words in finding.what)
    assert (level == "ok") == (finding.remedy is None)
    assert level == "ok" or f"{RIGHT} with HTTP POST" in (finding.remedy or "")
    assert not any(secret in str(finding) for secret in (number, "pass", "secret", "k=1"))


@pytest.mark.parametrize(
    ("minutes", "level", "words"),
    [(5, "warn", "up to 5 minutes later"), (0, "fail", "never heard of")],
)
def test_how_serious_it_is_depends_on_the_search_for_missed_messages(  # noqa: PLR0917 - as above
    sandbox: str, twilio: Client, number: str, minutes: int, level: str, words: str
) -> None:
    """Without the search, a STOP that Twilio sends elsewhere is never heard of."""
    twilio.incoming_phone_numbers(number_sid(twilio, number)).update(sms_url="https://x.example")

    (finding,) = found(sandbox, number, inbound_catch_up_minutes=minutes)

    assert (level, True) == (finding.level, words in finding.what)


def test_a_fallback_that_is_ours_is_called_with_post(
    sandbox: str, twilio: Client, number: str
) -> None:
    """One that leads elsewhere is the operator's business."""
    ours = twilio.incoming_phone_numbers(number_sid(twilio, number))
    levels = []
    for url, method in (("https://x.example", "GET"), (RIGHT, "POST"), (RIGHT, "GET")):
        ours.update(sms_url=RIGHT, sms_fallback_url=url, sms_fallback_method=method)
        (finding,) = found(sandbox, number)
        levels.append(finding.level)

    assert ["ok", "ok", "warn"] == levels
    assert "fallback URL is called with GET" in finding.what


def test_a_number_in_a_service_has_the_services_url(
    sandbox: str, twilio: Client, number: str
) -> None:
    """Its own counts only if the service leaves it to its numbers."""
    twilio.incoming_phone_numbers(number_sid(twilio, number)).update(sms_url="https://x.example")
    sid = pool(twilio, number, inbound_request_url=RIGHT)

    before = found(sandbox, number, sid)
    twilio.messaging.v1.services(sid).update(use_inbound_webhook_on_number=True)
    after = found(sandbox, number, sid)

    assert ["ok"] == [each.level for each in before]
    assert [
        f"{masked_sender(number)}, {sid}: The inbound URL leads elsewhere (https://x.example)."
    ] == [each.what.partition(" A STOP")[0] for each in after]


def test_a_service_without_a_url_loses_messages(sandbox: str, twilio: Client) -> None:
    """Twilio does not list them either, so this fails."""
    sid = pool(twilio)

    (finding,) = found(sandbox, sid)

    assert "fail" == finding.level
    assert "Twilio drops messages" in finding.what
    assert "Messaging Service" in (finding.remedy or "")


def test_an_application_takes_the_place_of_the_numbers_url(
    sandbox: str, twilio: Client, number: str
) -> None:
    """The remedy names it."""
    application = twilio.applications.create(sms_url=INBOUND)
    twilio.incoming_phone_numbers(number_sid(twilio, number)).update(
        sms_url=RIGHT, sms_application_sid=application.sid or ""
    )

    (finding,) = found(sandbox, number)

    assert "warn" == finding.level
    assert "TwiML app" in (finding.remedy or "")


def test_short_codes_and_channel_senders(sandbox: str, twilio: Client) -> None:
    """Each kind of sender has a list of its own; a name receives nothing."""
    (code,) = twilio.short_codes.list(short_code=CODE)
    code.update(sms_url=RIGHT)
    twilio.messaging.v2.channels_senders.create(
        ChannelsSenderList.MessagingV2ChannelsSenderRequestsCreate(
            {"sender_id": WHATSAPP, "webhook": {"callback_url": RIGHT}}
        )
    )

    assert ["ok"] == [each.level for each in found(sandbox, CODE, WHATSAPP, "Acme")]


def test_senders_that_cannot_be_read_are_said(sandbox: str, twilio: Client, number: str) -> None:
    """Each with the reason; the others are checked."""
    twilio.incoming_phone_numbers(number_sid(twilio, number)).update(sms_url=RIGHT)

    findings = found(sandbox, "+15005550007", number, "messenger:123", "whatsapp:+15005550199")

    assert [
        "Not checked: +1500***0007: the account does not have this number.",
        "Not checked: messenger:123: Twilio's API does not tell the URL of messenger senders.",
        "Not checked: whatsapp:+1500***0199: the account does not have this sender.",
    ] == [each.what for each in findings]


@pytest.mark.parametrize("senders", [(), ("Acme",)])
def test_without_a_sender_there_is_nothing_to_check(sandbox: str, senders: tuple[str, ...]) -> None:
    """The finding says so; a name receives nothing."""
    (finding,) = found(sandbox, *senders)

    assert ("skipped", True) == (finding.level, "DEFAULT_SENDER" in finding.what)


def test_senders_with_the_same_problem_share_a_finding(sandbox: str) -> None:
    """It names the first of them."""
    with SandboxControl(sandbox) as control:
        control.settings(inbound_url=INBOUND)
    numbers = [f"+1500555{number:04d}" for number in range(200, 207)]

    (finding,) = found(sandbox, *numbers)

    assert finding.what.startswith("+1500***0200, +1500***0201, ")
    assert "+1500***0204 and 2 more: The inbound URL has no connection overrides" in finding.what


def test_the_time_is_limited(sandbox: str, number: str) -> None:
    """What was not checked in time is said."""
    (finding,) = found(sandbox, number, CODE, max_seconds=-1)

    assert ("skipped", f"Not checked: {masked_sender(number)}, {CODE}: it took too long.") == (
        finding.level,
        finding.what,
    )


PERMISSION: Answers = {
    path: (403, {"code": 70051, "message": "no permission for +15005550123"})
    for path in ("/v1/Services", "/v1/Webhooks/Rules", f"/v1/Services/{SERVICE}")
}


def test_missing_permissions_are_said() -> None:
    """A restricted API key may not read them; Twilio's text is not repeated."""
    with answering(PERMISSION) as url:
        findings = check_inbound_urls(_settings(url), ["+15005550123", SERVICE])

    assert {"skipped"} == {each.level for each in findings}
    assert ["inbound URL", "webhook rules"] == [each.name for each in findings]
    assert all("may not read it" in each.what and "HTTP 403" in each.what for each in findings)
    assert "+15005550123" not in str(findings)


def test_twilio_out_of_reach() -> None:
    """Nothing is said of the senders."""
    findings = check_inbound_urls(_settings("http://127.0.0.1:9"), ["+15005550123"])

    assert {"skipped"} == {each.level for each in findings}
    assert all("could not be asked" in each.what for each in findings)


@pytest.fixture
def without_rules(twilio: Client) -> Iterator[None]:
    """Delete the test's rules."""
    yield
    for each in twilio.webhooks.v1.rules.list():
        twilio.webhooks.v1.rules(each.id or "").delete()


def rule(twilio: Client, setting: dict[str, Any], **match: str) -> None:
    """Create a rule with a setting of its own."""
    twilio.webhooks.v1.settings.create(SettingList.PostSetting(setting))
    newest = twilio.webhooks.v1.settings.list()[-1]
    reference = {"settingId": newest.id, "percentage": 100}
    twilio.webhooks.v1.rules.create(RuleList.PostRule({"settings": [reference], **match}))


RETRIES = {"connection": {"retryPolicy": {"retryCount": 3, "retryOn": ["ALL"]}}}
NO_RETRIES: dict[str, Any] = {"connection": {"connectTimeoutMs": 1000}}
PREFIX = {"matchType": "PREFIX_MATCH", "prefix": PUBLIC + "/"}
DEFAULT = {"matchType": "DEFAULT"}


@pytest.mark.usefixtures("without_rules")
@pytest.mark.parametrize(
    ("rules", "level", "words"),
    [
        ([], "ok", "None applies"),
        ([(NO_RETRIES, {**PREFIX, "prefix": "https://x.example/"})], "ok", "None applies"),
        ([(RETRIES, PREFIX)], "ok", "lets Twilio try again"),
        ([(NO_RETRIES, PREFIX)], "warn", "instead of its connection overrides"),
        ([(NO_RETRIES, DEFAULT)], "warn", "instead of its connection overrides"),
        ([(NO_RETRIES, DEFAULT), (RETRIES, PREFIX)], "ok", "lets Twilio try again"),
        (
            [(RETRIES, PREFIX), (NO_RETRIES, {**PREFIX, "prefix": PUBLIC + "/webhook/"})],
            "warn",
            "instead of",
        ),
        (
            [(RETRIES, PREFIX), (NO_RETRIES, {"matchType": "EXACT_MATCH", "value": INBOUND})],
            "warn",
            "instead of",
        ),
        (
            [({"connection": {"retryPolicy": {"retryCount": 1, "retryOn": ["HTTP_4XX"]}}}, PREFIX)],
            "warn",
            "instead of",
        ),
        ([({**RETRIES, "signature": {"type": "SHARED_KEY"}}, PREFIX)], "fail", "shared key"),
    ],
)
def test_webhook_rules(
    sandbox: str,
    twilio: Client,
    rules: list[tuple[dict[str, Any], dict[str, str]]],
    level: str,
    words: str,
) -> None:
    """Twilio applies the exact rule, else the longest prefix, else the default."""
    for setting, match in rules:
        rule(twilio, setting, **match)

    ((found_level, what),) = rules_found(sandbox)

    assert (level, True) == (found_level, words in what)
