"""Fine-tuning: EfficientNetV2-S, trained on ImageNet, goes on with flowers, cars and objects.

The networks, the data sets and that all weights are trained follow the published study (Morgan and
Hougen, 2024), the dropout the same authors' program for this network (see docs/paper.md). Images
are scaled to 224×224 and normalised as the weights expect: torchvision's with the mean and standard
deviation of ImageNet, timm's, which began in TensorFlow, as (x−127.5)/128. A training batch is
flipped at random where the protocol augments.

Weights come from a local file in the folder ``efficientnet-v2-s`` of the data folder, or from the
cache of torchvision or of timm. In torchvision's layout they need no library; in timm's, timm
builds the network. A ``.pth`` file is read as tensors alone; nothing in it is run.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from evolute.errors import TaskError, shorten
from evolute.tasks.base import Task
from evolute.tasks.data import Batch, Data, index_batches
from evolute.tasks.efficientnet import EfficientNetV2
from evolute.tasks.extras import optional_module
from evolute.tasks.files import DATA_VARIABLE, places
from evolute.tasks.picture_sets import PictureSet, read_caltech, read_cars, read_flowers
from evolute.tasks.pictures import decode_picture, read_picture
from evolute.tasks.registry import TaskFacts, enter

SIZE = 224
Colours = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Mean and standard deviation of each colour, of pixels in [0, 1]."""

IMAGENET: Colours = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TENSORFLOW: Colours = ((0.5, 0.5, 0.5), (128 / 255, 128 / 255, 128 / 255))
"""(x−127.5)/128 of pixels in [0, 255], as the authors' program has it."""
DROPOUT = 0.1
"""Before the classifier, as the authors have it."""
_NETWORK = partial(EfficientNetV2, dropout=DROPOUT)
WEIGHTS_FOLDER = "efficientnet-v2-s"
TORCHVISION_FILE = "efficientnet_v2_s-dd5fe13b.pth"
TIMM_MODEL = "tf_efficientnetv2_s"
PICTURES_PER_EVALUATION_BATCH = 32


class PictureData(Data):
    """Pictures in files, decoded batch by batch; a split of them is more than memory holds.

    Parameters
    ----------
    pictures
        Files and classes.
    size
        Side of the square that each is scaled to.
    colours
        What they are normalised with.
    """

    def __init__(self, pictures: PictureSet, size: int, colours: Colours = IMAGENET) -> None:
        self._pictures = pictures
        self._size = size
        self._colours = colours

    def shuffled(self, generator: Generator, batch_size: int) -> Iterator[Batch]:
        for index in index_batches(len(self._pictures.labels), generator, batch_size=batch_size):
            yield self._batch(index.tolist())

    def in_order(self) -> Iterator[Batch]:
        count = len(self._pictures.labels)
        for start in range(0, count, PICTURES_PER_EVALUATION_BATCH):
            yield self._batch(range(start, min(start + PICTURES_PER_EVALUATION_BATCH, count)))

    def _batch(self, indices: Sequence[int]) -> Batch:
        files = [self._pictures.files[index] for index in indices]
        pixels = torch.stack([
            decode_picture(read_picture(file), f"the file {str(file)!r}", channels=3,
                           size=self._size)
            for file in files
        ])  # fmt: skip
        mean, deviation = (torch.tensor(row).reshape(3, 1, 1) for row in self._colours)
        labels = torch.tensor([self._pictures.labels[index] for index in indices])
        return (pixels.to(torch.float32) / 255 - mean) / deviation, labels


@dataclass(frozen=True, slots=True)
class Domain:
    """A data set to fine-tune on.

    Parameters
    ----------
    name
        Of the task and of its folder.
    title
        As people write it.
    classes
        How many.
    read
        read(data_dir) -> training, validation and test pictures.
    examples, splits, licence, source
        What the task states.
    """

    name: str
    title: str
    classes: int
    read: Callable[[Path | None], tuple[PictureSet, PictureSet, PictureSet]]
    examples: str
    splits: str
    licence: str
    source: str


DOMAINS = (
    Domain("flowers102", "Oxford 102 Flowers", 102, read_flowers, "1,020 / 1,020 / 6,149",
           "as published", "none stated",
           "M. Nilsback, A. Zisserman, Automated Flower Classification (2008)"),
    Domain("cars196", "Stanford Cars", 196, read_cars, "7,330 / 814 / 8,041",
           "the last tenth of the published training part validates; the published test part tests",
           "non-commercial research (ImageNet's terms)",
           "J. Krause and others, 3D Object Representations (2013)"),
    Domain("caltech101", "Caltech 101", 101, read_caltech, "2,525 / 505 / 5,647",
           "of each class 25 train and 5 validate, drawn with RandomState(0); the others test; "
           "without the background class",
           "CC BY 4.0", "L. Fei-Fei, R. Fergus, P. Perona, Caltech 101 (2004)"),
)  # fmt: skip


