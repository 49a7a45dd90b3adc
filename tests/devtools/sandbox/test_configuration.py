"""What the account has configured: senders, Messaging Services and webhook rules, by the SDK."""

import pytest
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.rest import Client
from twilio.rest.messaging.v2.channels_sender import ChannelsSenderList
from twilio.rest.webhooks.v1.rule import RuleList
from twilio.rest.webhooks.v1.setting import SettingList

from devtools.sandbox.client import SandboxControl
from tests.devtools.sandbox.support import Receiver, running_sandbox, twilio_client
from tests.devtools.sandbox.test_callbacks import is_signed

NUMBER = "+15005550123"
OTHER = "+15005550124"


@pytest.fixture
def twilio(sandbox_url: str) -> Client:
    """The official client, for all of Twilio's hosts."""
    return everywhere(sandbox_url)


def everywhere(url: str) -> Client:
    """The official client, for all of Twilio's hosts."""
    client = twilio_client(url)
    client.messaging.base_url = client.webhooks.base_url = url
    return client


def number_sid(twilio: Client, number: str = NUMBER) -> str:
    """The SID of a number."""
    (found,) = twilio.incoming_phone_numbers.list(phone_number=number)
    assert found.sid is not None
    return found.sid


def pool(twilio: Client, *numbers: str, **fields: object) -> str:
    """The SID of a new Messaging Service with these numbers."""
    service = twilio.messaging.v1.services.create(friendly_name="Parcels", **fields)
    for number in numbers:
        service.phone_numbers.create(phone_number_sid=number_sid(twilio, number))
    assert service.sid is not None
    return service.sid


def empty_pool(twilio: Client, service_sid: str) -> None:
    """Delete the service, so that other tests can use its numbers."""
    twilio.messaging.v1.services(service_sid).delete()


def test_a_number_has_the_inbound_url_of_the_settings_until_it_is_changed(
    twilio: Client, control: SandboxControl, receiver: Receiver, recipient: str
) -> None:
    """Once changed, inbound messages go there, by the number's method."""
    control.settings(inbound_url="http://127.0.0.1:9/nowhere")
    (found,) = twilio.incoming_phone_numbers.list(phone_number=NUMBER)
    assert ("http://127.0.0.1:9/nowhere", "POST") == (found.sms_url, found.sms_method)

    changed = found.update(sms_url=receiver.url + "#rc=0", sms_method="POST")
    result = control.inbound(recipient, NUMBER, "hello")

    assert receiver.url + "#rc=0" == changed.sms_url == found.fetch().sms_url
    assert 200 == result["http_status"]
    [request] = receiver.requests
    assert is_signed(request, receiver)
    found.update(sms_method="GET")
    assert 501 == control.inbound(recipient, NUMBER, "hello")["http_status"]


@pytest.mark.parametrize("number", ["+15005550007", "12345", "Acme", ""])
def test_only_numbers_that_may_send_are_the_accounts(twilio: Client, number: str) -> None:
    """Others are not in the list."""
    found = twilio.incoming_phone_numbers.list(phone_number=number)

    assert number not in {each.phone_number for each in found}


def test_a_message_to_a_number_in_a_service_goes_to_the_services_url(
    twilio: Client, control: SandboxControl, receiver: Receiver, recipient: str
) -> None:
    """The webhook is told the service; the list omits it, as Twilio's does."""
    service_sid = pool(twilio, OTHER, inbound_request_url=receiver.url)

    result = control.inbound(recipient, OTHER, "STOP")

    [request] = receiver.requests
    (listed,) = [each for each in twilio.messages.list(from_=recipient) if each.sid]
    empty_pool(twilio, service_sid)
    assert (service_sid, OTHER) == (request.form["MessagingServiceSid"], request.form["To"])
    assert (result["sid"], None) == (listed.sid, listed.messaging_service_sid)


def test_a_service_may_defer_to_its_numbers(
    twilio: Client, control: SandboxControl, receiver: Receiver, recipient: str
) -> None:
    """With UseInboundWebhookOnNumber the number's own URL is called."""
    twilio.incoming_phone_numbers(number_sid(twilio, OTHER)).update(sms_url=receiver.url)
    service_sid = pool(
        twilio,
        OTHER,
        inbound_request_url="http://127.0.0.1:9/nowhere",
        use_inbound_webhook_on_number=True,
    )

    control.inbound(recipient, OTHER, "hello")

    [request] = receiver.requests
    empty_pool(twilio, service_sid)
    assert service_sid == request.form["MessagingServiceSid"]


