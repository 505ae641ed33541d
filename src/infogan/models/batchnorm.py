"""Batch norm over parts of a batch by themselves, and over a batch that several processes share."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from infogan.utils import distributed

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


class SplitBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over each of ``parts`` equal parts of a batch by itself, in their order.

    Over reals and fakes together it would tell a discriminator which is which by their mixture, and show it another
    mixture in the generator's update; in two passes everything else would be done twice for half as many images.

    Where it is ``synchronised`` a batch is that of all processes together, as if one had seen it.
    """

    parts = 1
    synchronised = False

    def forward(self, input: Tensor) -> Tensor:
        """Of the input's shape."""
        if self.synchronised and self.training:
            values = input.to(self.weight.dtype)  # bfloat16 would lose what sums need
            moments = _moments_over_all(values.detach(), self.parts)
            if self.track_running_stats:
                for part in moments:
                    self._record(part)
            normed: Tensor = _NormOverAll.apply(values, self.weight, self.bias, moments, self.eps)  # type: ignore[no-untyped-call]
            return normed.to(input.dtype)
        outputs: list[Tensor] = [super(SplitBatchNorm, self).forward(part) for part in input.chunk(self.parts)]
        return torch.cat(outputs) if len(outputs) > 1 else outputs[0]

    def _record(self, moments: "Moments") -> None:
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            assert self.momentum is not None  # no network here averages over all of its past
            unbiased = moments.variance * moments.count / (moments.count - 1)
            self.running_mean.lerp_(moments.mean, self.momentum)
            self.running_var.lerp_(unbiased, self.momentum)
            self.num_batches_tracked.add_(1)


@dataclass(frozen=True)
class Moments:
    """Of the values of each channel, (channels,), over all processes; ``count`` is of a channel's values, ()."""

    mean: Tensor
    variance: Tensor
    count: Tensor


def _moments_over_all(values: Tensor, parts: int) -> list[Moments]:
    """The moments of each part of a batch, which can be differentiated.

    Each process tells the others, in one message, the mean and the summed squared deviations of its own values, which
    together give those of all without the difference of two large numbers (Chan et al. 1983, equation 2.1).
    """
    channels, others = values.shape[1], [0, *range(2, values.ndim)]
    known = []
    for part in values.chunk(parts):
        if part.requires_grad or part.is_cuda:  # on which what is below gives no variance
            variance, mean = torch.var_mean(part, others, correction=0)
        else:
            mean, variance = torch.ops.aten.batch_norm_update_stats(part, None, None, 0.0)
        count = part.numel() / channels
        known += [mean, count * variance, mean.new_tensor([count])]
    told = distributed.stack_from_all_ranks(torch.cat(known))
    moments = []
    for part in told.chunk(parts, dim=1):
        means, deviations, counts = torch.split(part, [channels, channels, 1], dim=1)
        total = counts.detach().sum()
        mean = (counts.detach() * means).sum(dim=0) / total
        variance = (deviations + counts.detach() * (means - mean).square()).sum(dim=0) / total
        moments.append(Moments(mean, variance, total))
    return moments


class _NormOverAll(torch.autograd.Function):
    """Batch norm by the `Moments` of all processes, in as few passes over the values as PyTorch's own takes.

    Ioffe & Szegedy 2015, algorithm 1, and its gradients below it: with x̂ the normed values, g the gradient of the
    outputs and means over all processes, that of an input is weight / deviation · (g - mean(g) - x̂ mean(g x̂)).
    """

    @staticmethod
    def forward(
        context: Any, values: Tensor, weight: Tensor, bias: Tensor, moments: list[Moments], eps: float
    ) -> Tensor:
        context.save_for_backward(values, weight, bias)
        context.moments, context.eps = moments, eps
        outputs = [
            torch.native_batch_norm(part, weight, bias, known.mean, known.variance, False, 0.0, eps)[0]
            for part, known in zip(values.chunk(len(moments)), moments, strict=True)
        ]
        return torch.cat(outputs) if len(outputs) > 1 else outputs[0]

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, weight, bias = context.saved_tensors
        moments: list[Moments] = context.moments
        if torch.is_grad_enabled():  # the gradient is to be differentiated, as a penalty on gradients asks for
            outputs = _normed(values, weight, bias, len(moments), context.eps)
            found = torch.autograd.grad(outputs, (values, weight, bias), gradients[0], create_graph=True)
            return *found, None, None
        whole = range(len(moments))
        parts = zip(gradients[0].chunk(len(moments)), values.chunk(len(moments)), moments, strict=True)
        held = [
            torch.ops.aten.native_batch_norm_backward(
                gradient, part, weight, known.mean, known.variance, None, None, False, context.eps, [True] * 3
            )
            for gradient, part, known in parts
        ]  # as if the moments were given
        sums = distributed.all_reduce_sum(torch.stack([torch.stack(of_part[1:]) for of_part in held]))
        for place, part, known in zip(whole, values.chunk(len(moments)), moments, strict=True):
            shape = [1, -1] + [1] * (part.ndim - 2)
            scale = torch.rsqrt(known.variance + context.eps)
            slope = -weight * scale.square() / known.count * sums[place, 0]
            level = -weight * scale / known.count * sums[place, 1] - slope * known.mean
            held[place][0].add_(level.view(shape)).addcmul_(part, slope.view(shape))
        of_values = [of_part[0] for of_part in held]
        return (
            torch.cat(of_values) if len(of_values) > 1 else of_values[0],
            torch.stack([of_part[1] for of_part in held]).sum(dim=0),
            torch.stack([of_part[2] for of_part in held]).sum(dim=0),
            None,
            None,
        )


def _normed(values: Tensor, weight: Tensor, bias: Tensor, parts: int, eps: float) -> Tensor:
    """Batch norm over all processes of operations that can be differentiated as often as it takes."""
    shape = [1, -1] + [1] * (values.ndim - 2)
    outputs = []
    for part, known in zip(values.chunk(parts), _moments_over_all(values, parts), strict=True):
        scale = weight * torch.rsqrt(known.variance + eps)
        outputs.append(torch.addcmul((bias - known.mean * scale).view(shape), part, scale.view(shape)))
    return torch.cat(outputs)


class BatchNorm1d(SplitBatchNorm, nn.BatchNorm1d):
    """Of flat features."""


class BatchNorm2d(SplitBatchNorm, nn.BatchNorm2d):
    """Of maps."""
