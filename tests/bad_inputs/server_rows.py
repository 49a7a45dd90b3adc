"""Bad requests to every server: what is no HTTP, and wrong methods and paths of the probes."""

from typing import Final

from tests.bad_inputs.rows import TEXT, Request

_HEAD: Final = f"GET /{TEXT} HTTP/1.1\r\nHost: {TEXT}\r\nConnection: close\r\n"
_INVALID: Final = "Invalid HTTP request received."

_NO_HTTP: Final = {
    "nonsense": f"{TEXT}\r\n\r\n",
    "half a request line": f"GET /{TEXT}\r\n\r\n",
    "no Host": f"GET /{TEXT} HTTP/1.1\r\n\r\n",
    "two Hosts": f"{_HEAD}Host: {TEXT}\r\n\r\n",
    "a header without a colon": f"{_HEAD}{TEXT}\r\n\r\n",
    "a header whose name has a space": f"{_HEAD}a b: {TEXT}\r\n\r\n",
    "a header with NUL": f"{_HEAD}a: {TEXT}\0\r\n\r\n",
    "a space in the path": f"GET /{TEXT} x HTTP/1.1\r\nHost: a\r\n\r\n",
    "NUL in the path": f"GET /{TEXT}\0 HTTP/1.1\r\nHost: a\r\n\r\n",
    "two lengths": f"{_HEAD}Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a negative length": f"{_HEAD}Content-Length: -1\r\n\r\n",
    "a length in words": f"{_HEAD}Content-Length: {TEXT}\r\n\r\n",
    "an unknown transfer encoding": f"{_HEAD}Transfer-Encoding: {TEXT}\r\n\r\n",
    "a handshake of TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + TEXT + "\r\n\r\n",
    "a header without an end": f"{_HEAD}a: {TEXT * 2_000}",
    "2,000 headers without an end": _HEAD + f"a: {TEXT}\r\n" * 2_000,
    "a path without an end": f"GET /{TEXT * 2_000}",
}

HTTP_ROWS: Final = tuple(
    Request(surface=surface, name=name, status=400, says=_INVALID, raw=text.encode("latin-1"))
    for surface in ("the webhook", "the operations page", "the codec server")
    for name, text in _NO_HTTP.items()
)

_NO_HTTP_FOR_WORKERS: Final = {
    "half a request line": f"{TEXT}\r\n\r\n",
    "an unknown version": f"GET /{TEXT} HTTP/{TEXT}\r\n\r\n",
    "too many words": f"GET / {TEXT} HTTP/1.1\r\n\r\n",
    "a word": f"{TEXT} {TEXT}\r\n\r\n",
}


def _probe(surface: str, name: str, status: int, method: str, target: str) -> Request:
    return Request(surface=surface, name=name, status=status, method=method, target=target,
                   headers=[("X-Canary", TEXT)], body=b"")  # fmt: skip


PROBE_ROWS: Final = (
    *(
        Request(
            surface="the worker's probes",
            name=name,
            status=400,
            says="Bad Request.",
            raw=text.encode(),
        )
        for name, text in _NO_HTTP_FOR_WORKERS.items()
    ),
    Request(
        surface="the worker's probes",
        name="a long path",
        status=414,
        raw=(f"GET /{TEXT * 6_000} HTTP/1.1\r\n\r\n").encode(),
    ),
    Request(
        surface="the worker's probes",
        name="2,000 headers",
        status=431,
        raw=("GET / HTTP/1.1\r\n" + f"a: {TEXT}\r\n" * 2_000 + "\r\n").encode(),
    ),
    *(
        _probe("the webhook's probes", f"{method} {path}", 405, method, path)
        for path in ("/healthz", "/readyz", "/metrics")
        for method in ("POST", "PUT", "DELETE")
    ),
    *(
        _probe("the webhook's probes", f"the path {path}", 404, "GET", path)
        for path in (f"/{TEXT}", "/healthz/", "/%00")
    ),
    *(
        _probe("the worker's probes", f"{method} {path}", 405, method, path)
        for path in ("/healthz", "/metrics")
        for method in ("POST", "PUT", "DELETE", TEXT)
    ),
    *(
        _probe("the worker's probes", f"the path {path}", 404, "GET", path)
        for path in (f"/{TEXT}", "/%00", "/healthz/")
    ),
)
