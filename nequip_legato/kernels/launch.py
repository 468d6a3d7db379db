"""Running a Triton kernel so that AOTInductor can pack it."""

from typing import Any

import torch
import triton
from torch.library import wrap_triton

__all__ = ["launch", "power_of_two"]


def power_of_two(number: int) -> int:
    """The smallest power of two that is at least ``number``."""
    return int(triton.next_power_of_2(number))


_CHOSEN: dict[Any, Any] = {}
_WITH_CONFIG: dict[Any, Any] = {}


def launch(kernel: Any, grid: Any, configs: list[Any], *args: Any, **constants: Any) -> None:
    """Run a kernel.

    The first time that it runs on a GPU with certain constants (and is not traced), the fastest
    configuration is found and kept. AOTInductor could tune kernels too, but on made-up arguments
    instead of the edges of a real block.

    Args:
        kernel: a Triton kernel.
        grid: constants -> numbers of programs.
        configs: candidates; the first is the default.
        *args: the kernel's arguments, the first one a tensor.
        **constants: the kernel's constants, known when it is compiled.
    """
    if type(kernel).__name__ == "InterpretedFunction":  # TRITON_INTERPRET=1, for tests
        chosen = constants | configs[0].kwargs
        kernel[grid(chosen)](*args, **chosen)
        return
    sizes = (kernel, *constants.items())
    if sizes not in _CHOSEN and type(args[0]) is torch.Tensor and args[0].is_cuda:
        _CHOSEN[sizes] = _fastest(kernel, grid, configs, args, constants)
    config = _CHOSEN.get(sizes, configs[0])
    wrap_triton(_with(kernel, config))[grid](*args, **constants)


def _fastest(kernel: Any, grid: Any, configs: list[Any], args: Any, constants: Any) -> Any:
    def seconds(config: Any) -> float:
        run = _with(kernel, config)[grid]
        try:
            return float(triton.testing.do_bench(lambda: run(*args, **constants), 5, 20))
        except triton.runtime.errors.OutOfResources:
            return float("inf")

    return min(configs, key=seconds)


def _with(kernel: Any, config: Any) -> Any:
    # one object for each configuration, which keeps what it has compiled
    name = (kernel, str(config))
    if name not in _WITH_CONFIG:
        key = [n for n in kernel.arg_names if n.isupper() and n not in config.kwargs]
        _WITH_CONFIG[name] = triton.autotune(configs=[config], key=key)(kernel)
    return _WITH_CONFIG[name]
