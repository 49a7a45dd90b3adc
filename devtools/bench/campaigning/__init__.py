"""The parts of a campaign's way that are measured; see `bench/campaigns.py`."""
