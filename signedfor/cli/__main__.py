"""The command `signedfor`, also as `python -m signedfor.cli`.

Nothing is imported here that takes time: until `main` begins, Ctrl-C prints a traceback.
"""

import os
import signal
import sys

_INTERRUPTED = 128 + signal.SIGINT


def main() -> None:
    """Run the command line and end the process with its exit code."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:  # in a script's background job it is another one
        signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
    try:
        from signedfor.cli.app import app  # noqa: PLC0415 - see the module's docstring
        from signedfor.cli.streams import guard_streams  # noqa: PLC0415 - as above
        from signedfor.process import (  # noqa: PLC0415 - as above
            end_at_once,
            end_process,
            keep_memory_private,
        )

        keep_memory_private()
        # Until the command is imported: Typer imports Pydantic for the value of an option.
        if handler is signal.default_int_handler:
            signal.signal(signal.SIGINT, end_at_once)
        guard_streams()
        app()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == __package__.partition(".")[0]:
            raise
        sys.exit(
            f"The command line needs a package that is not installed ({error.name}): "
            "pip install 'signedfor[cli]'"
        )
    except SystemExit as end:
        end_process(end.code if isinstance(end.code, int) else int(end.code is not None))
    except KeyboardInterrupt:
        end_process(_INTERRUPTED)


if __name__ == "__main__":
    main()
