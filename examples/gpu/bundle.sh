#!/usr/bin/env bash
# Makes a folder with everything that check.sh needs, for a machine with a GPU and no network:
#
#   PYTHON=.venv/bin/python examples/gpu/bundle.sh --out FOLDER --lammps SOURCE [options of build.sh]
#       [--torch WHEEL] [--built FOLDER] [--checkpoint FILE] [--medium FILE]
#       [--python-version 3.12] [--no-wheels]
#
#   --torch WHEEL      the torch of that machine, as a wheel or an installed package. It is neither
#                      imported nor put into the bundle. Default: that of $PYTHON
#   --built FOLDER     build folder of a LAMMPS with Kokkos: only the plugin is compiled
#   --checkpoint, --medium   models of H and N; default: the example's, and one with l_max 2, trained
#                      for an epoch each
#   --python-version   version of that machine's Python, if it differs from the one here
#   --no-wheels        leave out Python packages: that machine has nequip-legato[dev]
#
# Without nvcc here, the bundle has the sources, and they are compiled there. That takes 30 minutes or
# more while the GPU is idle. On that machine:   FOLDER/run.sh --python PYTHON --minutes 8
set -euo pipefail

fail() { echo "bundle.sh: $*" >&2; exit 1; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(dirname "$(dirname "$here")")
python=$(command -v "${PYTHON:-python3}") || fail "there is no ${PYTHON:-python3}; set PYTHON"
export PYTHON=$python
PATH=$(dirname "$python"):$PATH
out='' lammps='' kokkos='' torch='' built='' checkpoint='' medium='' version='' wheels=yes build=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --no-wheels) wheels=no; shift; continue ;;
    --lean) build+=("$1"); shift; continue ;;
  esac
  [[ $# -ge 2 ]] || fail "option $1 needs a value"
  case $1 in
    --out) out=$2 ;;
    --torch) torch=$(realpath "$2") ;;
    --built) built=$(realpath "$2") ;;
    --checkpoint) checkpoint=$(realpath "$2") ;;
    --medium) medium=$(realpath "$2") ;;
    --python-version) version=$2 ;;
    --lammps) lammps=$(realpath "$2"); build+=("$1" "$lammps") ;;
    --kokkos) kokkos=$(realpath "$2"); build+=("$1" "$kokkos") ;;
    --arch | --jobs) build+=("$1" "$2") ;;
    *) fail "unknown option '$1'; see the head of this file" ;;
  esac
  shift 2
done
[[ -n $out ]] || fail "--out is needed; see the head of this file"
[[ -n $lammps || -n $built ]] || fail "--lammps or --built is needed; see the head of this file"
if [[ -n $built && ! -x $built/lmp ]]; then fail "there is no lmp in $built"; fi
for file in $checkpoint $medium; do [[ -f $file ]] || fail "there is no $file"; done
mkdir -p "$out"
out=$(cd "$out" && pwd)
scratch=$out/.making
rm -rf "$scratch" # of a run that was killed
mkdir "$scratch"
trap 'rm -rf "$scratch"' EXIT

echo "== torch"
if [[ -z $torch ]]; then
  torch=$("$python" -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])') ||
    fail "$python has no torch; name a wheel with --torch"
elif [[ -f $torch ]]; then # headers, and what the plugin is linked against
  "$python" - "$torch" "$scratch" <<'PYTHON' || fail "$torch is not a wheel of torch for Linux"
import sys, zipfile
wanted = [f"torch/lib/lib{name}.so" for name in ("torch", "torch_cpu", "c10")]
with zipfile.ZipFile(sys.argv[1]) as wheel:
    names = set(wheel.namelist())
    if not {"torch/version.py", *wanted} <= names:
        sys.exit(1)
    headers = [n for n in names if n.startswith("torch/include/")]
    wheel.extractall(sys.argv[2], ["torch/version.py", *wanted, *headers])
PYTHON
  torch=$scratch/torch
fi
[[ -f $torch/version.py ]] || fail "there is no torch package in $torch (no version.py)"
torch_version=$(sed -n "s/^__version__ = '\(.*\)'/\1/p" "$torch/version.py")

rm -rf "$out/lammps" "$out/sources" "$out/plugin-build"
if [[ -n $built ]]; then
  echo "== plugin for torch $torch_version"
  compiler=$(sed -n 's/^CMAKE_CXX_COMPILER:[A-Z]*=//p' "$built/CMakeCache.txt")
  cmake -S "$repository" -B "$out/plugin-build" -DCMAKE_CXX_COMPILER="$compiler" \
    -DLEGATO_LAMMPS_BUILD="$built" -DLEGATO_TORCH_DIR="$torch" \
    -DLEGATO_TORCH_VERSION="$torch_version" > "$scratch/log"
  cmake --build "$out/plugin-build" --parallel >> "$scratch/log" || { tail "$scratch/log"; exit 1; }
  lammps_build=$built plugin_build=$out/plugin-build
