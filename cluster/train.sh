# Sourced by slurm_cpu.job and slurm_gpu.job. `train_here OPTION...` trains with train_big's options on what Slurm gave
# this job. A job that Slurm starts again goes on from the newest checkpoint of its own run.

source cluster/keep_going.sh

# The run folder that train_big will take with these options.
run_folder() {
  "$python" - "$@" <<'PY'
import argparse, pathlib, sys
from daddy_puffer.config import load_config
from daddy_puffer.errors import UserError

options = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
for name in ("--config", "--run-name", "--resume"):
    options.add_argument(name)
given, _ = options.parse_known_args()
try:
    if given.resume:
        from daddy_puffer.learner.checkpoint import find_checkpoint
        print(find_checkpoint(pathlib.Path(given.resume)).parent.parent)
    else:
        config = load_config(given.config and pathlib.Path(given.config), {"train.run_name": given.run_name})
        print(pathlib.Path(config.train.runs_dir) / config.train.run_name)
except UserError as error:
    sys.exit(f"error: {error}")
PY
}

train_here() {
  find_python
  # One core is for the trainer; two games keep a worker busy while the other one's step is waited for.
  local workers=$((${SLURM_CPUS_PER_TASK:-8} - 1)) folder
  if ((workers < 1)); then workers=1; fi
  set -- --num-workers "$workers" --num-envs $((2 * workers)) --run-name "slurm_${SLURM_JOB_ID:-local}" "$@"
  folder=$(run_folder "$@") || judge "" "" $?
  if ((${SLURM_RESTART_COUNT:-0})) && [[ -n $(newest_checkpoint "$folder") ]]; then set -- "$@" --resume "$folder"; fi
  keep_going "$folder" "$python" -m daddy_puffer.train_big "$@"
}
