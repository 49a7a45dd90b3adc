"""The two accounts of the sandbox, and their authentication."""

from base64 import b64encode
from dataclasses import dataclass

from devtools.sandbox.errors import TwilioError

DEFAULT_ACCOUNT_SID = "AC" + "5a" * 16
"""The ordinary account, when TWILIO_ACCOUNT_SID does not name another."""
DEFAULT_AUTH_TOKEN = "sandbox-auth-token"  # noqa: S105 - the documented token of a local tool
"""The ordinary account's token, which signs callbacks, when TWILIO_AUTH_TOKEN is not set."""

TEST_ACCOUNT_SID = "AC" + "7e" * 16
"""Simulates Twilio's test credentials: strict magic numbers, nothing advances, no callbacks."""
TEST_AUTH_TOKEN = "sandbox-test-token"  # noqa: S105 - the documented token of a local tool


@dataclass(frozen=True, slots=True)
class Account:
    """One account: its id, its token, its API key, and whether it is the test account."""

    sid: str
    auth_token: str
    test_credentials: bool = False
    api_key: tuple[str, str] | None = None
    """Its SID and its secret."""

    @property
    def basic_auth(self) -> tuple[str, ...]:
        """The `Authorization` headers of this account."""
        pairs = ((self.sid, self.auth_token), *([self.api_key] if self.api_key else []))
        return tuple("Basic " + b64encode(":".join(each).encode()).decode() for each in pairs)


class Accounts:
    """The ordinary account and the test account, found by `Authorization` header."""

    def __init__(self, ordinary: Account) -> None:
        self.ordinary = ordinary
        self.test = Account(TEST_ACCOUNT_SID, TEST_AUTH_TOKEN, test_credentials=True)
        self._by_header = {
            header: account for account in (self.test, ordinary) for header in account.basic_auth
        }

    def authenticate(self, authorization: str | None, *, account_sid: str, path: str) -> Account:
        """Return the account of `authorization`; raises 20003, or 20404 for another's path."""
        account = self._by_header.get(authorization or "")
        if account is None:
            raise TwilioError(20003)
        if account.sid != account_sid:
            raise TwilioError(20404, path=path)
        return account
