"""Define the common parts of both kinds of scenes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from training.render.gl import Camera, Item, Light, Masks, Mesh, Renderer
from training.render.meshes import Model, random_colour

SCENERY = "scenery"  # folder of models that only occlude
WHITE = (1.0, 1.0, 1.0)


class SceneError(ValueError):
    """A scene cannot be made of these models; the text says why."""


class SceneObject(NamedTuple):
    """A labelled object of a scene, its speed [m/s] and what its colours are multiplied with.

    The place in the list is its number.
    """

    model: Model
    speed: float
    tint: tuple[float, float, float]


class SceneFrame(NamedTuple):
    """One frame: RGB uint8 [H, W, 3], masks and depths [m] of the centres by object number."""

    image: np.ndarray
    masks: Masks
    depths: dict[int, float]


class Scene(Protocol):
    """A random scene: labelled objects, and in `parameters` what was drawn, for the clip's file."""

    objects: list[SceneObject]
    parameters: dict[str, Any]

    def frames(self, renderer: Renderer) -> Iterator[SceneFrame]:
        """Yield the frames of the clip."""
        ...


def split_scenery(models: Sequence[Model]) -> tuple[list[Model], list[Model]]:
    """Return the models that are objects, and those that only occlude.

    Raises:
        SceneError: there are no objects.
    """
    objects = [model for model in models if model.category != SCENERY]
    if not objects:
        raise SceneError(f"all models lie in folders named {SCENERY!r}: none is left to label")
    return objects, [model for model in models if model.category == SCENERY]


def pick(rng: np.random.Generator, models: Sequence[Model], count: int) -> list[Model]:
    """Draw `count` models, each once as long as they last."""
    turns = [rng.permutation(len(models)) for _ in range(-(-count // len(models)))]
    return [models[i] for i in np.concatenate(turns)[:count]]


def tint_of(rng: np.random.Generator, model: Model) -> tuple[float, float, float]:
    """Return what a model's colours are multiplied with: a random paint if it brings none."""
    return WHITE if model.painted else tuple(random_colour(rng).tolist())


def posed(meshes: Sequence[Mesh], pose: np.ndarray, tint: tuple = WHITE) -> list[Item]:
    """Return the items of one object at a pose [4, 4]."""
    return [Item(mesh, pose, tint) for mesh in meshes]


class Stage:
    """Draws the frames of a scene; shadows fall in a box around `centre`, of twice `reach` [m]."""

    def __init__(
        self,
        renderer: Renderer,
        objects: Sequence[SceneObject],
        light: Light,
        centre: np.ndarray,
        reach: float,
    ) -> None:
        self._renderer, self._objects, self._look = renderer, objects, (light, centre, reach)
        models = {id(item.model): item.model for item in objects}
        self._meshes = {
            key: [renderer.load(part) for part in model.parts] for key, model in models.items()
        }

    def frame(
        self, scenery: list[Item], poses: Mapping[int, np.ndarray], camera: Camera
    ) -> SceneFrame:
        """Draw the scenery and the objects at poses [4, 4], by number."""
        items, depths = {}, {}
        for i, pose in poses.items():
            model, _, tint = self._objects[i]
            items[i] = posed(self._meshes[id(model)], pose, tint)
            depths[i] = camera.depth_of(pose[:3, :3] @ [0, 0, model.size[2] / 2] + pose[:3, 3])
        everything = scenery + [item for group in items.values() for item in group]
        image = self._renderer.picture(everything, camera, *self._look)
        return SceneFrame(image, self._renderer.masks(scenery, items, camera), depths)
