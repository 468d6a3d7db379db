#!/usr/bin/env bash
# Builds LAMMPS with Kokkos for CUDA, and the plugin with allegro_legato/kk for it.
#
#   examples/gpu/build.sh --out FOLDER --lammps SOURCE [options]
#
#   --lammps SOURCE   LAMMPS, an unpacked tree or an archive
#   --kokkos SOURCE   Kokkos, the same; default: the one that comes with LAMMPS (lib/kokkos)
#   --arch NAME       Kokkos' name of the GPU; default HOPPER90 (H100, H200: sm_90)
#   --torch FOLDER    installed torch package, built for CUDA; default that of $PYTHON
#   --jobs N          default: all processors
#   --lean            leave out the styles of LAMMPS that the tests do not use
#   --plugin-only     configure LAMMPS, do not compile it: enough to compile the plugin, which then
#                     needs neither a GPU nor a driver
#
# Needs nvcc, cmake (3.25 or newer) and, for parallel runs, mpicxx. PYTHON (default python3) has
# torch and pyelftools. At the end it prints where LAMMPS and the plugin are, and fails if one of them
# does not name every library that it needs: what is built where there is no driver has to run where
# there is one.
set -euo pipefail

fail() { echo "build.sh: $*" >&2; exit 1; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(dirname "$(dirname "$here")")
python=${PYTHON:-python3}
arch=HOPPER90 jobs=$(nproc) out='' lammps='' kokkos='' torch='' lean=no plugin_only=no
while [[ $# -gt 0 ]]; do
  case $1 in
    --lean) lean=yes; shift; continue ;;
    --plugin-only) plugin_only=yes; shift; continue ;;
    --out | --lammps | --kokkos | --arch | --torch | --jobs) ;;
    *) fail "unknown option '$1'; see the head of this file" ;;
  esac
  [[ $# -ge 2 ]] || fail "option $1 needs a value"
  case $1 in
    --out) out=$2 ;;
    --lammps) lammps=$2 ;;
    --kokkos) kokkos=$2 ;;
    --arch) arch=$2 ;;
    --torch) torch=$2 ;;
    --jobs) jobs=$2 ;;
  esac
  shift 2
done
[[ -n $out && -n $lammps ]] || fail "--out and --lammps are needed; see the head of this file"
command -v nvcc > /dev/null || fail "nvcc is not on the PATH; install the CUDA toolkit"
command -v cmake > /dev/null || fail "cmake is not on the PATH; pip install cmake"
if [[ -z $torch ]]; then
  torch=$("$python" -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])') ||
    fail "$python has no torch; set PYTHON or --torch"
fi
[[ -f $torch/version.py ]] && torch=$(cd "$torch" && pwd) || fail "there is no torch package in $torch (no version.py)"
torch_version=$(sed -n "s/^__version__ = '\(.*\)'/\1/p" "$torch/version.py")
PYTHONPATH=$repository "$python" -c 'import nequip_legato.native.linkage' 2> /dev/null ||
  fail "$python lacks pyelftools, which the check at the end needs; pip install pyelftools"
mkdir -p "$out"
out=$(cd "$out" && pwd)

# Unpacks an archive once; a tree is used where it lies. Prints the tree.
source_tree() { # NAME SOURCE
  if [[ -d $2 ]]; then
    (cd "$2" && pwd)
    return
  fi
  [[ -f $2 ]] || fail "there is no $2"
  if [[ ! -d $out/$1 ]]; then
    mkdir -p "$out/$1.new"
    tar xf "$2" -C "$out/$1.new"
    mv "$out/$1.new" "$out/$1"
  fi
  find "$out/$1" -mindepth 1 -maxdepth 1 -type d | head -n 1
}

lammps_tree=$(source_tree lammps "$lammps")
[[ -f $lammps_tree/src/pair.h ]] || fail "$lammps_tree is not a source tree of LAMMPS"
if [[ -n $kokkos ]]; then kokkos_tree=$(source_tree kokkos "$kokkos"); else kokkos_tree=$lammps_tree/lib/kokkos; fi
wrapper=$kokkos_tree/bin/nvcc_wrapper
[[ -x $wrapper ]] || fail "there is no Kokkos in $kokkos_tree; name one with --kokkos"

