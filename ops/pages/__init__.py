"""The pages, in the order of the navigation."""

from ops.pages import (
    audit_log,
    campaign_start,
    campaigns,
    dead_letters,
    messages,
    now,
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
    audit_log.pages,
    sign_in.pages,
)
