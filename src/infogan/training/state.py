"""The state of a training run: networks, their averages, optimizers and the step number; nothing else."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Adam

from infogan.config.migrate import migrate_checkpoint
from infogan.config.schema import Config, Stage
from infogan.data.batches import stream_seed
from infogan.data.dataset import ImageSet
from infogan.models.architectures import ImageShape
from infogan.models.infogan import InfoGAN
from infogan.models.latents import CodeLayout
from infogan.models.networks import Networks, build_networks
from infogan.models.serialization import ModelConfig
from infogan.training.optim import EMA, computes_in_bfloat16, make_optimizers
from infogan.utils import distributed
from infogan.utils.errors import UserError
from infogan.utils.memory import keep_freed_blocks

INITIAL_STREAM, ORDER_STREAM, STEP_STREAM, HOOK_STREAM = 1, 2, 3, 4  # of random numbers, disjoint for every seed


class EncoderState(nn.Module):
    """What training keeps about the encoder and a finished model does not need.

    Args:
        categories: Number of categories.

    Attributes:
        marginal: (categories,), the running mean of the posterior over real images, for the loss ``marginal_kl``.
        vat_radius: (), the distance to neighbours in the loss ``vat``, as Euclidean distance in [-1, 1] pixels.
        lr_scale: (), the factor on the encoder's learning rate; 0 freezes it. It stays on the CPU, because every update
            reads it, and reading it from a GPU would wait for all work that is queued there.
    """

    marginal: Tensor
    vat_radius: Tensor
    lr_scale: Tensor

    def __init__(self, categories: int) -> None:
        super().__init__()
        self.register_buffer("marginal", torch.full((categories,), 1 / categories))
        self.register_buffer("vat_radius", torch.tensor(1.0))
        self.register_buffer("lr_scale", torch.tensor(1.0))

    @classmethod
    def for_networks(cls, networks: Networks) -> "EncoderState":
        """Return the state at the start of a run, on the device of the networks."""
        categories = len(networks.encoder.directions) if networks.encoder is not None else 1
        state = cls(categories).to(next(networks.parameters()).device)
        state.lr_scale = state.lr_scale.cpu()
        return state


@dataclass
class TrainState:
    """Everything that a run changes while it trains. A checkpoint holds exactly this.

    Attributes:
        config: The run's configuration.
        networks: The networks, trainable.
        ema: Their exponential moving average.
        encoder_state: What training keeps about the encoder.
        model: The model with the averaged weights; `averaged_model` is up to date.
        optimizers: One per update of the current stage; updates with the same settings share one.
        step: Number of optimizer steps made.
        seconds: Time that they took, in all sessions.
    """

    config: Config
    networks: Networks
    ema: EMA
    encoder_state: EncoderState
    model: InfoGAN
    optimizers: list[Adam] = field(default_factory=list)
    step: int = 0
    seconds: float = 0.0

    @classmethod
    def create(cls, config: Config, images: ImageSet, device: torch.device) -> "TrainState":
        """Initialise the networks from the run's seed, for images of this size and number of channels."""
        keep_freed_blocks()  # which the networks request again in every step
        shape = ImageShape(images.channels, images.size)
        networks = build_networks(
            config.networks,
            CodeLayout(config.noise, config.codes),
            shape,
            kind=config.objective.kind,
            seed=stream_seed(config.train.seed, INITIAL_STREAM),
        ).to(device)
        average = copy.deepcopy(networks).eval().requires_grad_(False)
        networks.compute_in_bfloat16(computes_in_bfloat16(config, device))
        networks.sync_batchnorm(distributed.world_size() > 1 and config.train.sync_batchnorm)
        if config.train.compile:
            networks.compile_parts()
        is_cgan = config.objective.kind == "cgan"
        label_names = {code.name: images.label_names for code in config.codes} if is_cgan else {}
        model = InfoGAN(ModelConfig.of(config, shape, label_names), average)
        ema = EMA(networks, average, config)
        return cls(config, networks, ema, EncoderState.for_networks(networks), model)

    @property
    def device(self) -> torch.device:
        """The device of the networks."""
        return next(self.networks.parameters()).device

    @property
    def averaged_model(self) -> InfoGAN:
        """The model with the averaged weights of this step."""
        self.ema.refresh()
        return self.model

    def lr_scale(self, networks: Iterable[str]) -> float:
        """Return the factor on the learning rate of an update that trains these networks."""
        return float(self.encoder_state.lr_scale) if "encoder" in networks else 1.0

    def reset_optimizers(self, stage: Stage) -> None:
        """Give the stage's updates new optimizers."""
        self.optimizers = make_optimizers(stage.updates, self.networks)

    def state_dict(self) -> dict[str, Tensor]:
        """Return all tensors by dotted name."""
        self.ema.refresh()
        modules = {"networks": self.networks, "ema": self.ema.average, "encoder_state": self.encoder_state}
        tensors = {f"{part}.{name}": t for part, module in modules.items() for name, t in module.state_dict().items()}
        for number, optimizer in enumerate(dict.fromkeys(self.optimizers)):
            for parameter, moments in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizers.{number}.{parameter}.{name}": moment for name, moment in moments.items()}
        return tensors

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Load what `state_dict` returned, or the tensors of a checkpoint of version 0.1.

        Raises:
            UserError: The tensors belong to other networks.
        """
        try:
            self._load(migrate_checkpoint(tensors))
        except (LookupError, ValueError, TypeError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"the checkpoint after {self.step} steps does not belong to this run: {reason}") from error

    def _load(self, tensors: dict[str, Tensor]) -> None:
        parts: dict[str, dict[str, Tensor]] = {"networks": {}, "ema": {}, "encoder_state": {}, "optimizers": {}}
        for key, tensor in tensors.items():
            part, _, name = key.partition(".")
            parts[part][name] = tensor
        self.networks.load_state_dict(parts["networks"])
        self.ema.average.load_state_dict(parts["ema"])
        if parts["encoder_state"]:
            self.encoder_state.load_state_dict(parts["encoder_state"])
        for number, optimizer in enumerate(dict.fromkeys(self.optimizers)):
            moments = {key: t for key, t in parts["optimizers"].items() if key.startswith(f"{number}.")}
            _load_moments(optimizer, moments)
        self.model.sync_prior()


def _load_moments(optimizer: Adam, tensors: dict[str, Tensor]) -> None:
    """Load an optimizer's moments from ``NUMBER.PARAMETER.MOMENT`` keys."""
    parameters = optimizer.param_groups[0]["params"]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        _, index, moment = key.split(".")
        if tensor.ndim:
            # A checkpoint keeps no memory layout, and the fused step needs weights and moments in the same one.
            tensor = torch.empty_like(parameters[int(index)]).copy_(tensor)
        state.setdefault(int(index), {})[moment] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
