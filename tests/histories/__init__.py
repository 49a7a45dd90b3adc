"""Recorded histories of every way a workflow can go, and the scenarios that they are recorded from.

`python -m tests.histories` (or `make histories`) plays each scenario with the scripted fakes and
writes `<scenario>.json` beside this file, in the form that the Temporal UI downloads and uploads.
`tests/workflows/test_replay.py` replays them all with the workflow code as it is now.
"""
