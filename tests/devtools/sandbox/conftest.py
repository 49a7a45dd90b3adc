"""A real sandbox process, a real receiver of callbacks, and the official SDK between them."""

from collections.abc import Iterator

import pytest
from twilio.rest import Client

from devtools.sandbox.accounts import TEST_ACCOUNT_SID, TEST_AUTH_TOKEN
from devtools.sandbox.client import SandboxControl
from tests.devtools.sandbox.support import (
    Receiver,
    eventually,
    running_receiver,
    running_sandbox,
    twilio_client,
)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Return a receiver on a free port."""
    with running_receiver() as recorded:
        yield recorded


@pytest.fixture(scope="session")
def sandbox_url() -> Iterator[str]:
    """Return the base URL of the sandbox that all tests share."""
    with running_sandbox() as (url, _):
        yield url


@pytest.fixture
def control(sandbox_url: str) -> Iterator[SandboxControl]:
    """Return the control of the shared sandbox, after a reset."""
    with SandboxControl(sandbox_url) as control:
        control.reset()
        yield control
        control.settings(hold=False)
        eventually(lambda: _is_idle(control))


def _is_idle(control: SandboxControl) -> bool:
    """Whether the test has left nothing unfinished that the next test would see."""
    summary = control.summary()
    return summary["unfinished"] == summary["pending"] == 0


@pytest.fixture
def twilio(sandbox_url: str, control: SandboxControl) -> Client:
    """Return the official client with the ordinary account of a new sandbox."""
    assert control.health()
    return twilio_client(sandbox_url)


@pytest.fixture
def test_credentials(sandbox_url: str) -> Client:
    """Return the official client with the test credentials."""
    return twilio_client(sandbox_url, account_sid=TEST_ACCOUNT_SID, auth_token=TEST_AUTH_TOKEN)


_numbers = iter(range(10_000))


@pytest.fixture
def recipient() -> str:
    """Return a number that no other test sends to."""
    return f"+1555867{next(_numbers):04d}"
