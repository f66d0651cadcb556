#!/usr/bin/env bash
# A study on Slurm: Ray on the nodes of one allocation, the driver on the first of them.
#   sbatch --nodes 4 --gpus-per-node 4 cluster/slurm.sh --space aesop --trials 64 --data /shared/DF2K.arrow \
#       --weights /shared/weights --artifacts /shared/artifacts --output /shared/runs/aesop
# Arguments are those of study/sweep.py. The checkout, its environment (make setup) and --output must be on storage that
# all nodes share. Slurm sends SIGTERM at the end of the time limit and before it preempts the job: every trial saves,
# and the job requeues itself to continue.
#SBATCH --job-name=aesop-study
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@180
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=aesop-study-%j.log
set -euo pipefail

cd "${SLURM_SUBMIT_DIR:?run it by sbatch}"
export PATH="$PWD/.venv/bin:$PATH"
unset PYTHONDONTWRITEBYTECODE
port=${RAY_PORT:-$((20000 + SLURM_JOB_ID % 20000))} # differs between jobs that share a node
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address="$head:$port"

# The token of this job, on shared storage, readable by its owner only; on a command line `ps` would show it.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$PWD/.ray-token-$SLURM_JOB_ID" RAY_USAGE_STATS_ENABLED=0
(umask 077 && python -c 'import secrets; print(secrets.token_hex(32), end="")' > "$RAY_AUTH_TOKEN_PATH")
# Not /tmp/ray, which may belong to another user of a node, nor a long TMPDIR: a socket's path has at most 107 bytes.
export RAY_TMPDIR=${RAY_TMPDIR:-/tmp/ray-$SLURM_JOB_ID}

cpus=${SLURM_CPUS_ON_NODE:-$(nproc)}
srun --nodes=1 --ntasks=1 --nodelist="$head" --overlap \
    ray start --head --block --node-ip-address="$head" --port="$port" --num-cpus="$cpus" --disable-usage-stats &
pids=($!)
if [ "${SLURM_JOB_NUM_NODES:-1}" -gt 1 ]; then
    srun --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$((SLURM_JOB_NUM_NODES - 1)) --exclude="$head" --overlap \
        bash -c "until ray health-check --address $address; do sleep 2; done > /dev/null 2>&1
                 exec ray start --block --address=$address --num-cpus=$cpus --disable-usage-stats" &
    pids+=($!)
fi
finish() {
    kill "${pids[@]}" 2> /dev/null || true
    wait "${pids[@]}" 2> /dev/null || true
    rm -f "$RAY_AUTH_TOKEN_PATH"
}
trap finish EXIT

for _ in $(seq 120); do
    ray health-check --address "$address" > /dev/null 2>&1 && break
    sleep 1
done

python study/sweep.py --resume --address "$address" "$@" &
driver=$!
trap 'stopped=1; kill -TERM "$driver" 2> /dev/null || true' TERM
code=0
wait "$driver" || code=$?
if [ -n "${stopped:-}" ]; then # the wait above ended with the signal, not with the driver
    code=0
    wait "$driver" || code=$?
fi
if [ -n "${stopped:-}" ] && [ "$code" = 130 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
