"""What rules and panels use, and what a process publishes."""

import json
import re
from collections import defaultdict
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.worker_process import ROOT

RULES = ROOT / "compose/prometheus/alerts.yml"
DASHBOARD = ROOT / "compose/grafana/dashboards/signedfor.json"

_METRIC = r"\b(?:signedfor|temporal|process)_[a-z0-9_]+"
_SELECTOR = re.compile(rf"({_METRIC})(?:\{{([^}}]*)\}})?")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!=|!~|=)")
OF_PROMETHEUS = {"instance", "job", "le"}
"""Labels that Prometheus adds to what it collects, and those of a bucket."""


def alerts() -> list[dict[str, Any]]:
    """Every alert rule."""
    document = yaml.safe_load(RULES.read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """Every panel of the dashboard that shows something."""
    return [each for each in json.loads(DASHBOARD.read_text())["panels"] if each["type"] != "row"]


def expressions() -> dict[str, str]:
    """The expressions of all rules and panels, by what they are for."""
    of_panels = {
        f"panel {panel['title']} {target['refId']}": target["expr"]
        for panel in panels()
        for target in panel["targets"]
    }
    return {f"alert {rule['alert']}": rule["expr"] for rule in alerts()} | of_panels


def used(expression: str) -> dict[str, set[str]]:
    """The metrics of an expression, each with the labels by which it is selected."""
    found: dict[str, set[str]] = defaultdict(set)
    for metric, matchers in _SELECTOR.findall(expression):
        found[metric] |= set(_MATCHER.findall(matchers))
    return dict(found)


def grouped_by(expression: str) -> set[str]:
    """The labels by which an expression aggregates."""
    lists = re.findall(r"\bby \(([^)]*)\)", expression)
    return {label.strip() for each in lists for label in each.split(",") if label.strip()}


def published(exposition: str) -> dict[str, set[str]]:
    """The samples that a process publishes, each with the names of its labels."""
    found: dict[str, set[str]] = defaultdict(set)
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            found[sample.name] |= set(sample.labels)
    return dict(found)
