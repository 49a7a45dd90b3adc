"""Asking Twilio what became of a message."""

from http import HTTPStatus

from temporalio.exceptions import ApplicationError
from twilio.base.exceptions import TwilioException, TwilioRestException

from activities.threads import in_thread
from signedfor.steps import LOOK_UP, LookUp, LookUpRequest
from signedfor.twilio.client import TwilioClient


class TwilioLookUps:
    """Reads messages back from Twilio; reading may be repeated freely."""

    def __init__(self, client: TwilioClient) -> None:
        self._client = client

    @in_thread(LOOK_UP)
    def look_up(self, request: LookUpRequest) -> LookUp:
        """What Twilio says of the message now.

        Raises:
            ApplicationError: `LookUpFailed`, retryable; Twilio's own text is left out because it
                may repeat a phone number.
        """
        try:
            message = self._client.messages(request.message_sid).fetch()
        except TwilioRestException as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return LookUp(status=None)
            raise ApplicationError(
                f"Twilio answered HTTP {error.status} when asked for a message.",
                type="LookUpFailed",
            ) from None
        # Every `requests` error is an OSError; the SDK's RFC 9457 error is no TwilioRestException.
        except (OSError, ValueError, TwilioException) as error:
            raise ApplicationError(
                f"Twilio could not be asked for a message ({type(error).__name__}).",
                type="LookUpFailed",
            ) from None
        return LookUp(
            status=str(message.status) if message.status else None, error_code=message.error_code
        )
