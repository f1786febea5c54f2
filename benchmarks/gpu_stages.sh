# The searches of gpu.sh, each a stage that goes on in the next call: sourced by it, with its variables.
#
# What a run needs is in $RUNS/NAME; a run that has a result is not begun again.

NB201="--only-search"
DARTS="--only-search"
# CIFAR-10's images in place of ImageNet's, and a quarter of the epochs, ours; the alphas' rate is that of the small recipes, for
# a hundred times fewer steps than on ImageNet.
MOBILE="--only-search --dataset cifar10 --search.space proxyless_small --search.train-share 0.8 --search.valid-share 0.2
  --search.epochs 30 --search.warmup-epochs 10 --search.alpha-learning-rate 6e-3
  --search.augmentation.resized-crop 0 --search.augmentation.crop-padding 4
  --search.augmentation.brightness 0 --search.augmentation.saturation 0
  --train.augmentation.resized-crop 0 --train.augmentation.crop-padding 4
  --train.augmentation.brightness 0 --train.augmentation.contrast 0 --train.augmentation.saturation 0 --train.augmentation.hue 0"
TABLE_OF="proxyless_small --mode operations"
TRAINING="--recipe darts-cifar10"
TRUST=
if [ -n "$tiny" ]; then  # Small networks on digits, which need no file.
  NB201="--only-search --search.channels 2 --search.cells 1 --search.epochs 1 --search.batch 324"
  DARTS="--only-search --search.channels 2 --search.cells 3 --search.epochs 1 --search.batch 324"
  MOBILE="--only-search --search.width 0.25 --search.epochs 2 --search.batch 324 --search.latency.measured 0"
  TABLE_OF="proxyless_tiny --width 0.25 --mode operations --rounds 3 --held-out 2 --noise 1e9"
  TRAINING="--recipe darts-digits --train.channels 2 --train.cells 3 --train.epochs 1 --train.batch 324"
  TRUST="--sample 20 --images 64"
fi
recipe() { if [ -n "$tiny" ]; then echo "$2"; else echo "$1"; fi; }  # recipe FULL TINY

# Runs jaxnas for as long as this call may take, less the minute in which it saves its state: SIGTERM makes it leave with 75.
limited() {
  local left=$((DEADLINE - SECONDS + began - 60))
  [ "$left" -gt 30 ] || again
  timeout --preserve-status -s TERM -k 55 "$left" "$PYTHON" -m jaxnas "$@"
}

again() {
  echo "== $stage: not finished. Call it again with the same RUNS=$RUNS"
  leave 75
}

leave() {  # leave CODE: writes the stage's record, from whatever there is.
  "$PYTHON" -m benchmarks.gpu_record "$stage" "$RUNS" "$prefix-$stage.json" || exit 1
  if [ -n "${OUT:-}" ]; then mkdir -p "$OUT/runs" && cp -r "$RUNS/." "$OUT/runs/"; fi
  exit "$1"
}

finished() {  # finished CODE: goes on with the script where a run ended well, or could not meet its target.
  case $1 in
    0 | 3) ;;
    75 | 124 | 137 | 143) again ;;
    *) leave "$1" ;;
  esac
}

go() {  # go NAME VERB ARGUMENTS...: begins a run, or goes on with it.
  local run=$RUNS/$1
  shift
  [ ! -e "$run/result.json" ] || return 0
  if [ -e "$run/config.json" ]; then
    limited resume "$run"
  else
    limited "$@" --out "$run"
  fi
  finished $?
}

need() {  # need STAGE NAME: a run of another stage.
  [ -e "$RUNS/$2/result.json" ] || { echo "$stage needs $RUNS/$2: benchmarks/gpu.sh --stage $1" >&2; exit 1; }
}

looked_up() {  # looked_up NAME: what the table says of a run, where there is a table.
  if [ -e "$TABLE" ]; then
    limited query "$RUNS/$1" --table "$TABLE" --dataset cifar10 --split ori-test --epochs 200 --json "$RUNS/$1-query.json"
    finished $?
  else
    echo "No table of NAS-Bench-201 at $TABLE: $1 is not looked up."
  fi
}

nb201() {  # nb201 NAME RECIPE: searches with every seed, and asks the table.
  for seed in $SEEDS; do
    go "$1-$seed" search "$2" $NB201 --seed "$seed"
    looked_up "$1-$seed"
  done
}

run_stage() {
  case $stage in
    gdas) nb201 gdas "$(recipe nb201-gdas gdas-digits)" ;;
    darts-v1) nb201 darts-v1 "$(recipe nb201-darts-v1 nb201-digits)" ;;
    darts-v2) nb201 darts-v2 "$(recipe nb201-darts-v2 nb201-digits)" ;;
    trust)
      for run in gdas darts-v1; do
        for seed in $SEEDS; do
          need "$run" "$run-$seed"
          [ ! -e "$RUNS/$run-$seed-trust.json" ] || continue
          limited trust "$RUNS/$run-$seed" --table "$TABLE" --dataset cifar10 $TRUST --json "$RUNS/$run-$seed-trust.json"
          finished $?
        done
      done ;;
    darts)
      for seed in $SEEDS; do go "darts-$seed" search "$(recipe darts-first-order darts-digits)" $DARTS --seed "$seed"; done ;;
    proxyless)
      local table=$RUNS/proxyless-table.json
      # A table that fails its check, which ends with 1, is one all the same: what is derived with it says so.
      if [ ! -e "$table" ]; then limited profile $TABLE_OF --out "$table" || [ -e "$table" ] || finished $?; fi
      for target in $("$PYTHON" -m benchmarks.gpu_record targets "$table" $(recipe proxyless_small "proxyless_tiny 0.25")); do
        # A target is held with full_v2; with two paths and with rewards it is the reference of the paper's own terms.
        local recipe=$(recipe proxyless proxyless-mobile-digits) term="--search.latency.table $table --search.latency.form"
        go "proxyless-two-$target" search $recipe $MOBILE --search.gates two $term additive --search.latency.reference $target
        go "proxyless-full_v2-$target" search $recipe $MOBILE --latency-table "$table" --target-ms "$target"
        go "proxyless-reinforce-$target" search $(recipe proxyless-reinforce "$recipe --search.estimator reinforce --search.paths 4") \
          $MOBILE $term reward --search.latency.reference $target
        [ -z "$tiny" ] || break  # One shows that it works.
      done ;;
    retrain)
      for seed in $SEEDS; do
        need darts "darts-$seed"
        go "retrain-$seed" train "$RUNS/darts-$seed" $TRAINING
      done ;;
    *)
      echo "Unknown stage $stage. In this order: gdas darts-v1 trust darts proxyless darts-v2 retrain" >&2
      exit 2 ;;
  esac
  echo "== $stage: finished"
  leave 0
}
