from base64 import b64encode

import pytest

from devtools.sandbox.accounts import Account, Accounts
from devtools.sandbox.errors import TwilioError

_KEY = ("SK" + "1" * 32, "a-key's-secret")
_ACCOUNT = Account("AC" + "1" * 32, "a-token", api_key=_KEY)


def _basic(username: str, password: str) -> str:
    return "Basic " + b64encode(f"{username}:{password}".encode()).decode()


def test_an_account_has_its_token_and_its_api_key() -> None:
    """Either authenticates a request; a wrong secret, or none, is refused."""
    accounts = Accounts(_ACCOUNT)

    def account(header: str | None) -> Account:
        return accounts.authenticate(header, account_sid=_ACCOUNT.sid, path="/")

    assert _ACCOUNT == account(_basic(_ACCOUNT.sid, "a-token")) == account(_basic(*_KEY))
    for header in (_basic(_KEY[0], "a-token"), _basic(_ACCOUNT.sid, _KEY[1]), None):
        with pytest.raises(TwilioError):
            account(header)
