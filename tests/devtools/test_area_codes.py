from devtools.area_codes import TABLE, table


def test_the_committed_table_is_that_of_the_library() -> None:
    """`python -m devtools.area_codes` makes it again when the library has new area codes."""
    assert TABLE.read_text(encoding="utf-8") == table()
