"""From settings to parts: the activities with their clients, and the worker's version."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import WorkerDeploymentConfig

from activities.admit import Admissions
from activities.campaigns import CampaignFeed
from activities.inbound import Inbound
from activities.look_up import TwilioLookUps
from activities.record import Records
from activities.search import TwilioSearch
from activities.send import TwilioSends
from signedfor.settings import Settings
from signedfor.steps import Terms
from signedfor.store.campaigns import Campaigns
from signedfor.store.inbound import InboundMessages, Watermarks
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import SendAttempts
from signedfor.store.suppressions import Suppressions
from signedfor.twilio.client import TwilioClient


@dataclass(frozen=True, kw_only=True)
class Activities:
    """The activities of each queue."""

    messages: Sequence[Callable[..., Any]]
    twilio_sends: Sequence[Callable[..., Any]]


def activities(settings: Settings, *, engine: Engine, client: Client) -> Activities:
    """Every activity, as `settings` say."""
    suppressions = Suppressions(engine)
    pacing = RateLimiter(engine, rates=settings.default_rates)
    send_attempts = SendAttempts(engine, pacing)
    twilio = twilio_client(settings)
    inbound = Inbound(
        InboundMessages(engine, scope=settings.opt_out_scope),
        watermarks=Watermarks(engine),
        twilio=twilio,
    )
    campaigns = Campaigns(engine)
    admissions = Admissions(
        suppressions,
        pacing,
        campaigns,
        default_sender=settings.default_sender,
        terms=terms(settings),
    )
    feed = CampaignFeed(campaigns, pacing, client)
    return Activities(
        messages=[
            admissions.admit,
            admissions.await_release,
            admissions.give_back,
            admissions.check_window,
            Records(suppressions, opt_out_scope=settings.opt_out_scope).record_suppression,
            TwilioLookUps(twilio).look_up,
            TwilioSearch(twilio, send_attempts, client).search,
            inbound.record_inbound,
            inbound.catch_up_inbound,
            feed.open_campaign,
            feed.hand_over,
            feed.set_campaign_state,
            feed.count_messages,
            feed.count_outcomes,
        ],
        twilio_sends=[
            TwilioSends(
                twilio, suppressions, send_attempts, public_base_url=settings.public_base_url
            ).send
        ],
    )


def terms(settings: Settings) -> Terms:
    """The settings that rule each message."""
    return Terms(
        receipt_checks=tuple(timedelta(seconds=s) for s in settings.receipt_check_seconds),
        retry_budget=settings.send_retry_budget,
        unknown_wait=timedelta(seconds=settings.unknown_wait_seconds),
        letter_hold=timedelta(days=settings.dead_letter_hold_days),
    )


def twilio_client(settings: Settings) -> TwilioClient:
    """The Twilio client that `settings` describe: an API key if there is one, else the token."""
    key, secret = settings.twilio_api_key_sid, settings.twilio_api_key_secret
    return TwilioClient(
        account_sid=settings.twilio_account_sid,
        username=key or settings.twilio_account_sid,
        password=(secret or settings.twilio_auth_token).get_secret_value(),
        connections=settings.max_concurrent_sends,
        base_url=settings.twilio_api_base_url,
        edge=settings.twilio_edge,
        region=settings.twilio_region,
    )


def deployment(settings: Settings) -> WorkerDeploymentConfig | None:
    """Which version of which Worker Deployment this is; None without Worker Versioning.

    A workflow stays on the version that it began on, unless its definition says otherwise.
    """
    if settings.deployment_name is None or settings.build_id is None:
        return None
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(
            deployment_name=settings.deployment_name, build_id=settings.build_id
        ),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.PINNED,
    )
