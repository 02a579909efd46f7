"""A run of its own that fails in training."""

from __future__ import annotations

from tests.commands import MINE, SMALL


def test_it_is_one_line_with_status_1_and_the_traceback_is_in_its_log(main, outputs):
    done = main("--config-dir", str(MINE), *SMALL, "activation=raises", "num_epoch=3")
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("failed: ")]
    (log,) = outputs.glob("runs/*/run.log")
    assert line == f"failed: RuntimeError: broken on purpose,; log with the traceback: {log}"
    assert "Traceback" in log.read_text()
