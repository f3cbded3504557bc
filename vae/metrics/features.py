"""Features in which generated images are compared: those of a classifier trained on the data itself.

Scores in the features of two nets are not comparable, so the net's name, which ends in a hash of its weights, belongs in
the name of a metric. A net trained on photographs elsewhere would be a download, and knows little of small grey images.

A net needs labels, which a categorical attribute can replace. Without either, the flattened pixels, or the standardised
columns of a table, are the features, by the name `pixels` or `columns`.

Shapes: N images, C channels, H height, W width, K classes, F features.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vae.errors import DataError
from vae.metrics.reconstruction import check_pixels
from vae.seeds import Stream, derive

LARGEST_SIDE = 7
BATCH_SIZE = 128
CHUNK = 1024


class FeatureNet(nn.Module):
    """A small convolutional classifier; the activations before its last layer are an image's features.

    Convolutions of 3×3 with stride 2 halve the image until no side is longer than 7, and a fully connected layer makes the
    features. Without batch statistics, so that an image's features do not depend on its neighbours.

    Args:
        shape: Channels, height and width of the images.
        num_classes: Number of classes of the last layer.
        seed: Seed of the initial weights; the global generator stays as it is.
        width: Number of features, and of channels of each convolution after the first, which has half as many.
    """

    held_out_accuracy: Tensor
    """Accuracy on the held-out images, in [0, 1]; NaN before training. Part of the state dict."""

    def __init__(self, shape: tuple[int, int, int], num_classes: int, *, seed: int, width: int = 64) -> None:
        super().__init__()
        self.shape = shape
        self.num_classes = num_classes
        self.width = width
        self.register_buffer("held_out_accuracy", torch.tensor(math.nan, dtype=torch.float64))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, Stream.WEIGHTS))
            layers, channels, sides = [], shape[0], shape[1:]
            while not layers or max(sides) > LARGEST_SIDE:
                narrower, channels = channels, width if layers else math.ceil(width / 2)
                layers += [nn.Conv2d(narrower, channels, 3, stride=2, padding=1), nn.SiLU()]
                sides = [(side + 1) // 2 for side in sides]
            self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * math.prod(sides), width), nn.SiLU())
            self.head = nn.Linear(width, num_classes)

    @property
    def name(self) -> str:
        """Name of the features, from the width and a hash of shape and weights, such as `cnn-64-a1b2c3`."""
        digest = hashlib.sha256(f"{self.shape} {self.num_classes}".encode())
        for parameter in self.parameters():
            digest.update(parameter.detach().cpu().numpy().tobytes())
        return f"cnn-{self.width}-{digest.hexdigest()[:6]}"

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Returns the logits of the classes, [N,K], for pixels in [0, 1]."""
        return self.head(self.body(x_NCHW))

    @torch.no_grad()
    def features(self, x_NCHW: Tensor) -> NDArray[np.float64]:
        """Returns the activations before the last layer, [N,F], in chunks of 1024 images on the net's device.

        Args:
            x_NCHW: Images, uint8, or float in [0, 1]. Pass real and generated images through the same rounding and
                binarisation, since those change the features as well.

        Raises:
            DataError: If the images have another shape than those of the training, or their pixels another range.
        """
        if x_NCHW.shape[1:] != self.shape:
            raise DataError(
                f"{self.name}: expected images {list(self.shape)}, which it was trained on, got {list(x_NCHW.shape[1:])}"
            )
        chunks = [self.body(_to_unit(chunk, self.head.weight.device)) for chunk in x_NCHW.split(CHUNK)]
        return torch.cat(chunks).double().cpu().numpy()

    @torch.no_grad()
    def accuracy(self, x_NCHW: Tensor, labels_N: Tensor) -> float:
        """Returns the share of images whose class gets the largest logit."""
        device = self.head.weight.device
        chunks = zip(x_NCHW.split(CHUNK), labels_N.split(CHUNK), strict=True)
        hits = sum(int((self(_to_unit(x, device)).argmax(1) == labels.to(device)).sum()) for x, labels in chunks)
        return hits / len(x_NCHW)


