"""The pictures in the docs."""

import re
import statistics
from pathlib import Path

import pytest

from devtools.screenshots import IMAGES, SCHEMES
from tests.docs.pages import ROOT

_MAX_MEAN_BYTES = 83_000
_PAGES = (
    ROOT / "docs/how-to/read-the-temporal-ui.md",
    ROOT / "docs/how-to/operations-page.md",
    ROOT / "docs/how-to/codec-server.md",
)


def _shown() -> set[str]:
    return set(re.findall(r"^```\{image\} \.\./images/(\S+)$", _texts(), re.MULTILINE))


def _texts() -> str:
    return "\n".join(page.read_text() for page in _PAGES)


def test_every_picture_is_shown_and_every_one_that_is_shown_exists() -> None:
    """A picture that is not taken any more is deleted."""
    assert {each.name for each in IMAGES.iterdir()} == _shown()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_each_picture_is_there_in_both_color_schemes(scheme: str) -> None:
    """Readers see the one of their own."""
    names = {re.sub(r"-(light|dark)\.png$", "", each) for each in _shown()}

    assert {f"{name}-{scheme}.png" for name in names} <= _shown()
    block = re.compile(rf"-{scheme}\.png\n:alt: .+\n:class: only-{scheme}\n```")
    assert len(names) == len(block.findall(_texts()))


def test_the_pictures_are_small() -> None:
    """They are cloned with the repository."""
    assert statistics.mean(_size(each) for each in IMAGES.iterdir()) < _MAX_MEAN_BYTES


def _size(path: Path) -> int:
    assert path.read_bytes().startswith(b"\x89PNG")
    return path.stat().st_size
