#!/usr/bin/env bash
# Everything that can be seen only on a GPU, in one command:
#
#   PYTHON=.venv/bin/python examples/gpu/check.sh --out FOLDER --lammps SOURCE [options of build.sh]
#       [--checkpoint FILE] [--pair-allegro LMP]
#
#   1. builds LAMMPS with Kokkos for CUDA and the plugin (build.sh)
#   2. runs tests/kokkos with `-k on g 1`, and the tests of the keyword `device`
#   3. deploys a model as TorchScript, AOTInductor, and AOTInductor with Allegro's Triton kernels
#   4. compares energies, forces and stresses of 3,456 atoms: CPU against `device cuda` against
#      allegro_legato/kk, also where torch may use so little memory that a block does not fit at first
#   5. measures speed: styles, files, sizes of blocks, 432 to 746,496 atoms; a CUDA graph of one
#      block; and pair_allegro/kk of the LAMMPS that --pair-allegro names, with files of its own
#
# --checkpoint is a model of H and N (default: the example's, trained for one epoch). What was seen
# goes to FOLDER/*.json and FOLDER/*.log; the exit status is 0 if steps 1 to 4 passed.
# PYTHON has nequip-legato[dev] and a torch for the GPU.
set -euo pipefail

fail() { echo "check.sh: $*" >&2; exit 1; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(dirname "$(dirname "$here")")
python=$(command -v "${PYTHON:-python3}") || fail "there is no ${PYTHON:-python3}; set PYTHON"
export PYTHON=$python
PATH=$(dirname "$python"):$PATH
out='' checkpoint='' pair_allegro='' build=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --lean) build+=("$1"); shift; continue ;;
    --plugin-only) fail "--plugin-only is for build.sh, where there is no GPU" ;;
  esac
  [[ $# -ge 2 ]] || fail "option $1 needs a value"
  case $1 in
    --checkpoint) checkpoint=$(realpath "$2") ;;
    --pair-allegro) pair_allegro=$(realpath "$2") ;;
    --out) out=$2; build+=("$1" "$2") ;;
    *) build+=("$1" "$2") ;;
  esac
  shift 2
done
[[ -n $out ]] || fail "--out is needed; see the head of this file"
"$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' ||
  fail "the torch of $python finds no GPU; install one for it, and check nvidia-smi"
mkdir -p "$out"
out=$(cd "$out" && pwd)

step() { echo "== $*"; }
failed=()
# Goes on after a failure: a machine with a GPU may be lent for a short time.
attempt() { # NAME COMMAND...
  local name=$1
  shift
  step "$name (log: $out/$name.log)"
  if "$@" > "$out/$name.log" 2>&1; then
    tail -n 3 "$out/$name.log"
  else
    failed+=("$name")
    tail -n 25 "$out/$name.log"
  fi
}

step build
"$here/build.sh" "${build[@]}" > "$out/build.log" 2>&1 || { tail -n 30 "$out/build.log"; fail "the build failed"; }

export NEQUIP_LEGATO_CACHE=$out/cache OMP_NUM_THREADS=1 OMP_PROC_BIND=false
cd "$repository"
attempt tests_device "$python" -m pytest -q -rs tests/pair_style/test_devices.py tests/pair_style/test_out_of_memory.py
# the tests compile the plugin once more, by the way that users go
NEQUIP_LEGATO_KOKKOS_BUILD=$out/lammps-build \
  NEQUIP_LEGATO_KOKKOS_SWITCHES='g 1 -pk kokkos newton on neigh half' \
  attempt tests_kokkos "$python" -m pytest -q -rs tests/kokkos -m 'not slow' -k 'not bitwise and not bad_input'

if [[ -z $checkpoint ]]; then
  checkpoint=$out/training/best.ckpt
  if [[ ! -e $checkpoint ]]; then
    attempt train nequip-train -cp "$repository/examples/nh3" -cn train \
      "hydra.run.dir=$out/training" trainer.max_epochs=1
  fi
fi
deploy() { # NAME ARGUMENTS...
  local name=$1
  shift
  [[ -e $out/$name ]] || attempt "deploy_$name" nequip-deploy build "$checkpoint" "$out/$name" "$@"
}
deploy model.nequip.pth
deploy cuda.nequip.pt2 --device cuda
deploy triton.nequip.pt2 --device cuda --modifiers enable_TritonContracter

lmp=(--lmp "$out/lammps-build/lmp" --plugin "$out/plugin-build" --work "$out/work")
attempt agreement "$python" "$here/measure.py" agreement "${lmp[@]}" --out "$out/agreement.json" \
  "$out/model.nequip.pth" "$out/cuda.nequip.pt2" "$out/triton.nequip.pt2"
required=("${failed[@]}")
# its own best: files of its own target, with and without Allegro's Triton kernels
compile() { # NAME ARGUMENTS...
  local name=$1
  shift
  [[ -e $out/$name ]] || attempt "compile_$name" nequip-compile --mode aotinductor --device cuda \
    --target pair_allegro "$@" "$checkpoint" "$out/$name"
}
rivals=()
if [[ -n $pair_allegro ]]; then
  compile rival.nequip.pt2
  compile rival_triton.nequip.pt2 --modifiers enable_TritonContracter --
  rivals=(--pair-allegro "$pair_allegro" --rivals "$out/rival.nequip.pt2" "$out/rival_triton.nequip.pt2")
fi
attempt speed "$python" "$here/measure.py" speed "${lmp[@]}" --out "$out/speed.json" "${rivals[@]}" \
  -- "$out/model.nequip.pth" "$out/cuda.nequip.pt2" "$out/triton.nequip.pt2"
attempt graph "$python" "$here/measure.py" graph --out "$out/graph.json" "$out/cuda.nequip.pt2" \
  "$out/triton.nequip.pt2"
if [[ ${#failed[@]} -gt 0 ]]; then echo "failed: ${failed[*]}"; fi
exit $((${#required[@]} > 0))
