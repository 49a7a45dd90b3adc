"""Until tests/conftest.py loads the plugin: the same fixtures."""

from tests.fixtures.databases import (  # noqa: F401 - fixtures are used by name
    database_url,
    empty_database_url,
    engine,
    postgres_server,
    sqlite_template,
)
