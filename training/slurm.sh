#!/usr/bin/env bash
# Train on several machines of a Slurm cluster, from the checkout: sbatch --nodes=2 --gpus-per-node=4 training/slurm.sh
# RUN.yaml. A process a GPU, or one a machine without any. A node that dies queues it again, and --resume goes on.
#SBATCH --job-name=bitexpand-train
#SBATCH --ntasks-per-node=1
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@120
set -euo pipefail
each=${SLURM_GPUS_ON_NODE:-1}
address=${MASTER_ADDR:-$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)}
export each address
# --multi_gpu is accelerate's word for a process a device on any machine; training takes what devices are there.
# shellcheck disable=SC2016  # the machine's own number is known on the machine alone
exec srun --kill-on-bad-exit=1 bash -c 'exec accelerate launch --multi_gpu --num_machines "$SLURM_NNODES" \
    --num_processes $((SLURM_NNODES * each)) --machine_rank "$SLURM_NODEID" --main_process_ip "$address" \
    --main_process_port $((20000 + SLURM_JOB_ID % 20000)) --mixed_precision no --dynamo_backend no \
    --num_cpu_threads_per_process 1 -m training run "$@" --resume' bash "$@"
