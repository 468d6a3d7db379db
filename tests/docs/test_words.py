"""Spelling and terms of CONTRIBUTING.md, in code, messages and pages."""

import re
from pathlib import Path

from processes import run_process

ROOT = Path(__file__).parents[2]
TEXT = (".py", ".md", ".cpp", ".h", ".in", ".cmake", ".sh")
TEXT += (".yaml", ".yml", ".toml", ".html", ".txt")
NOT_OURS = ("/results/", "CHANGELOG.md", "LICENSE")
BRITISH = re.compile(
    r"[a-z_]*(?:centre|neighbour|colour|behaviour|favour|labelled|labelling|normalis|initialis|"
    r"specialis|serialis|optimis|minimis|recognis|summaris|organis|licence)[a-z_]*"
    r"|\b(?:analyse[sd]?_|analyse\b|analysed|analysing|learnt|towards|whilst|grey)",
    re.IGNORECASE,
)
# Names of other libraries, and the rows of the table of terms that say what is not said.
KEPT = {"neighbour_list", "neighbours"}
ODD = re.compile(r"\b(?:is no number|numbers that are none|stands there twice|a row an entry)\b")


def lines():
    """Path, number and text of every line of ours."""
    listed = run_process("git", "ls-files", cwd=ROOT).stdout
    for name in listed.splitlines():
        path = ROOT / name
        if path.suffix not in TEXT or any(part in name for part in NOT_OURS):
            continue
        if path == Path(__file__) or not path.is_file():
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if not (name == "CONTRIBUTING.md" and line.startswith("|")):
                yield f"{name}:{number}", line


def test_american_spelling():
    found = [
        f"{where}: {word}"
        for where, line in lines()
        for word in BRITISH.findall(line)
        if not (word in KEPT and ("matscipy" in line or word == "neighbour_list"))
    ]
    assert found == []


def test_usual_order_of_words():
    assert [where for where, line in lines() if ODD.search(line)] == []
