"""Tools for developing Signedfor: a local Twilio, the local stack, benchmarks. Not the product."""
