"""The lines of messages by which a sender's pace is measured; see `bench/pacing.py`."""
