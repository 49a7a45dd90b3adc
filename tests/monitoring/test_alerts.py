"""The alert rules: valid, each one proven to fire and to clear, each with a runbook entry."""

import os
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from tests.monitoring.support import RULES, alerts, expressions, grouped_by, used
from tests.worker_process import ROOT

_TESTS = ROOT / "tests/monitoring/alerts_test.yml"
_RUNBOOK = ROOT / "docs/how-to/runbook.md"


def _promtool(*arguments: object) -> str:
    """Run Prometheus' own tool, which must succeed; what it says."""
    promtool = shutil.which("promtool")
    if promtool is None:
        message = "promtool (Debian's package prometheus) is not installed"
        if os.environ.get("REQUIRE_PROMTOOL") == "1":
            pytest.fail(f"{message}, and REQUIRE_PROMTOOL=1 is set")
        pytest.skip(f"{message}; set REQUIRE_PROMTOOL=1 to make this a failure")
    done = subprocess.run(
        [promtool, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


def _cases() -> dict[str, list[list[dict[str, Any]]]]:
    """By alert, what is expected of it in each test, in order of time."""
    found: dict[str, list[list[dict[str, Any]]]] = {}
    for test in yaml.safe_load(_TESTS.read_text())["tests"]:
        for case in test["alert_rule_test"]:
            found.setdefault(case["alertname"], []).append(case.get("exp_alerts", []))
    return found


def test_prometheus_accepts_its_configuration() -> None:
    """With the rules that it names."""
    said = _promtool("check", "config", RULES.with_name("prometheus.yml"))

    assert f"{len(alerts())} rules found" in said


def test_every_alert_fires_and_clears() -> None:
    """Prometheus evaluates the rules over made-up series."""
    assert "SUCCESS" in _promtool("test", "rules", _TESTS)


@pytest.mark.parametrize("name", [rule["alert"] for rule in alerts()])
def test_each_alert_is_tested_in_both_directions(name: str) -> None:
    """A test expects it to fire, and then not to."""
    cases = _cases()[name]

    fires = next(number for number, expected in enumerate(cases) if expected)
    assert any(not expected for expected in cases[fires + 1 :])


def test_no_test_is_of_an_alert_that_does_not_exist() -> None:
    """A typing error there would expect nothing of nothing."""
    assert {rule["alert"] for rule in alerts()} == _cases().keys()


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_each_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    """It has a severity, a summary, and an entry of its name in the runbook."""
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^## (\w+)$", _RUNBOOK.read_text(), re.MULTILINE)

    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"].endswith(".")
    assert (_RUNBOOK, rule["alert"].lower()) == (ROOT / page, anchor)
    assert rule["alert"] in headings


def test_the_runbook_has_no_entry_without_an_alert() -> None:
    """Each of its headings is an alert's name."""
    headings = re.findall(r"^## (\w+)$", _RUNBOOK.read_text(), re.MULTILINE)

    assert [rule["alert"] for rule in alerts()] == headings


def test_what_an_expression_uses() -> None:
    """The tests of a live system read metrics and labels from the expressions."""
    expression = (
        'sum by (le, a) (rate(signedfor_x_seconds_bucket{b="1", c=~"2"}[5m])) / temporal_y_total'
    )

    assert {"signedfor_x_seconds_bucket": {"b", "c"}, "temporal_y_total": set()} == used(expression)
    assert {"le", "a"} == grouped_by(expression)
    assert len(expressions()) > len(alerts())
