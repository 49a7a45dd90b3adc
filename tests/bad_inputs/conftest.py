from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bad_inputs.environment import Environment, running


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def environment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Environment]:
    """The stack that every row of a module goes to, on each kind of database."""
    folder: Path = tmp_path_factory.mktemp("bad-inputs") / "stack"
    if request.param == "sqlite":
        with running(folder, None) as started:
            yield started
        return
    server = request.getfixturevalue("postgres_server")
    name = server.create(template=server.template)
    with running(folder, server.url(name)) as started:
        yield started
    server.drop(name)
