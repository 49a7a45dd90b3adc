"""docker-compose.yml, read."""

from typing import Any

import yaml

from tests.devtools.stack.support import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def given(name: str) -> set[str]:
    """The variables that the service gets; also those whose value is in a file."""
    environment = SERVICES[name]["environment"]
    return {
        variable.removesuffix("_FILE") if str(value).startswith("/run/secrets/") else variable
        for variable, value in environment.items()
    }
