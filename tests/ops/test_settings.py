"""The settings of the operations page."""

import pytest

from ops.access import Role
from ops.settings import InvalidSettings, OpsSettings, load_ops_settings
from signedfor.settings import Settings
from signedfor.twilio.rates import SenderKind

_NEEDED = {
    "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
    "TWILIO_AUTH_TOKEN": "secret",
    "PUBLIC_BASE_URL": "https://hooks.example",
    "OPS_USERS_FILE": "users",
}


def _load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> OpsSettings:
    for name in OpsSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in (_NEEDED | variables).items():
        monkeypatch.setenv(name, value)
    return load_ops_settings()


def test_no_validator_of_the_shared_settings_is_replaced() -> None:
    """Pydantic replaces a validator by one of the same name."""
    own = {name for name in vars(OpsSettings) if name.startswith("_") and name[1] != "_"}
    shared = {name for kind in Settings.__mro__ for name in vars(kind)}

    assert {each for each in own & shared if not each.startswith("_abc")} == set()


def test_the_shared_settings_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """As worker and webhook read them."""
    settings = _load(monkeypatch, DEFAULT_SEGMENTS_PER_SECOND="long_code=3")

    assert {SenderKind.LONG_CODE: 3.0} == settings.default_segments_per_second
    assert "http://127.0.0.1:8234" == settings.base_url


def test_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its addresses, and the roles of its groups."""
    settings = _load(
        monkeypatch,
        OPS_TRUSTED_PROXIES="10.0.0.5, 172.16.0.0/12",
        OPS_GROUP_ROLES="support=look,cn=ops=act",
        OPS_BASE_URL="https://ops.example/",
    )

    assert ["10.0.0.5/32", "172.16.0.0/12"] == [str(each) for each in settings.ops_trusted_proxies]
    assert {"support": Role.LOOK, "cn=ops": Role.ACT} == settings.ops_group_roles
    assert "https://ops.example" == settings.base_url


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"OPS_USERS_FILE": ""}, "nobody can sign in"),
        ({"OPS_TRUSTED_PROXIES": "10.0.0.5"}, "OPS_GROUP_ROLES must be set"),
        ({"OPS_TRUSTED_PROXIES": "everybody"}, "OPS_TRUSTED_PROXIES"),
        ({"OPS_GROUP_ROLES": "support=boss"}, "OPS_GROUP_ROLES: must be pairs"),
        ({"OPS_BASE_URL": "https://me:canary@ops.example"}, "OPS_BASE_URL"),
        ({"OPS_PORT": "canary"}, "OPS_PORT"),
    ],
)
def test_what_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], problem: str
) -> None:
    """By its variable, without its value."""
    with pytest.raises(InvalidSettings) as caught:
        _load(monkeypatch, **variables)

    assert problem in str(caught.value)
    assert "canary" not in str(caught.value)
