"""The shared vocabulary: contract, statuses, Twilio codes, failure classes, segments. No I/O."""
