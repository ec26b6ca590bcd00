"""Where the images of a chain and their gradients stand in its scratch.

Memory is given out as the layers run, forward and back: a place is free again once nothing later
reads it, and the gradient of a layer's input often takes the place of the input itself, which was
read last. So a lane needs little more than what backward reads, and finds it in the cache.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from evolute.lanes.places import NoPlacesError, padded

NOWHERE = -1

IN_PLACE = ("activate", "add", "drop", "normalise")
"""Layers whose input's gradient may be written over that of their result."""


@dataclass(frozen=True, slots=True)
class Image:
    """A value of a chain: an image, or rows of as many features as it has channels.

    Parameters
    ----------
    channels, height, width
        Its shape; height and width of rows are 1.
    """

    channels: int
    height: int = 1
    width: int = 1

    @property
    def pixels(self) -> int:
        """Height times width."""
        return self.height * self.width


@dataclass(frozen=True, slots=True)
class ImageLayer:
    """One layer of a chain on images.

    Parameters
    ----------
    kind
        A key of :data:`evolute.lanes.image_chains.KINDS`.
    inputs
        Values that it reads.
    out
        The value that it writes; −1 for a counter.
    held
        Names of its weight, bias, running mean and running variance.
    number
        Of its activation; of a mask; 1 for a linear layer with a rectifier; what a counter adds.
    window
        Height and width of the kernel, stride and padding, down and right.
    epsilon, momentum
        Of a normalisation.
    """

    kind: str
    inputs: tuple[int, ...]
    out: int
    held: tuple[str | None, str | None, str | None, str | None] = (None, None, None, None)
    number: int = 0
    window: tuple[int, int, int, int, int, int] = (0, 0, 0, 0, 0, 0)
    epsilon: float = 0.0
    momentum: float = 0.0


@dataclass(frozen=True, slots=True)
class ImageForm:
    """A network as a chain of layers on images.

    Parameters
    ----------
    values, layers
        In order; the value 0 is the input.
    output
        The value of scores.
    examples
        Of a batch.
    masks
        Probability of dropout and number of features, of each mask.
    """

    values: tuple[Image, ...]
    layers: tuple[ImageLayer, ...]
    output: int
    examples: int
    masks: tuple[tuple[float, int], ...]


@dataclass(slots=True)
class ImagePlaces:
    """Numbers of the scratch before each thing.

    Parameters
    ----------
    values
        Of each value.
    extras
        Of what each layer keeps.
    slopes
        Of the gradient of each layer's result.
    passes, sums
        Of the gradients of each layer's inputs as they are computed, and of those to which they are
        added then; −1 where there is none.
    spread
        Layers at which the gradient of an image is one number for all pixels.
    output
        Of the gradient of the scores.
    size
        Of the scratch.
    """

    values: list[int] = field(default_factory=list)
    extras: list[int] = field(default_factory=list)
    slopes: list[int] = field(default_factory=list)
    passes: list[tuple[int, int]] = field(default_factory=list)
    sums: list[tuple[int, int]] = field(default_factory=list)
    spread: frozenset[int] = frozenset()
    output: int = NOWHERE
    size: int = 0


def placed(form: ImageForm) -> ImagePlaces:
    """Return the places of a chain.

    Raises
    ------
    NoPlacesError
        If its gradients would run in ways that are not known here.
    """
    return _Placing(form).places()


