"""`python -m devtools.fuzz`: give each target changed inputs until the time is over."""

import argparse
import hashlib
import sys
import time
import traceback
from collections.abc import Callable
from random import Random

from devtools.fuzz.mutations import SEEDS, mutated
from devtools.fuzz.targets import CORPUS, TARGETS

MAX_SECONDS = 1.0
"""Of the processor, for any input of 65,536 bytes."""


def main() -> int:
    """0 if every input was answered in time; else 1, and the input is in the corpus."""
    parser = argparse.ArgumentParser(prog="python -m devtools.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="target", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=float, default=60, help="for each target (default 60)")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    options = parser.parse_args()
    if unknown := set(options.targets) - TARGETS.keys():
        parser.error(f"no target {', '.join(sorted(unknown))}")
    sys.stdout.write(f"seed {options.seed}\n")
    failed = 0
    for name in options.targets or TARGETS:
        inputs, found = fuzz(name, TARGETS[name], seconds=options.seconds, seed=options.seed)
        sys.stdout.write(f"{name}: {inputs:,} inputs\n")
        if found is not None:
            failed += 1
            sys.stdout.write(f"  failed: {_saved(name, found)}\n")
    return 1 if failed else 0


def fuzz(
    name: str, target: Callable[[bytes], None], *, seconds: float, seed: int
) -> tuple[int, bytes | None]:
    """Run one target; how many inputs it had, and the one that it failed with, if any."""
    chance, end, inputs = Random(f"{seed}:{name}"), time.monotonic() + seconds, 0  # noqa: S311 - no secret
    while time.monotonic() < end:
        data = mutated(SEEDS[name], chance)
        inputs += 1
        started = time.process_time()  # other work on the machine makes no input slow
        try:
            target(data)
        except Exception:  # noqa: BLE001 - whatever it is, it is what is looked for
            traceback.print_exc()
            return inputs, data
        if time.process_time() - started > MAX_SECONDS:
            return inputs, data
    return inputs, None


def _saved(name: str, data: bytes) -> str:
    path = CORPUS / name / hashlib.sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


if __name__ == "__main__":
    sys.exit(main())
