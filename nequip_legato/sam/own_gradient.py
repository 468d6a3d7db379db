"""The gradient of this process' own frames, before processes average theirs."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

__all__ = ["OwnGradient"]


class OwnGradient:
    """Sums up what backward passes give, by hooks that run before any averaging.

    Both ``DistributedDataParallel``, which averages while the backward pass goes on, and nequip's
    ``SimpleDDPStrategy``, which does so behind it, leave no other place to see it. Needs a copy of
    the weights' size.

    Args:
        parameters: those to listen to.
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

    def listen(self, *, anew: bool) -> None:
        """Sum up from now on.

        Args:
            anew: begin a sum; otherwise go on with the one before.
        """
        if anew:
            self._sums = {}
        self._listening = True

    def take(self, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
        """The sums so far, one per parameter, zero where nothing came; listen no longer."""
        self._listening = False
        sums, self._sums = self._sums, {}
        return [sums[id(p)] if id(p) in sums else torch.zeros_like(p) for p in parameters]

    def close(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()