def test_an_application_takes_the_place_of_the_numbers_url(
    twilio: Client, control: SandboxControl, receiver: Receiver, recipient: str
) -> None:
    """As long as the number names one."""
    application = twilio.applications.create(sms_url=receiver.url)
    number = twilio.incoming_phone_numbers(number_sid(twilio, "+15005550125"))
    number.update(sms_application_sid=application.sid or "")

    control.inbound(recipient, "+15005550125", "hello")

    assert 1 == len(receiver.requests)
    assert receiver.url == twilio.applications(application.sid or "").fetch().sms_url


def test_a_sender_is_in_one_service(twilio: Client) -> None:
    """Twilio refuses a second one; a removed sender can go to another."""
    first, second = pool(twilio, NUMBER), pool(twilio)
    sid = number_sid(twilio)
    services = twilio.messaging.v1.services

    with pytest.raises(TwilioRestException) as refused:
        services(second).phone_numbers.create(phone_number_sid=sid)
    services(first).phone_numbers(sid).delete()
    services(second).phone_numbers.create(phone_number_sid=sid)

    assert (409, 21710) == (refused.value.status, refused.value.code)
    assert [] == services(first).phone_numbers.list()
    assert [NUMBER] == [each.phone_number for each in services(second).phone_numbers.list()]
    for each in (first, second):
        empty_pool(twilio, each)


def test_lists_have_pages(twilio: Client) -> None:
    """The SDK reads them to the end."""
    made = {pool(twilio) for _ in range(5)}

    listed = {each.sid for each in twilio.messaging.v1.services.stream(page_size=2)}
    for each in made:
        empty_pool(twilio, each)

    assert made <= listed


def test_senders_of_whatsapp(
    twilio: Client, control: SandboxControl, receiver: Receiver, recipient: str
) -> None:
    """Their own callback URL is called; a person may have a user id instead of a number."""
    us = "whatsapp:+15005550126"
    twilio.messaging.v2.channels_senders.create(
        ChannelsSenderList.MessagingV2ChannelsSenderRequestsCreate(
            {"sender_id": us, "webhook": {"callback_url": receiver.url}}
        )
    )

    control.inbound(f"whatsapp:{recipient}", us, "hello", user_id="whatsapp:US.1349")
    control.inbound("whatsapp:US.1350", us, "hello")

    (sender,) = twilio.messaging.v2.channels_senders.list(channel="whatsapp")
    assert (us, receiver.url) == (sender.sender_id, sender.webhook["callback_url"])  # type: ignore[index] # the SDK says text
    first, second = (each.form for each in receiver.requests)
    assert (recipient[1:], "whatsapp:US.1349") == (first["WaId"], first["ExternalUserId"])
    assert "WaId" not in second
    assert "whatsapp:US.1350" == second["From"] == second["ExternalUserId"]


def test_webhook_rules_and_their_settings(twilio: Client) -> None:
    """They are created, read by pages and deleted."""
    rules, settings = twilio.webhooks.v1.rules, twilio.webhooks.v1.settings
    settings.create(SettingList.PostSetting({"connection": {"retryPolicy": {"retryCount": 3}}}))
    (setting,) = settings.list()
    for name in ("a", "b", "c"):
        rules.create(
            RuleList.PostRule(
                {
                    "matchType": "PREFIX_MATCH",
                    "prefix": f"https://{name}.example/",
                    "settings": [{"settingId": setting.id, "percentage": 100}],
                }
            )
        )

    listed = rules.list(page_size=2)

    connection: object = settings(setting.id or "").fetch().connection  # the SDK says text
    assert {"retryPolicy": {"retryCount": 3}} == connection
    assert ["https://a.example/", "https://b.example/", "https://c.example/"] == [
        each.prefix for each in listed
    ]
    for each in listed:
        rules(each.id or "").delete()
    assert [] == rules.list()


def test_the_configuration_survives_a_restart(tmp_path: object) -> None:
    """With a journal."""
    journal = ("--journal", f"{tmp_path}/journal")
    with running_sandbox(*journal) as (url, _):
        service_sid = pool(everywhere(url), NUMBER, inbound_request_url="https://a.example/in")

    with running_sandbox(*journal) as (url, _):
        twilio = everywhere(url)
        (service,) = twilio.messaging.v1.services.list()

        assert (service_sid, "https://a.example/in") == (service.sid, service.inbound_request_url)
        assert [NUMBER] == [each.phone_number for each in service.phone_numbers.list()]


def test_wrong_credentials_and_unknown_resources_are_refused(sandbox_url: str) -> None:
    """As for messages."""
    stranger = twilio_client(sandbox_url, auth_token="wrong")
    stranger.messaging.base_url = sandbox_url
    with pytest.raises(TwilioException) as unauthorized:
        stranger.messaging.v1.services.list()
    with pytest.raises(TwilioRestException) as unknown:
        everywhere(sandbox_url).messaging.v1.services("nothing").fetch()

    assert (401, 404) == (unauthorized.value.args[1].status_code, unknown.value.status)
