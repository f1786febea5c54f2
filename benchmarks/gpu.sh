#!/usr/bin/env bash
# Everything to be measured on a GPU, in calls of under ten minutes.
#
#   benchmarks/gpu.sh [--tiny] [DIRECTORY]                 the step, its memory, lowerings, precision, latencies: one call
#   benchmarks/gpu.sh [--tiny] --stage STAGE [DIRECTORY]   searches: the same call again and again, until it ends with 0
#
# Writes gpu-*.json into DIRECTORY: by default $OUT if that is set, else benchmarks/results. gpu-summary.json says of every
# part of the first call whether it ran, and why not. Parts have limits of their own and a common deadline; what matters most
# comes first.
#
# The stages, in this order, and what they leave in gpu-STAGE.json:
#   gdas darts-v1   NAS-Bench-201 with CIFAR-10 at full size, looked up in the table
#   trust           both runs' shared weights against the table, all 15,625 architectures
#   darts           first-order DARTS on CIFAR-10
#   proxyless       ProxylessNAS on CIFAR-10 with a table of this device, for three latencies: two paths, full_v2, REINFORCE
#   darts-v2        as darts-v1
#   retrain         DARTS's training of what darts found: 600 epochs
# A stage that is not finished ends with 75, its runs saved in RUNS; after a call on another machine, put them there first.
#
#   --tiny        the same on tiny sizes and on any device, to see that it works; writes tiny-*.json. A CPU compiles for longer:
#                 limits and deadline are four times as long
#   PYTHON=...    an interpreter (3.11 or newer) with JAX for the GPU and PyTorch; by default python3
#   WHEELS=...    a directory of wheels: what else is missing is installed from there, instead of by an index
#   GOLDENS=...   the directory of golden files; by default ../shared/goldens
#   DEADLINE=...  seconds for all parts together
#   RUNS=...      of stages: the folder of their runs; by default runs/gpu (--tiny: runs/gpu-tiny). Copied to $OUT/runs, if set
#   JAXNAS_DATA   of stages: the folder of CIFAR-10's official files; --tiny searches on digits
#   TABLE=...     of stages: a table of NAS-Bench-201; by default in ../shared/data
#   SEEDS=...     of stages: a search for each; by default 0
set -u
cd "$(dirname "$0")/.." || exit 1
PYTHON=${PYTHON:-python3}
GOLDENS=${GOLDENS:-../shared/goldens}
began=$SECONDS

tiny= stage= patience=1
if [ "${1:-}" = --tiny ]; then tiny=1 patience=4; shift; fi
if [ "${1:-}" = --stage ]; then stage=${2:?--stage needs a name}; shift 2; fi
DEADLINE=${DEADLINE:-$((560 * patience))}
results=${1:-${OUT:-benchmarks/results}}
prefix=${tiny:+tiny}
prefix=$results/${prefix:-gpu}
mkdir -p "$results" || exit 1
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
# PyTorch shares the GPU.
export XLA_PYTHON_CLIENT_PREALLOCATE=false

# What the package asks for and this interpreter lacks, but JAX, which is the machine's own, and TFDS, which is not used here.
missing=$("$PYTHON" - <<'END'
import re, tomllib
from importlib import metadata
for needed in tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]:
    name = re.match(r"[\w-]+", needed)[0]
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        if name not in ("jax", "tensorflow-datasets"):
            print(needed)
END
) || exit 1
if [ -n "$missing" ]; then
  echo "Installing beside $PYTHON:" $missing
  # Another JAX would not know this GPU: better to fail than to replace it.
  "$PYTHON" -c 'from importlib.metadata import version as v
for name in ("jax", "jaxlib", "torch", "numpy"): print(f"{name}=={v(name)}")' >"$scratch/constraints" || exit 1
  "$PYTHON" -m venv --clear --system-site-packages .venv-gpu || exit 1
  # Where $PYTHON is of a virtual environment itself, the system's packages are not those that it has.
  "$PYTHON" -c 'import site; print(*site.getsitepackages(), sep="\n")' >"$(echo .venv-gpu/lib/python*/site-packages)/base.pth"
  .venv-gpu/bin/python -m pip install -q -c "$scratch/constraints" ${WHEELS:+--no-index --find-links "$WHEELS"} $missing || exit 1
  PYTHON=.venv-gpu/bin/python
fi
if ! "$PYTHON" -c "import jax, sys; sys.exit(jax.default_backend() != 'gpu' and not '$tiny')"; then
  echo "JAX sees no GPU here. --tiny runs on any device." >&2
  exit 1
