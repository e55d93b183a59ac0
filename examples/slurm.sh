#!/usr/bin/env bash
#SBATCH --job-name=glyffctl
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --signal=TERM@120
#SBATCH --requeue
# Train on several machines under Slurm: one process a GPU, started by srun.
#
#   sbatch examples/slurm.sh
#
# Two minutes before its time limit the job receives SIGTERM, saves and exits; requeued, it resumes.
set -euo pipefail

MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_ADDR
export MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK

srun --kill-on-bad-exit=1 glyffctl train --data data --out runs/big
