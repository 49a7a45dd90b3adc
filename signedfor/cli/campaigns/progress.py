"""A progress bar for long files."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as ProgressBar

from signedfor.cli.output import Output


@contextmanager
def bar(out: Output, what: str, *, total: int) -> Iterator[Callable[[int], None]]:
    """A way to tell how far it is: a bar on a terminal, and else nothing."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with ProgressBar(
        *columns, console=out.notes, transient=True, disable=not out.notes.is_terminal
    ) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)
