"""Record the histories again: all of them, or the given scenarios."""

import argparse
import asyncio
import logging
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from devtools.stack.ports import free_ports
from devtools.stack.processes import ProcessGroup
from devtools.stack.temporal_server import TemporalServer
from signedfor.process import end_process
from tests.histories.recording import FOLDER, Play, history_files, record, write
from tests.histories.scenarios import scenarios


def main() -> int:
    """Play and record; without names, also delete files that have no scenario any more."""
    known = scenarios()
    parser = argparse.ArgumentParser(prog="python -m tests.histories", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="scenario", help="default: all of them")
    parser.add_argument("--into", type=Path, default=FOLDER, help="folder to write to")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - known.keys()):
        parser.error(f"no scenario {', '.join(unknown)}; there are: {', '.join(sorted(known))}")
    logging.disable(logging.ERROR)  # the fake activities' failures are intended
    asyncio.run(_record({name: known[name] for name in options.names or known}, options.into))
    if not options.names:
        for name, path in history_files(options.into).items():
            if name not in known:
                path.unlink()
                sys.stdout.write(f"{name}: removed, there is no such scenario\n")
    return 0


async def _record(plays: Mapping[str, Play], folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch, ProcessGroup() as group:
        (Path(scratch) / "logs").mkdir()
        port, ui_port = free_ports(2)
        server = TemporalServer(folder=Path(scratch), port=port, ui_port=ui_port, group=group)
        await asyncio.to_thread(server.start)
        for name, play in plays.items():
            history = await record(play, real_server=server.address)
            write(history, folder / f"{name}.json")
            sys.stdout.write(f"{name}: {len(history.events)} events\n")
            sys.stdout.flush()
        await asyncio.to_thread(server.stop)


if __name__ == "__main__":
    end_process(main())
