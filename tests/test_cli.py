"""Command lines as a person meets them: help, mistakes, signals, exit codes. Real programs on the real cartridge."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from daddy_puffer import cli, train_big, train_slim
from daddy_puffer.learner.checkpoint import find_checkpoint, load_checkpoint

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "150", "NO_COLOR": "1"}


EXPLORE = str(Path(__file__).parents[1] / "configs" / "explore.yaml")  # learns from its own ways


def run(*arguments: str, cwd: Path, module: str = "daddy_puffer.train_big") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)


def test_overview_lists_every_command_without_loading_torch(tmp_path: Path):
    code = "import sys; sys.argv = ['daddy-puffer', '--help']\nfrom daddy_puffer.cli import main\n"
    code += "try: main()\nfinally: assert 'torch' not in sys.modules, 'slow help'"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in cli.COMMANDS:
        assert name in done.stdout


def test_unknown_command(tmp_path: Path):
    done = run("fly", cwd=tmp_path, module="daddy_puffer")
    assert done.returncode == 2 and "no command 'fly'" in done.stderr and "train_big" in done.stderr


def test_the_usage_line_is_a_command_that_exists(tmp_path: Path):
    assert "Usage: daddy-puffer report " in run("report", "--help", cwd=tmp_path, module="daddy_puffer").stdout


def call(main: Callable[[], None], arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a program in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return int(str(left.value.code))


def test_command_is_the_module_of_that_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert call(cli.main, ("train-slim", "--help"), monkeypatch) == 0
    by_name = capsys.readouterr().out
    assert call(train_slim.main, ("--help",), monkeypatch) == 0
    assert "--config" in by_name
    assert by_name.split("\n", 2)[2] == capsys.readouterr().out.split("\n", 2)[2]  # all but the usage line


def test_help_of_train_big_names_every_option(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert call(train_big.main, ("--help",), monkeypatch) == 0
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    wanted = "num-envs total-steps batch-size model-size run-name log-interval save-interval video-interval config rom"
    assert {f"--{name}" for name in f"{wanted} seed device vectorization resume".split()} <= options


def test_wrong_option_exits_with_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert call(train_big.main, ("--num-env", "4"), monkeypatch) == 2
    assert "--num-env" in capsys.readouterr().err


def test_missing_rom_is_one_line_and_exit_code_1(tmp_path: Path):
    done = run("--rom", "nowhere.gb", cwd=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"error: ROM nowhere\.gb does not exist: [^\n]*\n", done.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--config", "nowhere.yaml"), "nowhere.yaml does not exist"),
        (("--model-size", "huge"), "must be slim or large"),
        (("--num-envs", "3"), "must be a multiple of train.num_workers"),
        (("--device", "abacus"), "device must be auto, cpu or cuda"),
        (("--resume", "nowhere"), "no checkpoint in nowhere"),
        (("--config", EXPLORE, "--demos", "nowhere"), "no episode_0001.npz or the like in nowhere"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_1(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    assert call(train_big.main, arguments, monkeypatch) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line


BROKEN = """
import sys
from daddy_puffer.envs.red import RedEnv
step, count = RedEnv.step, [0]
def broken(self, action):
    count[0] += 1
    if count[0] > 40:
        raise RuntimeError("the cartridge melted")
    return step(self, action)
RedEnv.step = broken
from daddy_puffer.train_big import main
sys.argv = ["train_big", "--total-steps", "100000", "--num-envs", "4", "--run-name", "broken"]
main()
"""


def test_worker_that_raises_ends_the_run_with_its_traceback(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", BROKEN], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert re.search(r"WorkerError: worker 0 \(environments 0 to 1\) raised:\nTraceback", done.stderr)
    assert done.stderr.rstrip().endswith("RuntimeError: the cartridge melted")
    assert find_checkpoint(tmp_path / "runs/broken").name == "step_80"


def test_ctrl_c_leaves_a_checkpoint_and_exit_code_130(tmp_path: Path):
    command = [sys.executable, "-m", "daddy_puffer.train_big", "--num-envs", "4", "--run-name", "x"]
    process = subprocess.Popen(
        [*command, "--log-interval", "400"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first.startswith("step 400/1,000,000 ")
    os.killpg(process.pid, signal.SIGINT)
    start = time.monotonic()
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and errors == ""
    assert time.monotonic() - start < 10
    assert "stop: reason SIGINT" in output.splitlines()[-1]
    checkpoint = find_checkpoint(tmp_path / "runs/x")
    assert load_checkpoint(checkpoint)["counters"]["steps"] >= 400
    assert (tmp_path / "runs/x/metrics.csv").read_text().count("\n") >= 2
