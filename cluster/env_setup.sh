#!/usr/bin/env bash
# Make .venv with everything that the job files need: once, on a login node, from the project's folder.
#   bash cluster/env_setup.sh [--cpu | --cuda] [--venv | --conda]
# Without options: CUDA's torch where there is a GPU or a Slurm that has some, else the CPU build; Python 3.10 or 3.11
# of this machine, else conda's, from PATH or from its usual folders in the home folder. Running it again only adds what
# is missing. All versions are those of constraints.txt.
# TORCH_INDEX: where the CPU build comes from; empty: where pip looks anyway (a mirror, a folder of wheels).
set -euo pipefail
cd "$(dirname "$0")/.."

torch="" base=""
for option; do
  case $option in
    --cpu | --cuda) torch=${option#--} ;;
    --venv | --conda) base=${option#--} ;;
    -h | --help) sed -n '2,7s/^# //p' "$0"; exit ;;
    *) echo "error: $option is not one of --cpu, --cuda, --venv, --conda" >&2; exit 2 ;;
  esac
done

right_python() { "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 12))' 2>/dev/null; }

find_python() {
  local name
  for name in python3.11 python3.10 python3 python; do
    if command -v "$name" >/dev/null && right_python "$name"; then command -v "$name"; return; fi
  done
}

find_conda() {
  local path
  for path in "${CONDA_EXE:-}" "$(command -v conda || true)" ~/{miniforge3,miniconda3,mambaforge,anaconda3,conda}/bin/conda; do
    if [[ -x $path ]]; then echo "$path"; return; fi
  done
}

if [[ -x .venv/bin/python ]]; then
  right_python .venv/bin/python || { echo "error: .venv has no Python 3.10 or 3.11: remove it and run this again" >&2; exit 1; }
  echo "environment: .venv, which is there already"
else
  python="" conda=""
  if [[ $base != conda ]]; then python=$(find_python); fi
  if [[ $base != venv && -z $python ]]; then conda=$(find_conda); fi
  if [[ -n $python ]]; then
    echo "environment: .venv, of $python"
    "$python" -m venv .venv
  elif [[ -n $conda ]]; then
    echo "environment: .venv, of $conda"  # a prefix of its own: everything finds .venv/bin/python either way
    "$conda" create --yes --quiet --prefix "$PWD/.venv" python=3.11 pip
  else
    echo "error: no Python 3.10 or 3.11 here (try: module avail python) and no conda: put Miniforge into the home folder" >&2
    exit 1
  fi
fi
python=.venv/bin/python

if [[ -z $torch ]]; then
  if command -v nvidia-smi >/dev/null || { command -v sinfo >/dev/null && sinfo --noheader --format=%G 2>/dev/null | grep -q gpu; }
  then torch=cuda; else torch=cpu; fi
fi

version=$(sed -n 's/^torch==//p' constraints.txt)
has_torch() { "$python" -c "import importlib.metadata as m, sys; sys.exit(m.version('torch').split('+')[0] != '$version')" 2>/dev/null; }
"$python" -m pip install --quiet --upgrade pip --constraint constraints.txt
if has_torch; then
  echo "torch: $version, which is there already"
else
  echo "torch: $version for $torch"
  source=()
  if [[ $torch == cpu ]]; then
    version+=+cpu
    index=${TORCH_INDEX-https://download.pytorch.org/whl/cpu}
    if [[ -n $index ]]; then source=(--extra-index-url "$index"); fi
  fi
  "$python" -m pip install --quiet --constraint constraints.txt "${source[@]}" "torch==$version"
fi
echo "packages: of constraints.txt; takes some minutes where pufferlib is compiled"
"$python" -m pip install --quiet --constraint constraints.txt --build-constraint constraints.txt --editable '.[wandb,sweep]'

"$python" - <<'PY'
import torch, daddy_puffer
print(f"daddy_puffer {daddy_puffer.__version__}, torch {torch.__version__}, GPU here: {torch.cuda.is_available()}")
PY
echo "ready: sbatch cluster/slurm_${torch/cuda/gpu}.job --total-steps 5000000"
