"""Every command explains itself, and its errors are one line."""

import argparse
import re
import signal

import pytest

from nequip_legato.cli import deploy_main, main, running
from nequip_legato.errors import LegatoError

COMMANDS = [
    "nequip-deploy build",
    "nequip-deploy info",
    *(
        f"nequip-legato plugin {action}"
        for action in ["build", "install", "remove", "info", "clean"]
    ),
    "nequip-legato stability run",
    "nequip-legato stability report",
    "nequip-legato improve",
    "nequip-legato quantum run",
    "nequip-legato quantum report",
    "nequip-legato sharpness",
    "nequip-legato plot",
    "nequip-legato migrate",
]


def ask(words: list[str], capsys) -> tuple[int, str, str]:
    try:
        status = (deploy_main if words[0] == "nequip-deploy" else main)(words[1:])
    except SystemExit as end:
        status = end.code
    return status, *capsys.readouterr()


def options(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_one_example_that_the_command_understands(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    status, out, _ = ask([*command.split(), "--help"], capsys)
    assert status == 0
    (example,) = re.findall(r"Example: (.*?)(?:\.(?: |$)|$)", out, re.MULTILINE)
    assert example.startswith(command)
    assert options(example) <= options(out.replace(example, ""))


def test_all_commands_are_listed_here(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    leaves = []
    todo = [["nequip-deploy"], ["nequip-legato"]]
    while todo:
        words = todo.pop()
        _, out, _ = ask([*words, "--help"], capsys)
        if re.search(r"(COMMAND|ACTION) \.\.\.", out):
            todo += [[*words, name] for name in re.findall(r"^    ([a-z]+)\b", out, re.MULTILINE)]
        else:
            leaves.append(" ".join(words))
    assert sorted(leaves) == sorted(COMMANDS)


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("plugin build --lammps nowhere", "is not a build folder of LAMMPS"),
        ("plugin install nowhere", "is not a source tree of LAMMPS"),
        ("plugin remove nowhere", "is not a source tree of LAMMPS"),
        ("plugin build --force", "--lammps"),
        ("migrate old.yaml new.yaml --npz out.extxyz", "leave NEW.yaml out"),
        ("migrate old.yaml --validation", "give both"),
    ],
)
def test_one_line_for_bad_input(words, cause, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = ask(["nequip-legato", *words.split()], capsys)
    assert status == 1
    assert out == ""
    assert err.count("\n") == 1
    assert cause in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("problem", [LegatoError, AttributeError, None])
def test_an_interrupt_that_turns_into_an_error_is_an_interrupt(number, problem, capsys):
    """As in C++ code of torch, which turns it into an error of its own."""

    def interrupted(parsed: argparse.Namespace) -> None:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            if problem is None:
                raise
        raise problem("cannot compile")

    parser = argparse.ArgumentParser("program")
    parser.set_defaults(run=interrupted)
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it in the background
    try:
        assert running.run(parser, []) == 130
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert capsys.readouterr().err == "program: interrupted\n"
