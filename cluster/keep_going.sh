# Sourced by the job files: a run that is longer than a job. One copy of what happens at a warning, at the end and at a
# restart. Needs $python; knows nothing of what is trained.
#
# Slurm warns with SIGUSR1 before the time limit (--signal=B:USR1@300), on some clusters also before it preempts; it
# sends SIGTERM to all processes of a job that it preempts, cancels or ends. The program is told with SIGTERM: it writes
# a checkpoint and leaves with 143. Then
#   nobody has decided about the job yet -> it puts itself back into the queue (Slurm requeues only what it kills)
#   preempted, node failure              -> Slurm has put it back already
#   cancelled                            -> it ends
# Anything but 143 is the program's own end: 0 is done, the rest is a failed job. Neither is run again, but for a program
# that failed after the warning, over something else than its checkpoint: a new one is there, so it goes on from that.

set -euo pipefail

warned="" run=""  # the signal that came; the program's process
# Before anything slow: a signal without a trap ends the script, and the job counts as failed.
trap 'warned=${warned:-USR1}; [[ -z $run ]] || kill -TERM "$run" 2>/dev/null || true' USR1
trap 'warned=TERM; [[ -z $run ]] || kill -TERM "$run" 2>/dev/null || true' TERM

say() { echo "[$(date '+%F %T') job ${SLURM_JOB_ID:-none} start $((${SLURM_RESTART_COUNT:-0} + 1))] $*"; }

# The program that trains: Python of the environment that env_setup.sh made.
find_python() {
  python=${PYTHON:-.venv/bin/python}
  if ! command -v "$python" >/dev/null; then
    echo "error: no $PWD/$python: run bash cluster/env_setup.sh once, and sbatch from the project's folder" >&2
    exit 1
  fi
}

# newest_checkpoint FOLDER: the name of the one that --resume would take; nothing if there is none.
newest_checkpoint() {
  local path
  if path=$(readlink "$1/checkpoints/latest"); then echo "$path"; return; fi
  for path in "$1"/checkpoints/step_*; do
    if [[ -e $path ]]; then echo "${path##*/}"; fi
  done | sort -t_ -k2 -n | tail -1
}

# keep_going FOLDER COMMAND...: run the command, which trains in run folder FOLDER, as told above; does not return.
keep_going() {
  local folder=$1 before code=143
  shift
  before=$(newest_checkpoint "$folder")
  say "on $(hostname): $folder from ${before:-the beginning}"
  if [[ -z $warned ]]; then
    "$@" &
    run=$!
    if [[ -n $warned ]]; then kill -TERM "$run" 2>/dev/null || true; fi
    # A trap interrupts `wait`, so it is repeated; asked again, bash still knows the code of a child that has ended.
    while wait "$run" || true; kill -0 "$run" 2>/dev/null; do :; done
    code=0
    wait "$run" || code=$?
  fi
  judge "$folder" "$before" "$code"
}

# judge FOLDER BEFORE CODE: what becomes of the job whose program left with CODE, having begun from checkpoint BEFORE.
judge() {
  local folder=$1 before=${2:-the beginning} code=$3 after
  after=$(newest_checkpoint "$folder")
  if [[ $code == 143 ]]; then warned=${warned:-TERM}; fi  # Slurm can signal the program and not its shell
  # SIGTERM reaches every process of a job, also the workers: then a run can end over them, with a checkpoint all the same.
  # And a disk that is full, or a log, can fail it when all is saved.
  if [[ -n $warned && $code != 0 && ${after:-$before} != "$before" ]]; then code=143; fi
  if [[ $code == 0 ]]; then
    say "done: $folder"
  elif [[ -z $warned || $code != 143 ]]; then
    say "failed with exit code $code: not run again; the cause is above"
  elif [[ $warned == TERM && $(job_fact JobState) != RUNNING ]]; then
    say "stopped by SIGTERM at ${after:-$before}: whether it goes on is Slurm's decision"
  elif [[ $warned == USR1 && ${after:-$before} == "$before" && $(job_fact PreemptTime) != 2* ]]; then
    say "a whole job without a step of progress since $before: not run again"
  else
    requeue "${after:-$before}"
  fi
  exit "$code"
}

# job_fact NAME: what the controller says of this job. JobState is still RUNNING while nobody has decided anything.
job_fact() {
  patiently scontrol --oneliner show job "$(job_name)" 2>/dev/null | sed -n "s/.* $1=\([A-Z0-9][^ ]*\).*/\1/p"
}

# patiently COMMAND...: until it succeeds, for two and a half minutes; a controller that restarts is back by then.
patiently() {
  local attempts=15
  until "$@"; do
    ((--attempts)) || return 1
    sleep 10
  done
}

# What scontrol calls this job, alone or as an element of an array.
job_name() {
  if [[ -n ${SLURM_ARRAY_JOB_ID:-} ]]; then echo "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"; else echo "${SLURM_JOB_ID:-0}"; fi
}

# requeue CHECKPOINT: back into the queue. Slurm then ends this script, which is no warning any more.
requeue() {
  trap '' TERM USR1
  if patiently scontrol requeue "$(job_name)"; then
    say "stopped by SIG$warned at $1: back in the queue"
    exit 0
  fi
  say "stopped by SIG$warned at $1, but scontrol requeue failed: go on with the same sbatch line and --resume"
}
