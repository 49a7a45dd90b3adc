import signal

pytest_plugins = [
    "tests.fixtures.databases",
    "tests.fixtures.stack",
    "tests.fixtures.temporal",
]


def pytest_configure() -> None:
    """Give processes under test their Ctrl-C, which a shell's background jobs inherit ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