# Nine in ten of LAMMPS' sources have nothing to do with Kokkos. nvcc takes several times as long for
# them as the host's compiler, to which Kokkos' wrapper hands them with --host-only.
mkdir -p "$out/compiler"
cat > "$out/compiler/nvcc_wrapper" << END
#!/usr/bin/env bash
host_only=()
for word in "\$@"; do
  if [[ \$word == "$lammps_tree"/src/*.cpp && \$word != */KOKKOS/* ]] &&
    ! grep -q -E 'kokkos|KOKKOS|style_[a-z]+\.h' "\$word"; then
    host_only=(--host-only)
  fi
done
exec "$wrapper" "\${host_only[@]}" "\$@"
END
chmod +x "$out/compiler/nvcc_wrapper"
settings=(-DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_STANDARD=20 -DCMAKE_POSITION_INDEPENDENT_CODE=ON
  -DCMAKE_CXX_COMPILER="$out/compiler/nvcc_wrapper" -DBUILD_SHARED_LIBS=ON)
cuda=(-DKokkos_ENABLE_CUDA=ON "-DKokkos_ARCH_$arch=ON" -DKokkos_ENABLE_SERIAL=ON
  -DKokkos_ENABLE_IMPL_VIEW_LEGACY=ON)
toolkit=$(nvcc --dryrun -x cu - 2>&1 < /dev/null | sed -n 's/^#\$ TOP=//p')
if [[ -d $toolkit/include ]]; then cuda+=("-DCUDAToolkit_ROOT=$toolkit"); fi
# Compute nodes have the driver; where one only compiles, a stand-in serves for linking. It has the
# driver's functions, as the toolkit's own stand-ins have: linkers drop a library that defines nothing
# (--as-needed), and then nothing would name libcuda.so.1. It has another file name than that, so it
# is never loaded instead of the driver.
if ! ldconfig -p | grep 'libcuda\.so$' > /dev/null && [[ ! -e $toolkit/lib64/stubs/libcuda.so ]]; then
  [[ -f $toolkit/include/cuda.h ]] || fail "there is no $toolkit/include/cuda.h; install the CUDA toolkit"
  mkdir -p "$out/stubs"
  grep -ohE '\bcu[A-Z][A-Za-z0-9_]*\b' "$toolkit/include/cuda.h" | sort -u |
    sed 's/.*/void &(void) {}/' > "$out/stubs/cuda.c"
  "${CC:-gcc}" -shared -fPIC -w -o "$out/stubs/libcuda.so" -Wl,-soname,libcuda.so.1 "$out/stubs/cuda.c"
  cuda+=("-DCUDA_cuda_driver_LIBRARY=$out/stubs/libcuda.so"
    -DCMAKE_EXE_LINKER_FLAGS=-Wl,--allow-shlib-undefined)
fi
if command -v ninja > /dev/null; then settings+=(-G Ninja); fi

if [[ -n $kokkos ]]; then
  cmake -S "$kokkos_tree" -B "$out/kokkos-build" "${settings[@]}" "${cuda[@]}" \
    -DCMAKE_INSTALL_PREFIX="$out/kokkos-install" -DCMAKE_INSTALL_RPATH_USE_LINK_PATH=ON
  cmake --build "$out/kokkos-build" --parallel "$jobs"
  cmake --install "$out/kokkos-build"
  cuda+=(-DEXTERNAL_KOKKOS=ON "-DCMAKE_PREFIX_PATH=$out/kokkos-install")
  # LAMMPS asks for Kokkos 5.1.0 but compiles and runs with 5.0.2; only in our own copy of it
  if [[ $lammps_tree == "$out"/* ]]; then
    sed -i 's/find_package(Kokkos 5.1.0/find_package(Kokkos 5.0/' \
      "$lammps_tree/cmake/Modules/Packages/KOKKOS.cmake"
  fi
fi
if [[ $lean == yes && ! -e $out/lean ]]; then
  [[ $lammps_tree == "$out"/* ]] || fail "--lean empties files of LAMMPS: give an archive"
  "$python" -c 'import sys; sys.path.insert(0, sys.argv[1]); import lammps_sources, pathlib
lammps_sources.leave_out(pathlib.Path(sys.argv[2]), ["KOKKOS", "MOLECULE", "PLUGIN"])' \
    "$repository/tests/kokkos" "$lammps_tree/src"
  touch "$out/lean"
fi
mpi=(-DBUILD_MPI=OFF)
if compiler=$(command -v mpicxx); then mpi=(-DBUILD_MPI=ON "-DMPI_CXX_COMPILER=$compiler"); fi
cmake -S "$lammps_tree/cmake" -B "$out/lammps-build" "${settings[@]}" "${cuda[@]}" "${mpi[@]}" \
  -DPKG_KOKKOS=ON -DPKG_MOLECULE=ON -DPKG_PLUGIN=ON -DBUILD_OMP=OFF -DWITH_JPEG=OFF -DWITH_PNG=OFF
if [[ $plugin_only == no ]]; then cmake --build "$out/lammps-build" --parallel "$jobs"; fi

cmake -S "$repository" -B "$out/plugin-build" "${settings[@]}" \
  -DLEGATO_LAMMPS_BUILD="$out/lammps-build" -DLEGATO_TORCH_DIR="$torch" \
  -DLEGATO_TORCH_VERSION="$torch_version"
cmake --build "$out/plugin-build" --parallel "$jobs"
plugin=$out/plugin-build
lmp=$out/lammps-build/lmp
check() { # arguments of `python -m nequip_legato.native`; of torch, only some libraries may be there
  PYTHONPATH=$repository "$python" -m nequip_legato.native --part-of "$torch/lib" "$@" || fail "what was built cannot run"
}
shopt -s nullglob
libraries=("$out"/kokkos-install/lib*/lib*.so "$plugin/legatoplugin.so")
if [[ $plugin_only == no ]]; then
  check "${libraries[@]}" "$out"/lammps-build/liblammps*.so "$lmp"
  check --host "$lmp" "$plugin/legato_styles.so"
  echo "LAMMPS: $lmp"
else
  check "${libraries[@]}"
  check --gpu-only "$plugin/legato_styles.so"
fi
echo "plugin: $plugin/legatoplugin.so (torch $torch_version)"
