#!/usr/bin/env bash
# Runs check.sh from a bundle (bundle.sh) on a machine with a GPU, which needs no network:
#
#   run.sh --python PYTHON [--minutes 8] [--out FOLDER] [other options of check.sh]
#
# PYTHON has the torch that the bundle was made for. Everything else is installed from the bundle's
# wheels into an environment of its own, in the bundle. Results go to FOLDER (default: results/ in the
# bundle); the table is written last.
set -euo pipefail

fail() { echo "run.sh: $*" >&2; exit 1; }

bundle=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[[ -d $bundle/repository ]] || fail "$bundle is not a bundle; make one with examples/gpu/bundle.sh"
python=python3 out=$bundle/results rest=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --python) python=${2:?--python needs a value}; shift 2 ;;
    --out) out=${2:?--out needs a value}; shift 2 ;;
    *) rest+=("$1"); shift ;;
  esac
done
python=$(command -v "$python") || fail "there is no $python"
torch=$("$python" -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])' 2> /dev/null) ||
  fail "$python has no torch; name one that has with --python"
version=$(sed -n "s/^__version__ = '\(.*\)'/\1/p" "$torch/version.py")

if [[ -d $bundle/wheels ]]; then
  if [[ ! -e $bundle/python/installed ]]; then
    echo "== Python packages"
    rm -rf "$bundle/python"
    "$python" -m venv "$bundle/python"
    # torch, and other packages of that Python, after the bundle's own
    site=$("$bundle/python/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    dirname "$torch" > "$site/torch_of_this_machine.pth"
    "$bundle/python/bin/python" -m pip install --quiet --no-index --no-deps "$bundle"/wheels/*.whl
    touch "$bundle/python/installed"
  fi
  python=$bundle/python/bin/python
fi

options=(--out "$out" --checkpoint "$bundle/checkpoints/small.ckpt" --medium "$bundle/checkpoints/medium.ckpt")
if [[ -d $bundle/lammps ]]; then
  wanted=$(cat "$bundle/lammps/torch-version")
  [[ $version == "$wanted" ]] ||
    fail "the plugin was built for torch $wanted, but $python has $version; make a bundle for that"
  options+=(--built "$bundle/lammps")
  export LD_LIBRARY_PATH=$bundle/lammps:$torch/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
else
  mapfile -t build < "$bundle/sources/options"
  for ((i = 0; i < ${#build[@]}; ++i)); do
    if [[ ${build[i]} == /* ]]; then build[i]=$bundle/sources/$(basename "${build[i]}"); fi
  done
  options+=("${build[@]}")
fi
PYTHON=$python exec "$bundle/repository/examples/gpu/check.sh" "${options[@]}" "${rest[@]}"
