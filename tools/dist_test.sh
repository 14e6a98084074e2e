#!/usr/bin/env bash
# Test with several processes on one machine or more, with GPUs or without.
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
# Several machines: run it on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set;
# each waits JOIN_TIMEOUT seconds (600) for the others.
exec "$(dirname "$0")/torchrun.sh" test.py 2 "$@"
