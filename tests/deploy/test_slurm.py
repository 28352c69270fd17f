"""The job array example: sound shell, options that exist, and parts that are the whole."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from braggwatch.services.cli import app

SCRIPT = Path(__file__).parents[2] / "deploy/slurm/simulate.sbatch"


def run_task(tmp_path: Path, **environment: str) -> list[str]:
    """Run the script with a stand-in for the program that writes its arguments down."""
    program = tmp_path / "braggwatch"
    program.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    ran = subprocess.run(
        ["bash", str(SCRIPT)],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_CPUS_PER_TASK": "4", **environment},
    )
    return ran.stdout.split()


def test_it_is_sound_shell() -> None:
    ran = subprocess.run(["bash", "-n", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_each_task_makes_its_part(tmp_path: Path) -> None:
    words = run_task(tmp_path, SLURM_ARRAY_TASK_ID="3", SLURM_ARRAY_TASK_COUNT="16", SAMPLES="500", CONFIG="a.json")
    assert words[:2] == ["sim", "cxdp"]
    options = dict(zip(words[2::2], words[3::2], strict=True))
    assert options == {
        "--n": "500",
        "--first": "0",
        "--out": "data/train",
        "--workers": "4",
        "--config": "a.json",
        "--shard": "3/16",
    }


def test_a_few_tasks_sent_again_keep_their_parts(tmp_path: Path) -> None:
    words = run_task(tmp_path, SLURM_ARRAY_TASK_ID="7", SLURM_ARRAY_TASK_COUNT="1", PARTS="16")
    assert words[-1] == "7/16"
    assert "--config" not in words


def test_its_options_exist(tmp_path: Path) -> None:
    words = run_task(tmp_path, SLURM_ARRAY_TASK_ID="1", SLURM_ARRAY_TASK_COUNT="2", CONFIG="a.json")
    command = get_command(app).commands["sim"].commands["cxdp"]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("part", ["0/4", "5/4", "1", "a/b", "1/0"])
def test_a_part_that_makes_no_sense_is_refused(tmp_path: Path, part: str) -> None:
    ran = CliRunner().invoke(app, ["sim", "cxdp", "--out", str(tmp_path), "--shard", part])
    assert ran.exit_code == 3
    assert "error" in ran.output
    assert list(tmp_path.iterdir()) == []
