"""Arguments and scripts for sbatch, and parsing of the output of squeue."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from lenet_exp.executors.slurm.options import (
    SlurmOptions,
    allocation_arguments,
    allocation_script,
    job_name,
    job_prefix,
)
from lenet_exp.executors.slurm.queue import parsed
from lenet_exp.executors.slurm.slurm_slot import slot_name

OPTIONS = SlurmOptions(
    allocations=2, tasks=8, cpus=1, partition="main", time="1:00:00", before=["module load python"]
)


def test_flags_of_the_launcher_become_options_of_sbatch():
    typed = (
        "--ntasks=8 --cpus-per-task=1 --signal=USR2@60 --open-mode=append --partition=main "
        "--time=1:00:00 --requeue"
    )
    assert " ".join(allocation_arguments(OPTIONS)) == typed


def test_sbatch_options_of_user_replace_and_remove_defaults():
    free = {"mem_per_cpu": "2G", "exclusive": True, "signal": None, "partition": "gpu", "nice": 0}
    options = SlurmOptions(allocations=1, tasks=1, cpus=2, requeue=False, sbatch=free)

    arguments = allocation_arguments(options)

    for expected in (
        "--mem-per-cpu=2G",
        "--exclusive",
        "--partition=gpu",
        "--no-requeue",
        "--nice=0",
    ):
        assert expected in arguments
    assert not [word for word in arguments if word.startswith("--signal")]


def test_script_passes_every_argument_unchanged(tmp_path):
    odd = ["it's", 'a "b"', "$HOME", "line\nbreak", ""]
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/bash\nwhile [[ $1 == --* ]]; do shift; done\nexec "$@"\n')
    srun.chmod(0o755)
    options = SlurmOptions(allocations=1, tasks=2, cpus=1, before=["export A=1"])

    script = allocation_script(options, ["printf", "%s|", *odd])

    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", script], env=path, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout == "|".join(odd) + "|"


def test_name_of_allocations_depends_on_options_except_number():
    def name_with(options: SlurmOptions) -> str:
        name = job_name(
            "abc", allocation_arguments(options), allocation_script(options, ["python"])
        )
        assert name.startswith(job_prefix("abc"))
        return name

    name = name_with(OPTIONS)
    with_fewer_tasks = name_with(SlurmOptions(allocations=2, tasks=4, cpus=1, partition="main"))
    on_other_nodes = name_with(SlurmOptions(allocations=2, tasks=8, cpus=1, partition="other"))

    assert name_with(replace(OPTIONS, allocations=5)) == name
    assert len({name, with_fewer_tasks, on_other_nodes}) == 3


def test_squeue_output_is_parsed_by_array_member():
    text = (
        "12|0|RUNNING|lenet-a-1|None\n"
        "12|1|PENDING|lenet-a-1|Resources\n"
        "13|N/A|CANCELLED|x|a|b\n"
        "nonsense\n"
    )

    jobs = parsed(text)

    assert [(job.id, job.name, job.state, job.reason) for job in jobs] == [
        ("12_0", "lenet-a-1", "RUNNING", "None"),
        ("12_1", "lenet-a-1", "PENDING", "Resources"),
        ("13", "x", "CANCELLED", "a|b"),
    ]
    assert [job.is_over for job in jobs] == [False, False, True]
    assert [job.waits for job in jobs] == [False, True, False]


def test_slot_name_contains_allocation_restart_and_task():
    array = {"SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_ID": "15"}
    assert slot_name(array | {"SLURM_RESTART_COUNT": "2", "SLURM_PROCID": "7"}) == "12_3-2-7"
    assert slot_name({"SLURM_JOB_ID": "15"}) == "15-0-0"
    assert Path(slot_name(array)).name == slot_name(array)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("hydra/launcher=cluster_slurm",), "sbatch"),  # which is not found
        (
            ("hydra/launcher=cluster_slurm", "hydra.launcher.allocations=0"),
            "hydra.launcher.allocations=0",
        ),
        (("hydra/launcher=cluster_slurm", "hydra/sweeper=basic"), "hydra/sweeper=grid"),
        (("hydra/launcher=cluster_ray", "hydra/sweeper=basic"), "hydra/sweeper=grid"),
        (("hydra/sweeper=basic",), "hydra/launcher=basic"),
    ],
)
def test_impossible_launcher_options_are_one_line(
    main, outputs, tmp_path, monkeypatch, more, named
):
    monkeypatch.setenv("PATH", str(tmp_path))
    done = main("-m", "dataset=digits", "seed=0,1", *more)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert named in done.stderr.splitlines()[-1]
    assert not list(outputs.glob("*s/*/*"))
