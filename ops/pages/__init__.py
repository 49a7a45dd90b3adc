"""The pages, in the order of the navigation."""

from ops.pages import audit_log, messages, senders, sign_in
from ops.web import Pages

PAGES: tuple[Pages, ...] = (messages.pages, senders.pages, audit_log.pages, sign_in.pages)
