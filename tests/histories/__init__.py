"""Recorded histories of every path through the workflows, and the scenarios they are recorded from.

`python -m tests.histories` (or `make histories`) plays each scenario with fake activities and
writes `<scenario>.json` beside this file, in the format that the Temporal UI downloads and uploads.
`tests/workflows/test_replay.py` replays them all with the current workflow code.
"""
