"""Check how a command ended."""

from __future__ import annotations

from tests.tools.commands import Done


def succeeded(done: Done) -> Done:
    """Check that a command succeeded, and return its output."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def refused(done: Done, *named: str, program: str = "train") -> str:
    """Check that a command ended with one line, which names these texts, and with status 2; return the line."""
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith(f"lenet-{program}: "), done.stderr
    assert (done.stderr.count("\n"), "Traceback" in done.stderr) == (1, False), done.stderr
    assert [text for text in named if text not in done.stderr] == [], done.stderr
    return done.stderr
