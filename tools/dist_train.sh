#!/usr/bin/env bash
# Train with several processes on one machine or more, with GPUs or without.
#   tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
# Without a GPU, GPUS is the number of processes.
# Several machines: run it on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set;
# each waits JOIN_TIMEOUT seconds (600) for the others.
exec "$(dirname "$0")/torchrun.sh" train.py 1 "$@"
