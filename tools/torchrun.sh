#!/usr/bin/env bash
# Common part of dist_train.sh and dist_test.sh:
#   torchrun.sh SCRIPT N ARG_1 ... ARG_N GPUS [options]
set -euo pipefail

TOOLS=$(cd "$(dirname "$0")" && pwd)
ROOT=$(dirname "$TOOLS")
SCRIPT=$1
COUNT=$2
shift 2
if [ $# -le "$COUNT" ] || ! [[ ${*:COUNT+1:1} =~ ^[1-9][0-9]*$ ]]; then
    sed -n 's/^#   /usage: /p' "$TOOLS/dist_${SCRIPT%.py}.sh" >&2
    exit 2
fi
POSITIONAL=("${@:1:COUNT}")
GPUS=${*:COUNT+1:1}
shift $((COUNT + 1))

# PYTHON chooses the interpreter; an activated environment comes before the project's own.
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python
    if [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && [ -x "$ROOT/.venv/bin/python" ]; then
        PYTHON=$ROOT/.venv/bin/python
    fi
fi

NNODES=${NNODES:-1}
PORT=${PORT:-${MASTER_PORT:-}}
if [ "$NNODES" != 1 ] && [ -z "${NODE_RANK:-}" -o -z "${MASTER_ADDR:-}" ]; then
    echo "error: NNODES=$NNODES needs NODE_RANK (0 on the first machine, 1 on the next) and" \
        "MASTER_ADDR (the first machine) on each of them." >&2
    exit 2
fi
if [ "$NNODES" = 1 ] && [ -z "$PORT" ]; then
    # Any free port, so that two jobs can share a machine.
    RENDEZVOUS=(--standalone)
else
    RENDEZVOUS=(--node-rank="${NODE_RANK:-0}" --master-addr="${MASTER_ADDR:-127.0.0.1}"
        --master-port="${PORT:-29500}" --rdzv-conf="timeout=${JOIN_TIMEOUT:-600}")
fi

export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
# One thread a process, as torchrun itself sets it, without its warning.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# Without the C++ stack of every lost connection: the launcher says it in words, and lets the
# processes print errors, but no warnings.
[ -n "${COSUB_DEBUG:-}" ] || export TORCH_CPP_LOG_LEVEL=${TORCH_CPP_LOG_LEVEL:-FATAL}
# torchrun, ending with 75 where a signal has stopped a training that can be resumed.
exec "$PYTHON" -m cosub_mm.launch.torchrun --nnodes="$NNODES" --nproc-per-node="$GPUS" \
    "${RENDEZVOUS[@]}" "$TOOLS/$SCRIPT" "${POSITIONAL[@]}" --launcher pytorch "$@"
