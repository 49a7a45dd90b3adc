"""The doctor's checks, against servers that answer correctly and incorrectly."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from devtools.stack.ports import answers, free_ports
from devtools.stack.processes import Process, ProcessGroup, basic_environment
from signedfor.checks import Finding
from signedfor.checks.twilio import check_twilio
from signedfor.checks.webhook import check_webhook
from signedfor.contract import EVENTS_PATH, STATUS_PATH
from signedfor.settings import Settings

ROOT = Path(__file__).parents[3]
ACCOUNT = "AC" + "1" * 32
MESSAGES = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
DETAILS = f"/2010-04-01/Accounts/{ACCOUNT}.json"

Answers = Mapping[str, tuple[int, Mapping[str, object]]]


@contextmanager
def answering(answers: Answers) -> Iterator[str]:
    """A server that answers each path with a status and JSON; 404 for the rest. Its base URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            status, document = answers.get(path, (404, {"code": 20404, "message": "none"}))
            self.send_response(status)
            if status == 307:
                self.send_header("Location", "https://example.com/")
            body = json.dumps(document).encode()
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def settings(**changes: str) -> Settings:
    """Complete settings, with these changes."""
    return Settings.model_validate(
        {
            "twilio_account_sid": ACCOUNT,
            "twilio_auth_token": "a-token",
            "public_base_url": "http://127.0.0.1:9",
            **changes,
        }
    )


def by_name(found: list[Finding]) -> dict[str, Finding]:
    """The findings by the checks' names."""
    return {each.name: each for each in found}


def twilio_findings(answers: Answers) -> dict[str, Finding]:
    """The findings for a Twilio that gives these answers."""
    with answering(answers) as url:
        return by_name(check_twilio(settings(twilio_api_base_url=url)))


NO_MESSAGES: Mapping[str, object] = {
    "messages": [],
    "page_size": 1,
    "next_page_uri": None,
    "uri": MESSAGES,
}


@pytest.mark.parametrize(
    ("account", "level", "words"),
    [
        ((200, {"status": "active", "type": "Full"}), "ok", "Active"),
        ((200, {"status": "active", "type": "Trial"}), "warn", "verified numbers only"),
        ((200, {"status": "suspended", "type": "Full"}), "fail", "suspended"),
        ((401, {"code": 20003, "message": "no"}), "ok", "may not read its details"),
        ((404, {"code": 20404, "message": "no"}), "ok", "may not read its details"),
        ((503, {"code": 20503, "message": "no"}), "warn", "HTTP 503"),
    ],
)
def test_the_account(account: tuple[int, Mapping[str, object]], level: str, words: str) -> None:
    """A trial is a warning, a suspended account a failure; an API key may not read it."""
    found = twilio_findings({MESSAGES: (200, NO_MESSAGES), DETAILS: account})["Twilio account"]

    assert level == found.level
    assert words in found.what


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((401, {"code": 20003, "message": "+15558675309"}), "HTTP 401, 20003"),
        ((500, {"code": 99999, "message": "+15558675309"}), "the answer is not Twilio's"),
    ],
)
def test_credentials_that_twilio_refuses(
    answer: tuple[int, Mapping[str, object]], words: str
) -> None:
    """Code, meaning and action from our table; Twilio's own text is not repeated."""
    found = twilio_findings({MESSAGES: answer})["Twilio credentials"]

    assert "fail" == found.level
    assert words in found.what
    assert found.remedy
    assert "+1555" not in str(found)


def test_twilio_out_of_reach() -> None:
    """No answer and a wrong answer are different findings."""
    (found,) = check_twilio(settings(twilio_api_base_url="http://127.0.0.1:9"))

    assert "fail" == found.level
    assert "cannot be reached" in found.what


def test_an_answer_that_is_not_twilios() -> None:
    """A proxy's page instead of Twilio's JSON is reported."""
    found = twilio_findings({MESSAGES: (200, {"hello": "proxy"})})["Twilio credentials"]

    assert "fail" == found.level
    assert "HTTP 200, and the answer is not Twilio's." == found.what


WEBHOOK_CHECKS = ("webhook reached", "forged callback", "signed callback")


