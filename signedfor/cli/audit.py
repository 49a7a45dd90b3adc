"""Actions of the command line in the audit log, beside those of the operations page."""

import os
import pwd

from sqlalchemy import Connection, Engine

from signedfor.cli.environment import field_and_problem
from signedfor.cli.options import operator
from signedfor.cli.output import BadInput
from signedfor.consent import MAX_CHANGED_BY, check_text
from signedfor.store.audit_log import AuditLog

_ROLE = "command line"
_MAX_USER = 80


def record(
    engine: Engine,
    action: str,
    subject: str = "",
    *,
    recipient: str | None = None,
    why: str | None = None,
    details: str | None = None,
    by: str | None = None,
    connection: Connection | None = None,
) -> None:
    """Write in the audit log what the command is about to do.

    Who it was is the operating system's user, whatever `--by` says, which is in the details.
    """
    named = None if by is None else f"--by {by}"
    AuditLog(engine).add(
        who=os_user()[:_MAX_USER],
        role=_ROLE,
        action=action,
        subject=subject,
        why=why,
        details="; ".join(filter(None, (details, named))) or None,
        recipient=recipient,
        connection=connection,
    )


def changed_by(by: str | None) -> str:
    """The name in the history of what changes: that of `--by`, or the user's.

    Raises:
        BadInput: it cannot be stored.
    """
    name = operator(by)
    try:
        check_text("--by", name, max_length=MAX_CHANGED_BY, required=True)
    except ValueError as error:
        raise BadInput([field_and_problem(error)]) from None
    return name


def os_user() -> str:
    """The operating system's user that runs this process; unlike LOGNAME it cannot be chosen."""
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # a container's user need not have a name
        return f"user {number}"
