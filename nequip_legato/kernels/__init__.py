"""Triton kernels of deployed models on a GPU.

They replace what is slow in compiled models, as measured on an H100 (benchmarks/gpu/NOTES.md): the
compiler sums the derivatives of Allegro's tensor product by atomic additions, one for each edge and
number, and it writes the intermediate results of two narrow matrix products to memory.

``torch.library.triton_op`` makes them visible to AOTInductor, which packs them into the deployed
file. Triton is imported by the modules of this package, not by the package itself.
"""
