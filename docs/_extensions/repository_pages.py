"""Pages that lie elsewhere in the repository, and links that work there, on GitHub and in the site.

A Markdown file beside the code (a benchmark's README, the changelog) stays where it is: a page of
the site that begins with ``<!-- page of the repository: ../../README.md -->`` becomes that file. A
heading in the page becomes the title of a file that has none. In all pages, links to such files
lead to their pages. Links to other files of the repository become downloads, which MyST does by
itself.
"""

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

__all__ = ["setup"]

_MARK = re.compile(r"<!-- page of the repository: (\S+) -->")
_LINK = re.compile(r"(\]\()([^)#\s]*)((?:#[^)\s]*)?\))")
_CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.DOTALL | re.MULTILINE)


def _find_pages(app: Sphinx) -> None:
    """Remember which file of the repository is which page."""
    app.repository_pages = {}  # type: ignore[attr-defined]
    for page in sorted(Path(app.srcdir).rglob("*.md")):
        mark = _MARK.match(page.read_text(encoding="utf-8"))
        if mark is not None:
            file = Path(os.path.normpath(page.parent / mark[1]))
            app.repository_pages[file] = page  # type: ignore[attr-defined]


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    """Put the file in the place of its page, and mend the links."""
    page = Path(app.env.doc2path(name))
    mark = _MARK.match(source[0])
    text, folder = source[0], page.parent
    if mark is not None:
        file = Path(os.path.normpath(page.parent / mark[1]))
        app.env.note_dependency(str(file))
        title = re.search(r"^# .*\n", text, re.MULTILINE)  # for files that have none
        text, folder = file.read_text(encoding="utf-8"), file.parent
        text = text if title is None else f"{title[0]}\n{text}"
    pages: dict[Path, Path] = app.repository_pages  # type: ignore[attr-defined]

    def mended(link: re.Match[str]) -> str:
        target = link[2]
        if not target or re.match(r"[a-z]+:", target):
            return link[0]
        path = Path(os.path.normpath(folder / target))
        path = pages.get(path, path)
        return link[1] + os.path.relpath(path, page.parent) + link[3]

    parts = _CODE.split(text)
    parts[::2] = [_LINK.sub(mended, part) for part in parts[::2]]
    source[0] = "".join(parts)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", _find_pages)
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
