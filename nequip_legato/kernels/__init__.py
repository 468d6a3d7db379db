"""Kernels of deployed models, in place of what is slow in compiled ones.

On a GPU, Triton (``centers``, ``networks``), as measured on an H100 (benchmarks/gpu/NOTES.md): the
compiler sums the derivatives of Allegro's tensor product by atomic additions, one for each edge and
number, and it writes the intermediate results of two narrow matrix products to memory.
``torch.library.triton_op`` makes them visible to AOTInductor, which packs them into the deployed
file. Triton is imported by these modules, not by the package itself.

On a CPU, C++ (``cpu_operators``, ``cpu/*.h``), as measured on one core (benchmarks/md/NOTES.md):
the compiler's loops use as many lanes of a register as the last dimension has numbers, 4 of 16 for
l_max 1. ``nequip_legato.deploy.cpu_library`` compiles them, and AOTInductor links them.
"""
