"""Sharpness-aware minimization as a Lightning callback."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from nequip_legato.sam import guards
from nequip_legato.sam.base import gradients_of
from nequip_legato.sam.keys import refuses_unknown_keys
from nequip_legato.sam.own_gradient import OwnGradient
from nequip_legato.sam.perturbation import ascent_direction
from nequip_legato.sam.second_pass import SecondPass

__all__ = ["SAM"]


class SAM(SecondPass):
    """Trains with the gradient at w + e, where the loss is largest nearby, instead of that at w.

    SAM (Foret et al., arXiv:2010.01412, eq. 2) climbs by ``e = rho g / ||g||``; ASAM (Kwon et al.,
    arXiv:2102.11600, eq. 5) by ``e = rho T^2 g / ||T g||`` with ``T = |w| + eta``. Norms run over
    all parameters of the optimizer that have a gradient; others are not moved. Allegro-Legato
    (Ibayashi et al., doi:10.1007/978-3-031-32041-5_12) is Allegro trained with SAM.

    .. code-block:: yaml

        trainer:
          _target_: lightning.Trainer
          callbacks:
            - _target_: nequip_legato.SAM
              rho: 0.005

    In ``on_before_optimizer_step`` it climbs, repeats forward and backward passes for every
    micro-batch of the step, and returns to w bit for bit. Lightning then clips the second gradient
    and the optimizer uses it. Each step costs about twice as much.

    Late-phase SAM (Zhou et al., ICLR 2025, arXiv:2410.10373) trains plainly and climbs only at the
    end, which costs little:

    .. code-block:: yaml

        - _target_: nequip_legato.SAM
          rho: 0.005
          last_fraction: 0.2

    Logged at the steps that loggers take (``log_every_n_steps``): ``legato/sharpness`` = L(w + e) -
    L(w) in units of the loss, mean over micro-batches and processes; ``legato/grad_norm`` = ||g||
    at w before clipping; ``legato/skipped_steps``, the number of steps skipped so far because a
    gradient was not finite, if any; ``legato/rho`` if it varies. A skipped step changes neither
    weights nor optimizer state nor nequip's averaged weights.

    Args:
        rho: length of the climb, >= 0; in units of the weights for SAM, without unit for ASAM (its
            paper uses values about ten times larger). 0 trains exactly as without the callback.
        adaptive: use ASAM.
        eta: ASAM's offset, >= 0, in units of the weights.
        per_rank: with several processes, each climbs along the gradient of its own frames, as in
            the experiments of SAM's authors (their m-sharpness), instead of all along that of the
            joint batch.
        last_fraction: fraction of the steps, at the end of training, that climb; in (0, 1]. The
            steps before are plain training.
        schedule: ``constant``; ``warmup``, a linear rise from 0 to rho; ``learning_rate``, rho
            times the learning rate over its initial value.
        warmup: fraction of the climbing steps over which ``schedule: warmup`` rises; in (0, 1].
        include: regular expression; only parameters in whose names it is found are moved. All are
            trained.
        exclude: regular expression; parameters in whose names it is found are not moved.

    Raises:
        LegatoError: for unknown keys, for impossible values (`ValueLegatoError`), and at the start
            of training for what cannot work; see docs/training.md.
    """

    @refuses_unknown_keys
    def __init__(
        self,
        *,
        rho: float = 0.005,
        adaptive: bool = False,
        eta: float = 0.0,
        per_rank: bool = False,
        last_fraction: float = 1.0,
        schedule: str = "constant",
        warmup: float = 0.1,
        include: str | None = None,
        exclude: str | None = None,
    ) -> None:
        super().__init__(
            rho=rho,
            last_fraction=last_fraction,
            schedule=schedule,
            warmup=warmup,
            include=include,
            exclude=exclude,
        )
        self.adaptive = guards.check_switch("adaptive", adaptive)
        self.eta = guards.check_non_negative("eta", eta)
        guards.check_eta_used(self.eta, self.adaptive)
        self.per_rank = guards.check_switch("per_rank", per_rank)
        self._own: OwnGradient | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Also record this process' own gradients, if ``per_rank`` asks for them."""
        super().on_fit_start(trainer, pl_module)
        if self.per_rank and trainer.world_size > 1:
            self._own = OwnGradient(pl_module.parameters())

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Also stop recording gradients."""
        self._stop_listening()
        super().on_fit_end(trainer, pl_module)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Also stop recording gradients."""
        super().on_exception(trainer, pl_module, exception)
        self._stop_listening()

    def _stop_listening(self) -> None:
        if self._own is not None:
            self._own.close()
            self._own = None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Also record the gradient of a batch that will be repeated."""
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        if self._own is not None and self._will_climb(trainer):
            self._own.listen(restart=not self._window)

    def _ascent(self, parameters: list[nn.Parameter]) -> tuple[list[Tensor], Tensor]:
        own = self._own
        gradients = gradients_of(parameters) if own is None else own.take(parameters)
        return ascent_direction(parameters, gradients, adaptive=self.adaptive, eta=self.eta)
