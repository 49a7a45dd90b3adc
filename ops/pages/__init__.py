"""The pages, in the order of the navigation."""

from ops.pages import (
    audit_log,
    campaign_start,
    campaigns,
    dead_letters,
    inbound,
    messages,
    now,
    opt_outs,
    people,
    senders,
    sign_in,
)
from ops.web import Pages

PAGES: tuple[Pages, ...] = (
    now.pages,
    messages.pages,
    dead_letters.pages,
    campaigns.pages,
    campaign_start.pages,
    senders.pages,
    opt_outs.pages,
    people.pages,
    inbound.pages,
    audit_log.pages,
    sign_in.pages,
)
