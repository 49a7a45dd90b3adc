"""How Sphinx builds this folder: `make docs`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

project = "Signedfor"
extensions = ["myst_parser", "devtools.reference_pages"]
# A reference that leads nowhere is a warning, and warnings are errors.
nitpicky = True
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

smartquotes = False  # they would change `--option`

html_theme = "furo"
html_title = "Signedfor"
html_copy_source = False
html_show_sphinx = False
