from dataclasses import replace
from typing import Any

import pytest

from devtools.bench.environment import PRODUCT
from devtools.bench.rivals import contenders as catalog
from devtools.bench.rivals import installed
from devtools.bench.rivals.contenders import CELERY, FLOOR, Message, available
from devtools.bench.rivals.faults import NEVER, TWICE, UNKNOWN, Fault, Job, count, jobs
from devtools.bench.rivals.installed import Unavailable
from devtools.bench.rivals.performance import CPU, RATE
from devtools.bench.rivals.run import NoContender, run
from devtools.bench.sizes import FULL, QUICK
from devtools.sandbox.faults import Step


def _row(message_id: str, status: str = "delivered") -> Any:
    return {
        "status": status,
        "status_callback": f"http://127.0.0.1:1/status?message_id={message_id}",
    }


def _job(message_id: str, fault: Fault = Fault.NONE) -> Job:
    return Job(message=Message(id=message_id, to="+15553000000"), fault=fault, final="delivered")


def _counted(jobs_: list[Job], accepted: list[Any], outcomes: dict[str, str]) -> tuple[float, ...]:
    sample = count(jobs_, {"accepted": accepted, "refused": [], "callbacks": []}, outcomes)
    return sample[TWICE], sample[NEVER], sample[UNKNOWN]


def test_a_message_that_went_well_is_not_counted() -> None:
    """It was accepted once, and the caller knows what Twilio knows."""
    assert (0, 0, 0) == _counted([_job("a")], [_row("a")], {"a": "delivered"})
    undelivered = [_row("a", "undelivered")]
    assert (0, 0, 0) == _counted([_job("a")], undelivered, {"a": "undelivered"})


def test_a_second_acceptance_is_counted_once_for_its_message() -> None:
    """However often it was sent."""
    assert (1, 0, 0) == _counted([_job("a")], [_row("a")] * 3, {"a": "delivered"})


def test_an_outcome_that_twilio_contradicts_is_unknown() -> None:
    """So is none at all; of a message that Twilio never accepted, only `failed` is right."""
    assert (0, 0, 1) == _counted([_job("a")], [_row("a")], {"a": "failed"})
    assert (0, 0, 1) == _counted([_job("a")], [_row("a")], {})
    assert (0, 1, 1) == _counted([_job("a")], [], {})
    assert (0, 1, 0) == _counted([_job("a")], [], {"a": "failed"})


def test_counts_are_by_fault_too() -> None:
    """The fault of the message says which protection was missing."""
    job = _job("a", Fault.ANSWER_LOST)

    sample = count([job], {"accepted": [_row("a")] * 2, "refused": [], "callbacks": []}, {})

    assert 1 == sample[f"{TWICE}: {Fault.ANSWER_LOST}"]
    assert 0 == sample[f"{TWICE}: {Fault.NONE}"]


def test_the_seed_decides_every_fault() -> None:
    """Each contender has the same; every step is one that the sandbox knows."""
    every = jobs(7, FULL)

    assert every == jobs(7, FULL)
    assert every != jobs(8, FULL)
    assert FULL.fault_messages == len(every)
    assert set(Fault) == {job.fault for job in every}
    for job in every:
        assert Step.model_validate(job.later_step).accepts
        assert Step.model_validate(job.step).accepts is (job.fault is not Fault.ERROR_BEFORE)


def test_what_cannot_be_installed_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says why, and goes on with the rest."""

    def no_index(_rival: str) -> None:
        raise Unavailable("`uv pip` failed: no package index")

    monkeypatch.setattr(catalog, "python_of", no_index)

    ready, missing = available([CELERY, PRODUCT])

    assert [PRODUCT] == [contender.name for contender in ready]
    assert {CELERY: "`uv pip` failed: no package index"} == missing
    assert f"{CELERY} is left out: `uv pip` failed" in capsys.readouterr().err


def test_a_binary_that_is_missing_is_named() -> None:
    """With the package that has it."""
    with pytest.raises(Unavailable, match=r"no no-such-server in PATH \(package some-package\)"):
        installed.binary("no-such-server", "some-package")


async def test_a_name_that_is_no_contender_is_an_error() -> None:
    """It would be an empty table."""
    with pytest.raises(NoContender, match="Kafka"):
        await run(QUICK, only=["Kafka"])


@pytest.mark.parametrize("rival", ["celery", "dbos", "restate"])
def test_requirements_have_hashes_and_name_no_index(rival: str) -> None:
    """Anyone can install them from their own index."""
    lines = (installed._HERE / f"requirements-{rival}.txt").read_text().splitlines()

    assert not [line for line in lines if "://" in line or line.lstrip().startswith("--index")]
    pinned = [number for number, line in enumerate(lines) if "==" in line]
    assert pinned
    assert all("--hash=sha256:" in lines[number + 1] for number in pinned)


@pytest.mark.integration
@pytest.mark.timeout(300)
async def test_the_temporal_contenders_run() -> None:
    """They need no extra install. Each has every figure, and ours sends nothing twice."""
    few = replace(QUICK, settle_seconds=15)

    speed, faults = [report.document() for report in await run(few, seed=1, only=[FLOOR, PRODUCT])]

    for name in (RATE, CPU, "start to POST, p50 (ms)"):
        assert {FLOOR, PRODUCT} == set(speed["figures"][name])
        assert all(figure["median"] > 0 for figure in speed["figures"][name].values())
    assert {FLOOR, PRODUCT} == set(faults["figures"][TWICE])
    assert 0 == faults["figures"][TWICE][PRODUCT]["median"]
    assert 0 < faults["figures"][TWICE][FLOOR]["median"]
