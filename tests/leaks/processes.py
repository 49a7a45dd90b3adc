"""Processes besides the stack: with secrets as variables, and with what is refused at a start."""

import asyncio
import base64
import secrets
import sys
from collections.abc import Mapping

import httpx

from devtools.stack.local import ROOT
from devtools.stack.ports import HOST, free_ports
from devtools.stack.processes import basic_environment
from tests.integration.support import until
from tests.leaks import places
from tests.leaks.canaries import Kind
from tests.leaks.commands import run_module
from tests.leaks.places import Piece
from tests.leaks.scenario import Scenario
from tests.leaks.terminal import on_terminal


async def codec_server(scenario: Scenario) -> Piece:
    """What it logs, with its key and its token as variables."""
    stack, canaries = scenario.stack, scenario.canaries
    [port] = free_ports(1)
    url = f"http://{HOST}:{port}"
    key = canaries.secret(Kind.GIVEN, base64.b64encode(secrets.token_bytes(32)).decode())
    token = canaries.secret(Kind.GIVEN, secrets.token_hex(20))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ops.codec_server"),
        env={
            **basic_environment(stack.folder),
            "PAYLOAD_KEYS": f"own={key}",
            "CODEC_SERVER_TOKEN": token,
            "CODEC_SERVER_PORT": str(port),
        },
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        data = base64.b64encode(canaries.text(Kind.TEXTS).encode()).decode()
        document = {"payloads": [{"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": data}]}
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            await until(lambda: _answers(http), "the codec server")
            bearer = {"Authorization": f"Bearer {token}"}
            encoded = (await http.post("/encode", json=document, headers=bearer)).json()
            decoded = (await http.post("/decode", json=encoded, headers=bearer)).json()
            assert document == decoded
            assert 401 == (await http.post(f"/{token}x/decode", json=encoded)).status_code
    finally:
        process.terminate()
        output, _ = await process.communicate()
    return Piece(places.LOGS, "codec server", output)


async def _answers(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/healthz")).is_success
    except httpx.TransportError:
        return False


async def add_user(scenario: Scenario) -> Piece:
    """What somebody sees who types a password for the operations page."""
    stack = scenario.stack
    password = scenario.canaries.secret("page passwords")
    code, shown = await asyncio.to_thread(
        on_terminal,
        (sys.executable, "-m", "ops", "add-user", "eve"),
        environment={
            **basic_environment(stack.folder),
            "OPS_USERS_FILE": str(stack.folder / "ops-users"),
        },
        folder=ROOT,
        typed=[("Password: ", f"{password}\n"), ("Again: ", f"{password}\n")],
    )
    assert 0 == code, shown
    return Piece(places.PRINTED, "add-user", shown)


async def refused(scenario: Scenario) -> list[Piece]:
    """What processes say that cannot start with their secrets or their file of replies."""
    canaries, stack = scenario.canaries, scenario.stack
    replies = f'["{canaries.number()}12345678"]\nstop = "{canaries.word(Kind.REPLIES)}\\u0000"'
    database = stack.settings["DATABASE_URL"]
    host = database.rpartition("@")[2] if database.startswith("postgresql") else f"{HOST}:1/x"
    starter = ("starter", "--env-file", "/dev/null")
    calls: list[tuple[str, tuple[str, ...], Mapping[str, str]]] = [
        (
            places.LOGS,
            ("webhook",),
            {"INBOUND_REPLIES_FILE": scenario.commands.file("bad.toml", replies)},
        ),
        (
            places.LOGS,
            ("ops.codec_server",),
            {"CODEC_SERVER_TOKEN": f"{canaries.secret(Kind.GIVEN)}!"},
        ),
        (
            places.PRINTED,
            (*starter, "opt-outs", "list"),
            {"DATABASE_URL": f"postgresql://postgres:{canaries.secret(Kind.GIVEN)}@{host}"},
        ),
        (
            places.PRINTED,
            (*starter, "show", "x"),
            {"PAYLOAD_KEYS": f"own={canaries.secret(Kind.GIVEN)}", "PAYLOAD_KEYS_FILE": ""},
        ),
    ]
    pieces = []
    for place, arguments, environment in calls:
        code, stdout, stderr = await run_module(stack, *arguments, environment=environment)
        assert code in {1, 2}, (arguments, code)
        pieces.append(Piece(place, arguments[0], stdout + stderr))
    return pieces
