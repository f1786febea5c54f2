#!/usr/bin/env bash
# One search on every host of a Cloud TPU slice. Not run by us: written from the documentation of gcloud and of JAX.
#
#   export PROJECT=my-project ZONE=us-east5-a NAME=search TYPE=v5p-16 RUNTIME=v2-alpha-tpuv5 BUCKET=my-bucket
#   docs/tpu_vm.sh create                 # the slice; SPOT=1 for one that may be taken back at any time
#   docs/tpu_vm.sh install                # Python, JAX for TPUs and this checkout on every host; the bucket as ~/runs
#   docs/tpu_vm.sh search darts-first-order --data-dir data --search.batch 64
#   docs/tpu_vm.sh resume --data-dir data # once it was taken back: after create and install
#   docs/tpu_vm.sh fetch runs/tpu         # the run folder, from the bucket to this machine
#   docs/tpu_vm.sh delete
set -euo pipefail
: "${PROJECT:?}" "${ZONE:?}" "${NAME:?}" "${TYPE:?}" "${RUNTIME:?}" "${BUCKET:?}"
tpu() { gcloud compute tpus tpu-vm "$1" "${@:2}" --project="$PROJECT" --zone="$ZONE"; }
on_all() { tpu ssh "$NAME" --worker=all --command="$1"; }

case "${1:-}" in
  create)
    tpu create "$NAME" --accelerator-type="$TYPE" --version="$RUNTIME" ${SPOT:+--spot}
    ;;
  install)
    git archive --format=tar.gz --output=/tmp/jaxnas.tar.gz HEAD
    tpu scp /tmp/jaxnas.tar.gz "$NAME": --worker=all
    # The images' own Python may be older than 3.11. Only process 0 writes the run and reads it when it is resumed; what it writes outlives the slice in the bucket.
    on_all "
      set -e
      mkdir -p jaxnas runs && tar xzf jaxnas.tar.gz -C jaxnas
      command -v ~/.local/bin/uv || curl -LsSf https://astral.sh/uv/install.sh | sh
      ~/.local/bin/uv venv --clear --python 3.13 venv
      ~/.local/bin/uv pip install --python venv/bin/python 'jax[tpu]' ./jaxnas
      mountpoint -q runs || gcsfuse --implicit-dirs $BUCKET runs
    "
    ;;
  search)
    # JAX learns from the slice who each host is. The hosts must be started together, and so all are.
    on_all "venv/bin/jaxnas search $(printf '%q ' "${@:2}") --out runs/$NAME"
    ;;
  resume)
    on_all "venv/bin/jaxnas resume runs/$NAME $(printf '%q ' "${@:2}")"
    ;;
  fetch)
    gcloud storage cp --recursive "gs://$BUCKET/$NAME" "${2:?where to}"
    ;;
  delete)
    tpu delete "$NAME" --quiet
    ;;
  *)
    sed -n '2,/^set/p' "$0" | grep '^#'
    exit 2
    ;;
esac
