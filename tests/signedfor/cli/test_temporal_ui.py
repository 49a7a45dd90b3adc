"""`signedfor temporal-ui`: links to messages in the Temporal UI."""

import json

from signedfor.temporal_ui import VIEWS, TemporalUI
from tests.signedfor.cli.support import CommandLine

_UI = {"TEMPORAL_UI_URL": "https://temporal.example/", "TEMPORAL_NAMESPACE": "sms"}
_EXPECTED = TemporalUI(url="https://temporal.example", namespace="sms")


def test_it_prints_a_link_to_each_list(cli: CommandLine) -> None:
    """Of the UI and the namespace in the settings; Temporal is not asked."""
    result = cli("temporal-ui", "--json", **_UI)

    assert 0 == result.exit_code
    assert {"views": [{"name": each.name, "url": _EXPECTED.view_url(each)} for each in VIEWS]} == (
        json.loads(result.stdout)
    )


def test_links_are_not_broken_into_lines(cli: CommandLine) -> None:
    """They are copied, from a narrow terminal too."""
    result = cli("temporal-ui", **_UI, COLUMNS="40")

    for each in VIEWS:
        assert _EXPECTED.view_url(each) in result.stdout.split()


def test_the_set_up_is_printed_as_it_is(cli: CommandLine) -> None:
    """JavaScript to copy."""
    result = cli("temporal-ui", "--setup", **_UI, COLUMNS="40")

    assert _EXPECTED.setup_script().strip() == result.stdout.strip()


def test_an_address_with_credentials_is_refused(cli: CommandLine) -> None:
    """Links are shown and sent; the answer names the variable, not its value."""
    result = cli("temporal-ui", TEMPORAL_UI_URL="https://canary:secret@temporal.example")

    assert 2 == result.exit_code
    assert "TEMPORAL_UI_URL" in result.output
    assert "canary" not in result.output