@pytest.mark.parametrize(
    ("answers", "levels"),
    [
        # Another server, or a proxy's own page.
        ({"/": (200, {"hello": "world"})}, ("fail", "skipped", "skipped")),
        ({}, ("fail", "skipped", "skipped")),
        ({STATUS_PATH: (307, {})}, ("fail", "skipped", "skipped")),
        ({STATUS_PATH: (502, {})}, ("fail", "skipped", "skipped")),
        # A server that answers every request, and one that accepts every callback.
        ({STATUS_PATH: (200, {"hello": "world"})}, ("ok", "fail", "fail")),
        ({STATUS_PATH: (204, {})}, ("ok", "fail", "ok")),
        # It refuses every callback, correctly signed or not.
        ({STATUS_PATH: (403, {})}, ("ok", "ok", "fail")),
    ],
)
def test_a_wrong_webhook(answers: Answers, levels: tuple[str, str, str]) -> None:
    """Each kind of problem is a finding of its own."""
    with answering(answers) as url:
        found = by_name(check_webhook(settings(public_base_url=url)))

    assert levels == tuple(found[name].level for name in WEBHOOK_CHECKS)


@pytest.mark.parametrize(
    ("events", "level", "words"),
    [(204, "ok", "accepted"), (404, "fail", "EVENT_STREAMS=true"), (403, "fail", "403")],
)
def test_the_sink_for_events(events: int, level: str, words: str) -> None:
    """It is checked only if it is switched on; a 4xx would drop Twilio's events."""
    with answering({STATUS_PATH: (403, {}), EVENTS_PATH: (events, {})}) as url:
        off = by_name(check_webhook(settings(public_base_url=url)))
        on = by_name(check_webhook(settings(public_base_url=url, event_streams="true")))

    assert "event batch" not in off
    assert level == on["event batch"].level
    assert words in f"{on['event batch'].what} {on['event batch'].remedy}"


@contextmanager
def webhook_behind_a_proxy(folder: Path, database_url: str) -> Iterator[str]:
    """A real webhook behind a proxy that passes only /webhook/*; the proxy's URL."""
    (port,) = free_ports(1)

    class Proxy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = 404
            if self.path.startswith("/webhook/"):
                headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
                url = f"http://127.0.0.1:{port}{self.path}"
                status = httpx.post(url, content=body, headers=headers).status_code
            self.send_response(status)
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server, ProcessGroup() as group:
        url = f"http://127.0.0.1:{server.server_port}"
        environment = {
            "TEMPORAL_ADDRESS": "127.0.0.1:9",
            "DATABASE_URL": database_url,
            "TWILIO_ACCOUNT_SID": ACCOUNT,
            "TWILIO_AUTH_TOKEN": "a-token",
            "PUBLIC_BASE_URL": url,
            "WEBHOOK_PORT": str(port),
            "EVENT_STREAMS": "true",
            "PAYLOAD_ENCRYPTION": "off",
        }
        webhook = Process(
            "webhook",
            [sys.executable, "-m", "webhook"],
            group=group,
            environment={**basic_environment(folder), **environment},
            folder=ROOT,
            log=folder / "webhook.log",
            is_ready=answers(f"http://127.0.0.1:{port}/healthz"),
        )
        webhook.start()
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield url
        finally:
            server.shutdown()
            thread.join()
            webhook.stop()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("token", "levels"),
    [("a-token", ("ok", "ok", "ok")), ("another-token", ("ok", "ok", "fail"))],
)
def test_a_proxy_need_not_pass_other_paths(
    tmp_path: Path, sqlite_url: str, token: str, levels: tuple[str, str, str]
) -> None:
    """Behind a proxy that passes only /webhook/*, both signatures are still checked."""
    with webhook_behind_a_proxy(tmp_path, sqlite_url) as url:
        changes = {"public_base_url": url, "twilio_auth_token": token, "event_streams": "true"}
        found = by_name(check_webhook(settings(**changes)))

    assert levels == tuple(found[name].level for name in WEBHOOK_CHECKS)
    assert levels[-1] == found["event batch"].level
    # What the check signs wrongly on purpose is no attack.
    refused = (tmp_path / "webhook.log").read_text().count("Refused a request as not Twilio's")
    assert (0 if levels[-1] == "ok" else 1) == refused


@pytest.mark.parametrize(
    ("url", "level"),
    [
        ("https://hooks.example.invalid", "ok"),
        ("http://hooks.example.invalid", "warn"),
        ("http://127.0.0.1:9", "ok"),
        ("http://localhost:9", "ok"),
        ("http://[::1]:9", "ok"),
    ],
)
def test_the_public_url_is_https_unless_it_is_this_machine(url: str, level: str) -> None:
    """Otherwise numbers and texts would be sent unencrypted."""
    found = by_name(check_webhook(settings(public_base_url=url)))

    assert level == found["public URL"].level