def train_feature_net(
    x_NCHW: Tensor,
    labels_N: Tensor | None,
    *,
    seed: int,
    steps: int = 1000,
    width: int = 64,
    learning_rate: float = 2e-3,
    held_out_share: float = 0.1,
) -> FeatureNet:
    """Trains the net for a dataset's generation metrics.

    Protocol: a random tenth of the images is held out and only scored; batches of 128 are drawn from the rest with
    replacement; Adam minimises the cross-entropy, with a learning rate that falls to 0 along a cosine. On a CPU the seed
    determines the weights, and so the name, to the last bit for one kind of machine and number of threads. Train one
    net per dataset, on its training split, and keep its state dict beside the scores.

    Args:
        x_NCHW: Images, uint8, or float in [0, 1]; the net trains on their device.
        labels_N: Class indices from 0.
        seed: Seed of the weights, of the held-out images and of the batches.
        steps: Number of batches.
        width: Number of features.
        learning_rate: Learning rate of Adam at the start.
        held_out_share: Share of the images that is held out.

    Raises:
        DataError: If there are no labels, fewer than 2 classes, or too few images to hold any out.
    """
    labels_N, num_classes = _check_labels(x_NCHW, labels_N)
    generator = torch.Generator().manual_seed(derive(seed, Stream.PERMUTATION))
    num_held_out = math.ceil(held_out_share * len(x_NCHW))
    held_out, kept = torch.randperm(len(x_NCHW), generator=generator).tensor_split([num_held_out])
    shape = (x_NCHW.shape[1], x_NCHW.shape[2], x_NCHW.shape[3])
    net = FeatureNet(shape, num_classes, seed=seed, width=width).to(x_NCHW.device)
    batches = (kept[torch.randint(len(kept), (BATCH_SIZE,), generator=generator)] for _ in range(steps))
    _minimise_cross_entropy(net, x_NCHW, labels_N, batches, steps, learning_rate)
    net.held_out_accuracy.fill_(net.accuracy(x_NCHW[held_out.to(x_NCHW.device)], labels_N[held_out.to(x_NCHW.device)]))
    return net.eval().requires_grad_(False)


def _minimise_cross_entropy(
    net: FeatureNet, x_NCHW: Tensor, labels_N: Tensor, batches: Iterable[Tensor], steps: int, learning_rate: float
) -> None:
    optimizer = torch.optim.Adam(net.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for rows in batches:
        batch = rows.to(x_NCHW.device)
        loss = F.cross_entropy(net(_to_unit(x_NCHW[batch], x_NCHW.device)), labels_N[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _check_labels(x_NCHW: Tensor, labels_N: Tensor | None) -> tuple[Tensor, int]:
    """Returns the labels on the images' device, and the number of classes."""
    if labels_N is None:
        raise DataError(
            "feature net: it needs labels, and this dataset has none; pass a categorical attribute as labels, or "
            "compare flattened pixels and name them in the metric"
        )
    if x_NCHW.dim() != 4 or len(x_NCHW) != len(labels_N) or len(x_NCHW) < 2:
        raise DataError(
            f"feature net: expected two or more images [N,C,H,W] with a label each, got {list(x_NCHW.shape)} and "
            f"{len(labels_N)} labels"
        )
    lowest, highest = int(labels_N.min()), int(labels_N.max())
    if lowest < 0 or highest < 1:
        raise DataError(
            f"feature net: expected class indices from 0 of 2 classes or more, got {lowest} to {highest}; leave out "
            "examples without a class"
        )
    return labels_N.long().to(x_NCHW.device), highest + 1


def _to_unit(x_NCHW: Tensor, device: torch.device) -> Tensor:
    """Returns the pixels as float32 in [0, 1] on a device; float pixels are checked, uint8 pixels are scaled."""
    if x_NCHW.dtype == torch.uint8:
        return x_NCHW.to(device).float().div_(255)
    check_pixels("feature net", x_NCHW)
    return x_NCHW.to(device).float()