@dataclass(slots=True)
class _Placing:
    form: ImageForm
    found: ImagePlaces = field(default_factory=ImagePlaces)
    sizes: dict[int, int] = field(default_factory=dict)
    """Numbers of each place."""
    free: list[int] = field(default_factory=list)
    storage: dict[int, int] = field(default_factory=dict)
    """Place of each value's gradient."""
    ends: dict[int, int] = field(default_factory=dict)
    """Step after which a value is read no more: forward from 0 on, then backward."""

    def places(self) -> ImagePlaces:
        form, found = self.form, self.found
        found.spread = frozenset(self._spread())
        self._find_ends()
        found.values = [NOWHERE] * len(form.values)
        found.values[0] = self._take(self._size(0))
        found.extras = [self._kept(layer) for layer in form.layers]
        for at, layer in enumerate(form.layers):
            self._forward(at, layer)
        found.output = self._new_slope(form.output)
        self._drop_values(len(form.layers))
        count = len(form.layers)
        found.slopes, found.passes, found.sums = (
            [NOWHERE] * count, [(NOWHERE, NOWHERE)] * count, [(NOWHERE, NOWHERE)] * count,
        )  # fmt: skip
        for at in reversed(range(count)):
            if form.layers[at].kind != "count":
                self._backward(at, form.layers[at])
        return found

    def _spread(self) -> Iterator[int]:
        """Yield the averages, and the normalisations that they alone read."""
        uses = Counter(each for layer in self.form.layers for each in layer.inputs)
        makers = {layer.out: at for at, layer in enumerate(self.form.layers)}
        for at, layer in enumerate(self.form.layers):
            if layer.kind != "average" or uses[layer.inputs[0]] != 1:
                continue
            maker = makers.get(layer.inputs[0])
            if maker is not None and self.form.layers[maker].kind == "normalise":
                yield from (at, maker)

    def _find_ends(self) -> None:
        count = len(self.form.layers)
        for at, layer in enumerate(self.form.layers):
            for each in (*layer.inputs, *([] if layer.kind == "count" else [layer.out])):
                self.ends[each] = at
        self.ends[self.form.output] = count
        for at in reversed(range(count)):
            for each in _read_backward(self.form.layers[at]):
                self.ends[each] = self._turn(at)
        self.ends[0] = 2 * count + 1  # the next lane may share it

    def _turn(self, at: int) -> int:
        """Return the step at which a layer runs backward."""
        return 2 * len(self.form.layers) - at

    def _forward(self, at: int, layer: ImageLayer) -> None:
        if layer.kind == "count":
            return
        if layer.kind in ("activate", "add", "drop"):
            self._drop_values(at, but=layer.out)
        self.found.values[layer.out] = self._take(self._size(layer.out))
        self._drop_values(at)

    def _drop_values(self, step: int, *, but: int = NOWHERE) -> None:
        """Free the values that are read no more after a step."""
        for each, end in list(self.ends.items()):
            if end == step and each != but and self.found.values[each] != NOWHERE:
                self.free.append(self.found.values[each])
                del self.ends[each]

    def _backward(self, at: int, layer: ImageLayer) -> None:
        if layer.out not in self.storage:
            raise NoPlacesError
        own = self.storage.pop(layer.out)
        self.found.slopes[at] = own
        if layer.kind == "convolve":
            self._drop_values(self._turn(at))
        passes, sums = [NOWHERE, NOWHERE], [NOWHERE, NOWHERE]
        kept, waste = True, []
        for place in reversed(range(len(layer.inputs))):
            each = layer.inputs[place]
            if each == 0:
                if layer.kind not in ("convolve", "add"):
                    raise NoPlacesError
                continue
            over = self._is_over(at, layer, place)
            known = self.storage.get(each)
            if known is not None:
                sums[place] = known
                passes[place] = (
                    own if over or layer.kind == "add" else self._take(self._slope(each))
                )
                if passes[place] != own:
                    waste.append(passes[place])
            elif over:
                passes[place] = self.storage[each] = own
                kept = False
            else:
                passes[place] = self._new_slope(each)
        self.found.passes[at] = (passes[0], passes[1])
        self.found.sums[at] = (sums[0], sums[1])
        self.free += [*waste, *([own] if kept else [])]
        self._drop_values(self._turn(at))

    def _is_over(self, at: int, layer: ImageLayer, place: int) -> bool:
        """Say whether the gradient of an input is written over that of the result."""
        return layer.kind in IN_PLACE and place == 0 and at not in self.found.spread

    def _new_slope(self, value: int) -> int:
        at = self.storage[value] = self._take(self._slope(value))
        return at

    def _slope(self, value: int) -> int:
        """Return how many numbers the gradient of a value takes."""
        one = any(
            at in self.found.spread and layer.out == value and layer.kind == "normalise"
            for at, layer in enumerate(self.form.layers)
        )
        return self.form.values[value].channels * self.form.examples if one else self._size(value)

    def _size(self, value: int) -> int:
        image = self.form.values[value]
        return image.channels * image.pixels * self.form.examples

    def _kept(self, layer: ImageLayer) -> int:
        if layer.kind != "normalise":
            return NOWHERE
        return self._take(3 * self.form.values[layer.out].channels)

    def _take(self, numbers: int) -> int:
        """Return a place for so many numbers.

        Of those that are free and large enough the smallest, of such the one that was freed last.
        """
        size = padded(numbers)
        fitting = [at for at in reversed(self.free) if self.sizes[at] >= size]
        if fitting:
            at = min(fitting, key=lambda each: self.sizes[each])
            self.free.remove(at)
            return at
        at = self.found.size
        self.sizes[at] = size
        self.found.size += size
        return at


def _read_backward(layer: ImageLayer) -> tuple[int, ...]:
    """Return the values that a layer reads on the way back."""
    if layer.kind in ("convolve", "normalise"):
        return layer.inputs
    if layer.kind == "linear":
        return (*layer.inputs, layer.out) if layer.number else layer.inputs
    if layer.kind == "activate":
        return (layer.out,) if layer.number == 1 else layer.inputs
    return ()
