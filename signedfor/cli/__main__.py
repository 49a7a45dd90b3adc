"""The command `signedfor`, also as `python -m signedfor.cli`."""

import sys

from signedfor.process import INTERRUPTED, end_process, interruptible


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        with interruptible():
            from signedfor.cli.app import app  # noqa: PLC0415 - its packages may not be installed
            from signedfor.cli.streams import guard_streams  # noqa: PLC0415 - as above

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
        end_process(INTERRUPTED)


if __name__ == "__main__":
    main()
