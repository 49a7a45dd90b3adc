"""The command `signedfor`, also as `python -m signedfor.cli`."""

import sys


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        from signedfor.cli.app import app  # noqa: PLC0415 - its packages may not be installed

        app()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == __package__.partition(".")[0]:
            raise
        sys.exit(
            f"The command line needs a package that is not installed ({error.name}): "
            "pip install 'signedfor[cli]'"
        )
    except SystemExit as end:
        if "temporalio" not in sys.modules:
            raise
        from signedfor.temporal import end_process  # noqa: PLC0415 - most of the start-up time

        end_process(end.code if isinstance(end.code, int) else int(end.code is not None))


if __name__ == "__main__":
    main()