def fine_tuning_task(
    domain: Domain,
    data_dir: Path | None,
    *,
    network: Callable[[int], nn.Module] = _NETWORK,
    size: int = SIZE,
) -> Task:
    """Build the task of a domain.

    Parameters
    ----------
    domain
        A row of :data:`DOMAINS`.
    data_dir
        The data folder given, or None.
    network
        network(classes) -> the network that weights in torchvision's layout fit.
    size
        Side of the images.

    Raises
    ------
    TaskError
        If data or weights are not there, cannot be read, or do not fit the network.
    """
    train, validation, test = domain.read(data_dir)
    path = _weights_file(data_dir)
    weights = _read_weights(path)
    ours = "features.0.0.weight" in weights
    build = network if ours else partial(_timm_network, path)
    colours = IMAGENET if ours else TENSORFLOW

    def model() -> nn.Module:
        return _with_weights(build(domain.classes), weights, path)

    return Task(
        name=domain.name,
        version=f"2-{_digest(path)}-{len(train.labels)}-{size}",
        model=model,
        train=PictureData(train, size, colours),
        validation=PictureData(validation, size, colours),
        test=PictureData(test, size, colours),
        metric="accuracy",
        augment=_flipped,
    )


def _flipped(images: Tensor, generator: Generator) -> Tensor:
    flips = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return torch.where(flips, images.flip(-1), images)


def _weights_file(data_dir: Path | None) -> Path:
    """Return the file of weights: the data folder's, or what torchvision or timm has cached."""
    own = places(WEIGHTS_FOLDER, data_dir)[:1]
    hub = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface")) / "hub"
    places_of = [
        (own[0], "*.safetensors"),
        (own[0], "*.pth"),
        (Path(torch.hub.get_dir()) / "checkpoints", TORCHVISION_FILE),
        (hub, f"models--timm--{TIMM_MODEL}.*/snapshots/*/model.safetensors"),
    ]
    for folder, pattern in places_of:
        if found := sorted(folder.glob(pattern)):
            return found[0]
    raise TaskError(
        f"the weights of EfficientNetV2-S are not on this machine: looked for *.safetensors and "
        f"*.pth in {own[0]}, and in the caches of torchvision and timm; run 'evolute data fetch "
        f"{WEIGHTS_FOLDER}', or name the folder above with --data-dir or {DATA_VARIABLE}"
    )


@cache
def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:8]


@cache
def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            library: Any = optional_module(
                "safetensors.torch", extra="fine-tuning", what=f"reading {path.name}"
            )
            read: object = library.load_file(path)
        else:
            read = torch.load(path, map_location="cpu", weights_only=True)
    except TaskError:
        raise
    except Exception as error:  # noqa: BLE001  # both libraries raise errors of several kinds
        raise TaskError(
            f"the weights in {str(path)!r} cannot be read ({shorten(str(error))}); get them anew"
        ) from None
    if not isinstance(read, dict) or not all(isinstance(each, Tensor) for each in read.values()):
        raise TaskError(f"the file {str(path)!r} holds no state_dict of tensors; get it anew")
    return read


def _with_weights(network: nn.Module, weights: dict[str, Tensor], path: Path) -> nn.Module:
    """Load all but the classifier, whose classes are others; it keeps the weights just drawn."""
    own = network.state_dict()
    body = {name: value for name, value in weights.items() if not name.startswith("classifier")}
    missing = [name for name in own if name not in body and not name.startswith("classifier")]
    unknown = [name for name in body if name not in own]
    wrong = [name for name in body if name in own and own[name].shape != body[name].shape]
    if missing or unknown or wrong:
        first = (missing + unknown + wrong)[0]
        raise TaskError(
            f"the weights in {str(path)!r} do not fit EfficientNetV2-S: {len(missing)} are "
            f"missing, {len(unknown)} unknown, {len(wrong)} of another shape, such as {first!r}"
        )
    network.load_state_dict(body, strict=False)
    return network


def _timm_network(path: Path, classes: int) -> nn.Module:
    library: Any = optional_module(
        "timm", extra="fine-tuning", what=f"weights in timm's layout ({path.name})"
    )
    network: nn.Module = library.create_model(
        TIMM_MODEL, pretrained=False, num_classes=classes, drop_rate=DROPOUT
    )
    return network


def _enter_all() -> None:
    for domain in DOMAINS:
        enter(
            domain.name,
            f"{domain.title}: {domain.classes} classes; EfficientNetV2-S from ImageNet's weights",
            TaskFacts(
                family="fine-tuning",
                examples=domain.examples,
                splits=domain.splits,
                inputs=f"3×{SIZE}×{SIZE}",
                classes=str(domain.classes),
                network="EfficientNetV2-S, 20.2 million weights and the classifier's",
                licence=domain.licence,
                source=domain.source,
                needs=f"files: evolute data fetch {domain.name}, evolute data fetch "
                f"{WEIGHTS_FOLDER}; extra: pip install 'evolute[fine-tuning]'",
            ),
            partial(fine_tuning_task, domain),
        )


_enter_all()
