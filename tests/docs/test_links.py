"""Links between the repository's Markdown files lead to files, and to headings, that are there."""

import re
import sys
from pathlib import Path

import pytest
from processes import run_process

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))

from check_site import broken_links  # noqa: E402

LISTED = run_process("git", "ls-files", "-co", "--exclude-standard", "*.md", cwd=ROOT)
FILES = sorted(LISTED.stdout.splitlines())


def places(text: str) -> set[str]:
    """What GitHub and MyST call the headings of a page."""
    found: set[str] = set()
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        name = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        name = re.sub(r"[^\w\- ]", "", name).replace(" ", "-")
        number = 0
        while (unique := f"{name}-{number}" if number else name) in found:
            number += 1
        found.add(unique)
    return found


def content(path: Path) -> str:
    """A page, or the file that stands for it in the site."""
    text = path.read_text()
    mark = re.match(r"<!-- page of the repository: (\S+) -->", text)
    return content(path.parent / mark[1]) if mark else text


@pytest.mark.parametrize("file", FILES)
def test_links_lead_somewhere(file):
    path = ROOT / file
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, place = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), link
        if place:
            assert place in places(content(target)), link


def test_the_check_of_the_site_finds_what_is_broken(tmp_path):
    (tmp_path / "one.html").write_text(
        '<a id="here" href="two.html#there"></a><a href="#here"></a><a href="#gone"></a>'
        '<img src="none.png"><a href="https://example.org/none"></a><a href="two.html#no"></a>'
    )
    (tmp_path / "two.html").write_text('<a id="there" href="./one.html"></a>')
    assert broken_links(tmp_path) == [
        "one.html: #gone (no such place in the page)",
        "one.html: none.png",
        "one.html: two.html#no (no such place in the page)",
    ]
