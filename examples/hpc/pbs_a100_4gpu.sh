#!/bin/bash
#PBS -N nh3
#PBS -l select=2:ncpus=64:mpiprocs=4:ngpus=4
#PBS -l walltime=24:00:00
#PBS -l place=scatter:excl
#PBS -j oe
# Nodes with 4 A100: one rank per GPU. Adapt the lines above and the settings below to your cluster.
# These sizes make 220,000 atoms per GPU. An H200 ran at full speed from 100,000 atoms on: 2.5
# million atom-steps per second (small model; medium 0.41 million), so a step of this size takes it
# about 0.09 s (medium 0.54 s).
set -euo pipefail

gpus_per_node=4
nx=${NX:-16} ny=${NY:-16} nz=${NZ:-16}      # 432 * nx * ny * nz atoms
steps=${STEPS:-1000000}
model=${MODEL:-nh3.nequip.pt2}              # deployed with --device cuda on such a GPU
lmp=${LMP:-lmp}                             # LAMMPS with Kokkos for CUDA
here=${PBS_O_WORKDIR:-$PWD}                 # folder of this script and of in.nh3_large
# module load ...                           # compiler, CUDA and MPI that LAMMPS was built with
# export LAMMPS_PLUGIN_PATH=...             # folder of the plugin, see docs/kokkos.md

cd "$here"
export OMP_NUM_THREADS=1 OMP_PROC_BIND=false
nodes=$(sort -u "${PBS_NODEFILE:?runs under PBS only}" | wc -l)

newest=
for file in first.restart second.restart last.restart; do
  if [[ -e $file && (-z $newest || $file -nt $newest) ]]; then newest=$file; fi
done
begin=(-var continue no)
if [[ -n $newest ]]; then begin=(-var continue yes -var restart "$newest"); fi

# Open MPI's mpirun; with MPICH: mpiexec -n ... -ppn "$gpus_per_node"
mpirun -np $((nodes * gpus_per_node)) --map-by "ppr:$gpus_per_node:node" --bind-to core \
  -x OMP_NUM_THREADS -x OMP_PROC_BIND \
  "$lmp" -in in.nh3_large -log "log.${PBS_JOBID:-0}" \
  -k on g "$gpus_per_node" -sf kk -pk kokkos newton on neigh half \
  -var model "$model" "${begin[@]}" -var steps "$steps" \
  -var nx "$nx" -var ny "$ny" -var nz "$nz"