fi

if [ -n "$stage" ]; then
  RUNS=${RUNS:-runs/gpu${tiny:+-tiny}} SEEDS=${SEEDS:-0}
  TABLE=${TABLE:-../shared/data/nasbench201/nb201_main.npz}
  mkdir -p "$RUNS" || exit 1
  . benchmarks/gpu_stages.sh
  run_stage
fi

# part NAME LIMIT COMMAND...: runs a command that writes $prefix-NAME.json, for LIMIT seconds or what is left of the deadline.
part() {
  local name=$1 limit=$(($2 * patience)) left=$((DEADLINE - SECONDS + began)) code=0 start=$SECONDS
  shift 2
  [ "$limit" -lt "$left" ] || limit=$left
  rm -f "$prefix-$name.json"
  if [ "$limit" -lt 10 ]; then
    code=no_time_left
  else
    echo "== $name: at most $limit s"
    timeout -k 5 "$limit" "$@" >"$scratch/$name.log" 2>&1 || code=$?
    tail -n 40 "$scratch/$name.log"
  fi
  echo "== $name: exit $code after $((SECONDS - start)) s"
  printf '%s\t%s\t%s\t%s\t%s\n' "$name" "$code" "$((SECONDS - start))" "$limit" "$*" >>"$scratch/parts"
}

step() {  # step NAME LIMIT CASE ARGUMENTS...
  local name=$1 limit=$2 case=${tiny:+tiny}
  case=${case:-$3}
  shift 3
  part "$name" "$limit" "$PYTHON" -m benchmarks.search_step --case "$case" --json "$prefix-$name.json" "$@"
}

verify() {  # verify NAME LIMIT: distance from the golden values, as XLA multiplies float32 by default and with all digits
  part "$1" "$2" "$PYTHON" -m jaxnas verify golden "$GOLDENS/nb201_supernet_a.npz" --json "$prefix-$1.json"
}

# The search step at the paper's size: its rate, both memories, and the ratio to eager PyTorch; then to compiled PyTorch.
step step 180 darts-paper
if [ -n "$tiny" ]; then sizes="--tiny --only separable"; else sizes="--size paper"; fi
part lowerings 100 "$PYTHON" -m benchmarks.lowerings $sizes --json "$prefix-lowerings.json"
step step-compiled 200 darts-paper --compile-peer
step step-bfloat16 120 darts-paper --dtype bfloat16
verify precision-default 60
JAX_DEFAULT_MATMUL_PRECISION=highest verify precision-highest 60
step step-rematerialise 120 darts-paper --rematerialise
if [ -n "$tiny" ]; then sizes="--channels 4 --cells 1 --image-size 8 --rounds 3 --held-out 2 --noise 1000"; else sizes=; fi
# A table of latencies, and the networks held out that it is checked on. One that fails, which ends with 1, is a result, too.
part profile 200 bash -c '"$@" || [ $? = 1 ]' - "$PYTHON" -m jaxnas profile nb201 --mode operations $sizes \
  --out "$prefix-profile.json" --json "$prefix-profile-networks.json"

"$PYTHON" - "$scratch" "$prefix" <<'END'
import json, os, pathlib, sys
scratch, prefix = sys.argv[1:]
def relative(text):  # A record says nothing of where it was made.
    return text.replace(f"{prefix.rpartition('/')[0]}/", "").replace(f"{os.getcwd()}/", "")
parts = []
for line in pathlib.Path(scratch, "parts").read_text().splitlines():
    name, code, seconds, limit, command = line.split("\t")
    log, record = pathlib.Path(scratch, f"{name}.log"), pathlib.Path(f"{prefix}-{name}.json")
    part = {"part": name, "exit": int(code) if code.isdigit() else code, "timed_out": code in ("124", "137")}
    part |= {"seconds": int(seconds), "limit_s": int(limit), "command": relative(command.split(" ", 1)[1])}
    part["record"] = record.name if record.exists() else None
    if code != "0":
        part["last_lines"] = relative(log.read_text(errors="replace")).splitlines()[-15:] if log.exists() else []
    parts.append(part)
path = pathlib.Path(f"{prefix}-summary.json")
path.write_text(json.dumps(parts, indent=1) + "\n")
print("Wrote:", path, *(path.parent / part["record"] for part in parts if part["record"]), sep="\n  ")
print("Failed or cut short:", ", ".join(part["part"] for part in parts if part["exit"] != 0) or "nothing")
END
