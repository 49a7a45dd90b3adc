"""The audit log: who did what, when and why."""

from typing import Final

from anyio import to_thread
from starlette.responses import Response

from ops.access import Role
from ops.web import Page, Pages

pages = Pages()
_ROWS: Final = 100
_FILTERS: Final = ("who", "action", "subject")


@pages.get("/audit-log", role=Role.LOOK)
async def audit_log(page: Page) -> Response:
    """Show the newest actions, or those of somebody, on a subject, or concerning a person."""
    filters = {name: text for name in _FILTERS if (text := page.text(name))}
    before = page.number("before")
    entries = await to_thread.run_sync(
        lambda: page.services.audit_log.entries(
            filters=filters,
            reference=page.text("person") or None,
            before=before,
            limit=_ROWS,
        )
    )
    older = entries[-1].number if len(entries) == _ROWS else None
    return page.render("audit_log.html", entries=entries, filters=filters, older=older)
