"""Triton kernels of deployed models on a GPU.

What they are for, as measured on an H100 (benchmarks/gpu/NOTES.md): the compiler adds up the
derivatives of Allegro's tensor product by atomic operations, one for each edge and number, and it
writes down what passes between two narrow matrix products.

``torch.library.triton_op`` makes them visible to AOTInductor, which packs them into the deployed
file. Triton is imported with a module of this room, not with the room.
"""
