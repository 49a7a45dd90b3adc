"""A local Twilio for the demo, tests and benchmarks. A development tool: it sends nothing.

The official SDK talks to it as to the real one (`client.api.base_url`), and a control interface
under `/_sandbox/` scripts faults that the real one cannot produce on request. It listens on the
loopback interface only.
"""
