"""The gradient of this process' own frames, before it is averaged over processes."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

__all__ = ["OwnGradient"]


class OwnGradient:
    """Sums the gradients of backward passes, by hooks that run before any averaging.

    ``DistributedDataParallel`` averages during the backward pass, and nequip's
    ``SimpleDDPStrategy`` right after it, so hooks are the only place to get them. Needs as much
    memory as the weights.

    Args:
        parameters: parameters whose gradients are recorded.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._sums: dict[int, Tensor] = {}
        self._listening = False
        self._hooks = [p.register_hook(self._hook(id(p))) for p in parameters if p.requires_grad]

    def _hook(self, key: int) -> Callable[[Tensor], None]:
        def add(gradient: Tensor) -> None:
            if not self._listening:
                return
            with torch.no_grad():
                if key in self._sums:
                    self._sums[key] += gradient
                else:
                    self._sums[key] = gradient.detach().clone()

        return add

    def listen(self, *, restart: bool) -> None:
        """Add up gradients from now on.

        Args:
            restart: start from zero; otherwise continue the previous sum.
        """
        if restart:
            self._sums = {}
        self._listening = True

    def take(self, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
        """The sums so far, one per parameter, zero without gradients; stops recording."""
        self._listening = False
        sums, self._sums = self._sums, {}
        return [sums[id(p)] if id(p) in sums else torch.zeros_like(p) for p in parameters]

    def close(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()
