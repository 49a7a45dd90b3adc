"""Messages that Twilio refuses: one scenario for each terminal failure class."""

from signedfor.contract.failures import RETRYABLE, FailureClass
from tests.histories.recording import Handle, Play
from tests.workflows.fakes import REQUEST, TimeSkippingEnvironment, failure

_CODES = {
    FailureClass.RECIPIENT_OPTED_OUT: 21610,
    FailureClass.RECIPIENT_UNREACHABLE: 21614,
    FailureClass.SENDER_MISCONFIGURED: 21408,
    FailureClass.CONTENT_REJECTED: 21617,
}


_OTHERWISE = {FailureClass.OUTCOME_UNKNOWN, FailureClass.LIMIT_REACHED, FailureClass.DUPLICATE}
"""What the send activity does not fail with, or not like this."""


def _refused(failure_class: FailureClass) -> Play:
    async def play(env: TimeSkippingEnvironment) -> Handle:
        env.fakes.sends = [failure(failure_class, code=_CODES.get(failure_class))]
        return await env.start({**REQUEST, "tenant": "shop"})

    return play


TERMINAL: dict[str, Play] = {
    f"refused_as_{failure_class.name.lower()}": _refused(failure_class)
    for failure_class in sorted(set(FailureClass) - RETRYABLE - _OTHERWISE)
}
"""Scenarios by name."""
