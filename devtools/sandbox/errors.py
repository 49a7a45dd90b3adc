"""Twilio's error bodies: code, HTTP status and the text that Twilio writes."""

from typing import Any, Final

TEXTS: Final = {
    20001: "The request has a parameter that is not valid",
    20003: "Authenticate",
    20004: "Method not allowed",
    20007: "Page size too large",
    20009: "Cannot delete this resource before it is complete",
    20404: "The requested resource {path} was not found",
    20429: "Too Many Requests",
    20500: "Internal Server Error",
    20503: "Service Unavailable",
    21211: "The 'To' number {value} is not a valid phone number.",
    21212: (
        "The 'From' number {value} is not a valid phone number, shortcode, or alphanumeric "
        "sender ID."
    ),
    21265: "'To' number cannot be a Short Code: {value}",
    21266: "'To' and 'From' number cannot be the same: {value}",
    21408: (
        "Permission to send an SMS has not been enabled for the region indicated by the 'To' "
        "number: {value}"
    ),
    21481: "Invalid PageToken",
    21602: "Message body is required.",
    21603: "A 'From' phone number is required.",
    21604: "A 'To' phone number is required.",
    21606: (
        "The From phone number {value} is not a valid, SMS-capable inbound phone number or short "
        "code for your account."
    ),
    21608: (
        "The number {value} is unverified. Trial accounts cannot send messages to unverified "
        "numbers."
    ),
    21609: "The StatusCallback URL is not a valid URL.",
    21610: "Attempt to send to unsubscribed recipient",
    21611: "SMS queue is full.",
    21612: "Message cannot be sent with the current combination of 'To' and/or 'From' parameters",
    21614: "To number: {value}, is not a mobile number",
    21617: "The concatenated message body exceeds the 1600 character limit.",
    21619: "A text message body or media urls must be specified.",
    21620: "Invalid media URL(s)",
    21623: "Number of media files exceeds allowed limit",
    21624: "The ValidityPeriod is not valid: it must be between 1 and 36000 seconds.",
    21654: "ContentSid is required when ContentVariables is given.",
    21655: "The ContentSid is not valid.",
    21656: "The ContentVariables parameter is not valid.",
    21705: "The Messaging Service Sid is not valid.",
    21910: "'From' and 'To' pair violates the gateway rules: they must be of the same channel.",
    30001: "Queue overflow",
    30003: "Unreachable destination handset",
    30004: "Message blocked",
    30005: "Unknown destination handset",
    30006: "Landline or unreachable carrier",
    30007: "Message filtered",
    30008: "Unknown error",
    30034: "Message from an Unregistered Number",
    30036: "Validity Period Expired",
    30409: "Message cannot be canceled",
    35111: "SendAt timestamp is missing",
    35114: (
        "SendAt time must be between 300 seconds and 35 days (3024000 seconds) in the future, "
        "inclusive."
    ),
    35118: "MessagingServiceSid is required to schedule a message",
    35126: "Only the ScheduleType 'fixed' is supported",
    63038: "Account exceeded the 50 daily messages limit",
}
_HTTP_STATUSES = {
    20003: 401,
    20004: 405,
    20009: 409,
    20404: 404,
    20429: 429,
    20500: 500,
    20503: 503,
    21611: 429,
    63038: 429,
}
_DETAILS = {20003: "Your AccountSid or AuthToken was incorrect."}


def http_status_for(code: int) -> int:
    """Return the HTTP status that Twilio answers with for `code` on a create."""
    return _HTTP_STATUSES.get(code, 400)


def text_for(code: int, **values: str) -> str:
    """Return Twilio's text for `code`, or a plain one for a code the sandbox has no text for."""
    known = {"code": code, "value": "", "path": "", **values}  # a scripted error has only its code
    return TEXTS.get(code, "Error {code}").format_map(known)


def error_body(code: int, *, status: int, message: str) -> dict[str, Any]:
    """Return the JSON that Twilio sends with an error."""
    body: dict[str, Any] = {
        "code": code,
        "message": message,
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }
    if code in _DETAILS:
        body["detail"] = _DETAILS[code]
    return body


class TwilioError(Exception):
    """A refusal as Twilio words it; `str()` names the code only, `body` is for the client.

    Twilio's own texts repeat the bad number, so they go to the client and nowhere else.
    """

    def __init__(self, code: int, *, status: int | None = None, **values: str) -> None:
        super().__init__(f"Twilio error {code}")
        self.code = code
        self.status = http_status_for(code) if status is None else status
        self.message = text_for(code, **values)

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body of the answer."""
        return error_body(self.code, status=self.status, message=self.message)
