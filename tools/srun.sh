#!/usr/bin/env bash
# Common part of slurm_train.sh and slurm_test.sh:
#   srun.sh PARTITION JOB_NAME SCRIPT ARGUMENTS...
set -euo pipefail

TOOLS=$(cd "$(dirname "$0")" && pwd)
ROOT=$(dirname "$TOOLS")
PARTITION=$1 JOB_NAME=$2 SCRIPT=$3
shift 3
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-8}
# Fewer GPUs than a node has: ask for one node's share only.
if [ "$GPUS" -lt "$GPUS_PER_NODE" ]; then GPUS_PER_NODE=$GPUS; fi

if [ -z "${PYTHON:-}" ]; then
    PYTHON=python
    if [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && [ -x "$ROOT/.venv/bin/python" ]; then
        PYTHON=$ROOT/.venv/bin/python
    fi
fi

export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
# A job that slurm has started again goes on where it was.
if [ "$SCRIPT" = train.py ] && [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] && [[ " $* " != *" --resume"* ]]; then
    set -- "$@" --resume
fi
# Two minutes before its end slurm warns the processes, which save and end with 75. In a batch job
# that brings the job back into the queue; otherwise start again with --resume.
# SRUN_ARGS holds several words on purpose.
# shellcheck disable=SC2086
RC=0
srun --partition="$PARTITION" --job-name="$JOB_NAME" --gres=gpu:"$GPUS_PER_NODE" \
    --ntasks="$GPUS" --ntasks-per-node="$GPUS_PER_NODE" --signal="${WARNING:-USR1@120}" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "$PYTHON" -u "$TOOLS/$SCRIPT" "$@" --launcher slurm || RC=$?
if [ "$RC" = 75 ] && [ -n "${SLURM_JOB_ID:-}" ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$RC"
