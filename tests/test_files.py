"""Files that appear whole or not at all, and scratch folders that never stay."""

import os
import subprocess
import sys
from pathlib import Path

from nequip_legato.files import replacing, scratch_folder, write_atomically

HOLD = """
import sys, time
from pathlib import Path
from nequip_legato.files import scratch_folder
with scratch_folder("ours-", Path(sys.argv[1])) as folder:
    print(folder, flush=True)
    time.sleep(60)
"""


def _holding(parent: Path) -> tuple[subprocess.Popen, Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(parent)], stdout=subprocess.PIPE, text=True
    )
    return process, Path(process.stdout.readline().strip())


def _age(folder: Path) -> None:
    os.utime(folder, (0, 0))


def test_scratch_of_a_killed_process_goes_and_that_of_a_living_one_stays(tmp_path):
    dead, left = _holding(tmp_path)
    (left / "file").write_text("")
    dead.kill()
    dead.wait()
    alive, held = _holding(tmp_path)
    foreign = tmp_path / "ours not"
    foreign.mkdir()
    for folder in (left, held, foreign):
        _age(folder)
    try:
        with scratch_folder("ours-", tmp_path) as own:
            assert set(tmp_path.iterdir()) == {own, held, foreign}
    finally:
        alive.kill()
        alive.wait()
    assert set(tmp_path.iterdir()) == {held, foreign}


def test_names_as_long_as_they_may_be(tmp_path):
    for letter in ("x", "ü"):
        path = tmp_path / (letter * (255 // len(letter.encode())))
        write_atomically(path, "whole")
        assert path.read_text() == "whole"


def test_bytes_of_a_path_that_are_no_text(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    write_atomically(tmp_path / "list", f"{name} müller\n")
    assert (tmp_path / "list").read_bytes() == b"caf\xe9 m\xc3\xbcller\n"
    with replacing(tmp_path / name) as hidden:
        hidden.write_text("whole")
    assert (tmp_path / name).read_text() == "whole"
