"""How Sphinx builds the documentation: `make docs`."""

import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))
warnings.simplefilter("ignore")  # those of libraries that are imported for their docstrings

from nequip_legato import __version__  # noqa: E402

project = "nequip-legato"
author = "The nequip-legato developers"
copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "docstrings",
    "key_tables",
    "repository_pages",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_extensions"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
myst_links_external_new_tab = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True  # attributes as one list, not as an entry of the index each
napoleon_attr_annotations = False  # their types are in the signature
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
default_role = "py:obj"  # a link where there is a page, else code
highlight_language = "text"  # blocks without a language, such as LAMMPS inputs, are not Python

nitpicky = True
# Other projects' names: their pages are not fetched, so that the site is built offline. Classes of
# ours that have no entry of their own follow.
nitpick_ignore_regex = [
    ("py:obj", r".*"),
    ("py:.*", r"(torch|Tensor|Path|Any|Callable|Sequence|Mapping|Iterable|Iterator|ase|np)\b.*"),
    ("py:.*", r"(lightning|numpy|pathlib|collections|typing|datetime|pd|pandas|contextlib)\..*"),
    (
        "py:.*",
        r"Frame|nequip_legato\.(trained\.frames\.Frame|fence\.survey\.Visited|stability\..*)",
    ),
    (
        "py:.*",
        r"dict\[(int|str)|(Atoms|Calculator|ModelCheckpoint|Callback|Module|optional|.* -> .*)",
    ),
]

html_theme = "furo"
pygments_dark_style = "github-dark"  # the theme's own underlines names as if they were links
html_title = "nequip-legato"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
