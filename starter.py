"""The command line `signedfor`, started from the application's folder: `python -m starter`."""

from signedfor.cli.__main__ import main

if __name__ == "__main__":
    main()
