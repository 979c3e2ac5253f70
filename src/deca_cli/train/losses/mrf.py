"""The ID-MRF loss (Wang et al. 2018, "Image inpainting via generative multi-column CNNs") on features of VGG-19.

Gradient with respect to the features. With s_ji the similarity of target place j and generated place i, m_i = (1 -
max_j s_ji) / 2 + e and c = softmax_j(s_ji / m_i), which is the paper's normalised similarity w_ji / sum_j w_ji, only the
n entries (j, i*(j)) with c_ji = k_j carry gradient from the loss -log(mean_j k_j). Behind the softmax the gradient is
therefore -c_ji h_i, with h_i a sum over those entries, plus those entries themselves: one product of matrices and two
scatters, without keeping an n x n matrix of any sample beyond the few that are worked on.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deca_cli.train.losses.vgg19 import Vgg19

EPSILON = 1e-5
# Entries of the similarity matrices in memory at once, per kind of matrix: 2 samples of 4096 x 4096, 128 MiB in float32.
ENTRIES_AT_ONCE = 2**25


def mrf_losses(generated: Tensor, target: Tensor) -> Tensor:
    """-log of how well every place of the target is found again, for each sample (paper section 4.2; spec section 8.6).

    Features are taken relative to the target's mean over its channels and divided by their length; d_ji = (1 - T_j G_i) /
    2; d'_ji = d_ji / (min_j d_ji + 1e-5); w_ji = exp((1 - d'_ji) / 0.5); c_ji = w_ji / sum_j w_ji; k_j = max_i c_ji; loss
    = -log(mean_j k_j).

    Args:
        generated: [N, C, h, w] features.
        target: [N, C, h, w]; gets no gradient.

    Returns:
        [N] float32. The official loss is their sum [K14].
    """
    mean = target.mean(dim=1, keepdim=True)
    return _MrfLosses.apply(_directions(generated - mean), _directions(target - mean).detach())


def id_mrf_loss(network: Vgg19, generated: Tensor, target_features: tuple[Tensor, Tensor]) -> Tensor:
    """Sum over the batch of L(layer 11) + 2 L(layer 20): style of both, content of the coarser (spec section 8.6).

    Args:
        network: VGG-19.
        generated: [N, 3, H, W] RGB in 0..1; N may be a multiple of the targets' number M, sample i belongs to target i
            modulo M.
        target_features: of `network`, [M, ...].

    Returns:
        Scalar.
    """
    total = generated.new_zeros(())
    for features, target, weight in zip(network(generated), target_features, (1.0, 2.0), strict=True):
        for part in features.split(len(target)):
            total = total + weight * mrf_losses(part, target).sum()
    return total


def _directions(features: Tensor) -> Tensor:
    """[N, C, h, w] -> [N, h w, C] of length 1, float32."""
    flat = features.float().flatten(2).transpose(1, 2)
    # As official without a floor under the length, but for places where all channels are equal, which would be NaN.
    length = torch.linalg.vector_norm(flat, dim=2, keepdim=True)
    return flat / length.clamp(min=torch.finfo(torch.float32).tiny)


class _MrfLosses(torch.autograd.Function):
    """Losses of samples, and their gradient made on the way, so that no matrix of similarities is kept."""

    @staticmethod
    def forward(ctx: Any, generated: Tensor, target: Tensor) -> Tensor:  # noqa: ANN401 - torch's own
        wanted = generated.requires_grad
        losses, gradients = [], []
        with _full_precision(generated.device):
            for some, others in _few_at_once(generated, target):
                loss, gradient = _loss_and_gradient(some, others, wanted=wanted)
                losses.append(loss)
                gradients.append(gradient)
        if wanted:
            ctx.save_for_backward(torch.cat(gradients))
        return torch.cat(losses)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 - torch's own
        (gradient,) = ctx.saved_tensors
        return gradient * grad[:, None, None], None


def _few_at_once(generated: Tensor, target: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    count = max(1, ENTRIES_AT_ONCE // (generated.shape[1] * target.shape[1]))
    yield from zip(generated.split(count), target.split(count), strict=True)


def _loss_and_gradient(generated: Tensor, target: Tensor, *, wanted: bool) -> tuple[Tensor, Tensor]:
    """[b, n, C] directions of generated and target places -> losses [b], gradient [b, n, C] to the generated ones."""
    likeness = (
        generated @ target.mT
    )  # [b, i, j]: rows are generated places, so that the sums run along memory
    best, nearest = likeness.max(dim=2)  # [b, i]
    width = (1 - best) / 2 + EPSILON  # m_i
    exponent = likeness.sub_(best[..., None]).div_(width[..., None])  # u = log of c, up to its sum
    share = exponent.exp()
    total = share.sum(dim=2)  # [b, i]
    entropy = (exponent.mul_(share)).sum(dim=2) / total if wanted else total  # sum_j c u
    share.div_(total[..., None])  # c
    found, finder = share.max(dim=1)  # k_j and i*(j): [b, j]
    losses = -found.mean(dim=1).log()
    if not wanted:
        return losses, losses
    return losses, _gradient(share, (best, nearest, width, entropy, total), (found, finder), target)


def _gradient(
    share: Tensor, rows: tuple[Tensor, ...], columns: tuple[Tensor, Tensor], target: Tensor
) -> Tensor:
    """[b, i, C]; see the module's text."""
    _, nearest, width, entropy, total = rows
    found, finder = columns
    pull = -found / found.sum(dim=1, keepdim=True)  # k_j dL/dk_j
    held = torch.zeros_like(width).scatter_add_(1, finder, pull)  # h_i
    # u at (j, i*(j)) is the logarithm of c there times the sum of its row.
    exponent = (found * total.gather(1, finder)).clamp(min=torch.finfo(torch.float32).tiny).log()
    spread = torch.zeros_like(width).scatter_add_(1, finder, pull * exponent)
    width_pull = (held * entropy - spread) / width  # dL/dm_i
    gradient = (share @ target).mul_((-held / width)[..., None])
    channels = target.shape[2]
    direct = (pull / width.gather(1, finder))[..., None] * target
    gradient.scatter_add_(1, finder[..., None].expand(-1, -1, channels), direct)
    closest = target.gather(1, nearest[..., None].expand(-1, -1, channels))
    return gradient.sub_(closest * (width_pull / 2)[..., None])


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Products of float32 matrices in float32: where pictures are masked, distances are 1e-7 and are divided by 1e-5."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