elif command -v nvcc > /dev/null; then
  echo "== LAMMPS, and the plugin for torch $torch_version"
  "$here/build.sh" --out "$out/build" --torch "$torch" "${build[@]}"
  lammps_build=$out/build/lammps-build plugin_build=$out/build/plugin-build
else
  echo "== no nvcc here: LAMMPS is to be compiled there"
  mkdir -p "$out/sources"
  cp -r "$lammps" ${kokkos:+"$kokkos"} "$out/sources/"
  printf '%s\n' "${build[@]}" > "$out/sources/options"
fi
if [[ ! -d $out/sources ]]; then
  mkdir "$scratch/lammps"
  cp "$lammps_build/lmp" "$lammps_build/CMakeCache.txt" "$plugin_build"/*.so "$scratch/lammps/"
  # all libraries except those of the system: LAMMPS', Kokkos', MPI's, CUDA's. The driver is that of
  # the other machine; here, libcuda.so may be a stand-in.
  ldd "$lammps_build/lmp" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' |
    { grep -v -E '^/(usr/)?lib|/libcuda\.so' || true; } | xargs -r -I{} cp -L {} "$scratch/lammps/"
  # by the name without a version, too, as Python's interface and tests ask for it
  for library in "$scratch"/lammps/liblammps.so.*; do
    if [[ -e $library ]]; then ln -s "$(basename "$library")" "$scratch/lammps/liblammps.so"; fi
  done
  echo "$torch_version" > "$scratch/lammps/torch-version"
  mv "$scratch/lammps" "$out/lammps"
fi
rm -rf "$out/plugin-build"

echo "== repository"
mkdir "$scratch/repository"
(cd "$repository" && { git ls-files -z --cached --others --exclude-standard 2> /dev/null ||
  find . -type f -not -path './.*' -print0; } |
  tar cf - --null --no-recursion --ignore-failed-read -T - | tar xf - -C "$scratch/repository")
rm -rf "$out/repository"
mv "$scratch/repository" "$out/repository"
cp "$here/there.sh" "$out/run.sh"

echo "== checkpoints"
# shellcheck source=models.sh
source "$here/models.sh"
export NH3_DATA=$repository/examples/nh3/data
mkdir -p "$out/checkpoints"
train() { # NAME GIVEN OVERRIDES...
  local name=$1 given=$2 command
  shift 2
  if [[ -n $given ]]; then cp "$given" "$out/checkpoints/$name.ckpt"; fi
  if [[ -e $out/checkpoints/$name.ckpt ]]; then return; fi
  mapfile -t command < <(training_of "$repository" "$scratch/$name" "$@")
  "${command[@]}" > "$scratch/log" 2>&1 || { tail "$scratch/log"; fail "training failed"; }
  mv "$scratch/$name/best.ckpt" "$out/checkpoints/$name.ckpt"
}
train small "$checkpoint" "${small_model[@]}"
train medium "$medium" "${medium_model[@]}"

if [[ $wheels == yes ]]; then
  echo "== wheels"
  mkdir -p "$out/wheels"
  # what is installed here, except torch and what comes with it
  "$python" -m pip freeze --exclude-editable | grep -v -i -E '^(torch|triton|nvidia|nequip.legato)|@' \
    > "$scratch/requirements"
  "$python" -m pip download --quiet --no-deps --prefer-binary -d "$out/wheels" \
    ${version:+--python-version "$version"} -r "$scratch/requirements"
  # Some packages are on PyPI as sources only. That machine may not be able to compile them.
  for source in "$out"/wheels/*.tar.gz "$out"/wheels/*.zip; do
    [[ -e $source ]] || continue
    "$python" -m pip wheel --quiet --no-deps -w "$scratch/wheels" "$source"
    rm "$source"
  done
  for wheel in "$scratch"/wheels/*.whl; do
    [[ -e $wheel ]] || continue
    [[ -z $version || $wheel == *-none-any.whl ]] ||
      fail "PyPI has no wheel of $(basename "$wheel" | cut -d- -f1) for Python $version; use that Python here"
    mv "$wheel" "$out/wheels/"
  done
  "$python" -m pip wheel --quiet --no-deps -w "$out/wheels" "$repository"
fi
echo "bundle: $out ($(du -sh "$out" | cut -f1)), for torch $torch_version"
echo "there:  $(basename "$out")/run.sh --python PYTHON --minutes 8"
