"""Batch norm that treats parts of a batch separately, or a batch that several processes share as one."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from infogan.utils import distributed

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def track_running_stats(module: nn.Module, on: bool) -> None:
    """Set whether all batch norm in a module updates its running statistics when it is trained."""
    for layer in module.modules():
        if isinstance(layer, BATCH_NORMS):
            layer.track_running_stats = on


class SplitBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm of each of ``parts`` equal parts of a batch separately.

    Statistics of real and fake images together would tell a discriminator which is which, and would differ in the
    generator's update. Two separate passes would cost more than one.

    Attributes:
        parts: Number of parts of the next batch.
        synchronised: Whether the statistics are those of all processes together.
    """

    parts = 1
    synchronised = False

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input, of the same shape."""
        if self.synchronised and self.training:
            values = input.to(self.weight.dtype)  # sums in bfloat16 would be inaccurate
            moments = _global_moments(values.detach(), self.parts)
            if self.track_running_stats:
                assert self.momentum is not None  # no network here uses cumulative averages
                for part in moments:
                    unbiased = part.variance * part.total / (part.total - 1)
                    self.get_buffer("running_mean").lerp_(part.mean, self.momentum)
                    self.get_buffer("running_var").lerp_(unbiased, self.momentum)
                    self.get_buffer("num_batches_tracked").add_(1)
            output: Tensor = _GlobalBatchNorm.apply(values, self.weight, self.bias, moments, self.eps)  # type: ignore[no-untyped-call]
            return output.to(input.dtype)
        outputs: list[Tensor] = [super(SplitBatchNorm, self).forward(part) for part in input.chunk(self.parts)]
        return _join(outputs)


class BatchNorm1d(SplitBatchNorm, nn.BatchNorm1d):
    """Batch norm of flat features."""


class BatchNorm2d(SplitBatchNorm, nn.BatchNorm2d):
    """Batch norm of feature maps."""


class Moments(NamedTuple):
    """Moments of each channel over all processes: mean and variance, (channels,), and total values per channel, ()."""

    mean: Tensor
    variance: Tensor
    total: Tensor


def _global_moments(values: Tensor, parts: int) -> list[Moments]:
    """Return the moments of each part of a batch over all processes; they can be differentiated.

    Each process sends, in one message, the mean and the sum of squared deviations of its own values. Combining these
    avoids the difference of two large numbers (Chan et al. 1983, equation 2.1).
    """
    channels, dims = values.shape[1], [0, *range(2, values.ndim)]
    local_moments = []
    for part in values.chunk(parts):
        if part.requires_grad or part.is_cuda:  # the faster call below returns no variance then
            variance, mean = torch.var_mean(part, dims, correction=0)
        else:
            mean, variance = torch.ops.aten.batch_norm_update_stats(part, None, None, 0.0)
        count = part.numel() / channels
        local_moments += [mean, count * variance, mean.new_tensor([count])]
    gathered = distributed.stack_from_all_ranks(torch.cat(local_moments))
    moments = []
    for part in gathered.chunk(parts, dim=1):
        means, deviations, counts = torch.split(part, [channels, channels, 1], dim=1)
        counts = counts.detach()
        total = counts.sum()
        mean = (counts * means).sum(dim=0) / total
        variance = (deviations + counts * (means - mean).square()).sum(dim=0) / total
        moments.append(Moments(mean, variance, total))
    return moments


class _GlobalBatchNorm(torch.autograd.Function):
    """Batch norm with the `Moments` of all processes, with as few passes over the values as PyTorch's own.

    Ioffe & Szegedy 2015, algorithm 1, and its gradients. With x̂ the normalised values, g the gradient of the outputs
    and means over all processes, the gradient of an input is weight / deviation · (g - mean(g) - x̂ mean(g x̂)).
    """

    @staticmethod
    def forward(
        context: Any, values: Tensor, weight: Tensor, bias: Tensor, moments: list[Moments], eps: float
    ) -> Tensor:
        context.save_for_backward(values, weight, bias)
        context.moments, context.eps = moments, eps
        parts = zip(values.chunk(len(moments)), moments, strict=True)
        return _join(
            [torch.native_batch_norm(part, weight, bias, m.mean, m.variance, False, 0.0, eps)[0] for part, m in parts]
        )

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, weight, bias = context.saved_tensors
        moments: list[Moments] = context.moments
        if torch.is_grad_enabled():  # the gradient itself is differentiated, for a gradient penalty
            outputs = _differentiable_batch_norm(values, weight, bias, len(moments), context.eps)
            return *torch.autograd.grad(outputs, (values, weight, bias), gradients[0], create_graph=True), None, None
        parts = list(zip(gradients[0].chunk(len(moments)), values.chunk(len(moments)), moments, strict=True))
        # Gradients of values, weight and bias as if the moments were constants.
        partial = [
            torch.ops.aten.native_batch_norm_backward(
                gradient, part, weight, m.mean, m.variance, None, None, False, context.eps, [True] * 3
            )
            for gradient, part, m in parts
        ]
        sums = distributed.all_reduce_sum(torch.stack([torch.stack(part[1:]) for part in partial]))
        for (value_gradient, *_), (_, part, m), (weight_sum, bias_sum) in zip(partial, parts, sums, strict=True):
            shape = [1, -1] + [1] * (part.ndim - 2)
            scale = torch.rsqrt(m.variance + context.eps)
            slope = -weight * scale.square() / m.total * weight_sum
            offset = -weight * scale / m.total * bias_sum - slope * m.mean
            value_gradient.add_(offset.view(shape)).addcmul_(part, slope.view(shape))
        value_gradients, weight_gradients, bias_gradients = zip(*partial, strict=True)
        return _join(value_gradients), sum(weight_gradients), sum(bias_gradients), None, None


def _differentiable_batch_norm(values: Tensor, weight: Tensor, bias: Tensor, parts: int, eps: float) -> Tensor:
    """Return batch norm over all processes, from operations that can be differentiated any number of times."""
    shape = [1, -1] + [1] * (values.ndim - 2)
    outputs = []
    for part, moments in zip(values.chunk(parts), _global_moments(values, parts), strict=True):
        scale = weight * torch.rsqrt(moments.variance + eps)
        outputs.append(torch.addcmul((bias - moments.mean * scale).view(shape), part, scale.view(shape)))
    return torch.cat(outputs)


def _join(parts: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    return torch.cat(parts) if len(parts) > 1 else parts[0]
