"""Draws pictures with shadows, and exact masks, by OpenGL in hardware or software."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from training.render.geometry import in_view, look, perspective, shadow_view
from training.render.meshes import Part

if TYPE_CHECKING:
    import moderngl


CHANNELS = 4  # whole masks drawn in one image
MOST_OBJECTS = 255  # ids of a byte


class Masks(NamedTuple):
    """Masks of one frame by object number, bool [H, W]; what shows no pixel is left out."""

    visible: dict[int, np.ndarray]
    full: dict[int, np.ndarray]


def split_masks(ids: np.ndarray, coverages: Sequence[np.ndarray], numbers: Sequence[int]) -> Masks:
    """Take the masks of the objects `numbers` apart.

    `ids` uint8 [H, W] is the place in `numbers` plus 1 of what is seen in a pixel, 0 for scenery.
    In `coverages`, uint8 [H, W, CHANNELS] each, a channel is above 0 where an object alone would be
    seen, in the order of `numbers`.

    Raises ValueError: an object is seen outside its whole mask, or there are more than
    MOST_OBJECTS.
    """
    if len(numbers) > MOST_OBJECTS:
        raise ValueError(f"a frame can hold {MOST_OBJECTS} objects, got {len(numbers)}")
    visible, full = {}, {}
    for i, number in enumerate(numbers):
        whole = coverages[i // CHANNELS][..., i % CHANNELS] > 0
        seen = ids == i + 1
        if (seen & ~whole).any():
            raise ValueError(f"object {number} is seen outside its whole mask")
        if whole.any():
            full[number] = whole
        if seen.any():
            visible[number] = seen
    return Masks(visible, full)


SHADERS, INCLUDE = Path(__file__).with_name("shaders"), '#include "noise.glsl"'
DEBIAN = "libegl1 libegl-mesa0 libgl1-mesa-dri"
FINER = 2  # rows and columns drawn for one of the picture
SHADOW_SIDE = 2048
HOLE = 0.4  # alpha below which a texture pixel is a hole
LAYOUT = ("3f 3f 2f 3f", "position", "normal", "uv", "colour")


class RenderError(OSError):
    """OpenGL cannot draw here; the text says what to install."""


@dataclass(frozen=True)
class Light:
    """Sun and sky; colours are linear RGB float [3].

    `sun` is a unit vector to it, `haze` the share of a ray that the air swallows in a metre,
    `cloud` cover and place of the clouds; None draws no sky.
    """

    sun: np.ndarray
    sun_colour: np.ndarray
    sky: np.ndarray
    ambient: np.ndarray
    haze: float = 0.0
    zenith: tuple[float, float, float] = (0.25, 0.45, 0.8)
    cloud: tuple[float, float] | None = None


@dataclass(frozen=True)
class Camera:
    """A pinhole camera at `eye` that looks at `target`; focal length in px of the picture."""

    eye: np.ndarray
    target: np.ndarray
    focal: float

    def depth_of(self, point: np.ndarray) -> float:
        """Return the distance of a point along the viewing axis [m]."""
        pose = look(self.eye, self.target)
        return float(-(pose[2, :3] @ point + pose[2, 3]))


class Mesh:
    """A part in the memory of the renderer, with the sphere around it."""

    def __init__(self, part: Part, surface: moderngl.Texture, arrays: dict, road: bool) -> None:
        self.surface, self.arrays, self.road = surface, arrays, road
        self.gloss, self.hole = part.gloss, HOLE if part.cut else -1.0
        low, high = part.vertices.min(0), part.vertices.max(0)
        self.centre, self.radius = (low + high) / 2, float(np.linalg.norm(high - low) / 2)


class Item(NamedTuple):
    """Something to draw: a mesh, its pose [4, 4] and what its colours are multiplied with [3]."""

    mesh: Mesh
    pose: np.ndarray
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)


class Renderer:
    """Draws frames of one size; what was loaded is freed with the last reference to it."""

    def __init__(self, size: tuple[int, int], near: float, far: float, bias: float) -> None:
        """Open a context without a window to draw `size` (columns, rows) from `near` to `far` [m].

        `bias` is the depth within which a surface does not shade itself, in the light's box of 2.

        Raises:
            ModuleNotFoundError: moderngl is not installed.
            RenderError: there is no OpenGL 3.3.
        """
        import moderngl

        os.environ.setdefault("LP_NUM_THREADS", "0")  # one core per process in software
        try:
            self.context = moderngl.create_standalone_context(backend="egl", require=330)
        except Exception as error:  # glcontext raises plain Exception
            raise RenderError(
                f"no OpenGL 3.3 without a window ({error}): install a driver, for a CPU "
                f"`apt-get install {DEBIAN}`"
            ) from None
        self.context.gc_mode = "auto"
        self.size, self.near, self.far, self.bias = size, near, far, bias
        self._shaded = {False: self._program("solid"), True: self._program("solid", "ROAD")}
        self._flat, self._sky = self._program("flat"), self._program("sky")
        corners = self.context.buffer(np.array([-1, -1, 3, -1, -1, 3], np.float32).tobytes())
        self._sky_quad = self.context.vertex_array(self._sky, [(corners, "2f", "position")])
        self._white = self._texture(np.full((4, 4, 4), 255, np.uint8))
        self._textures: dict[int, tuple[np.ndarray, moderngl.Texture]] = {}
        self._targets()

    def _program(self, name: str, define: str = "") -> moderngl.Program:
        """Compile the GLSL sources of a name, with something defined in them."""
        noise = (SHADERS / "noise.glsl").read_text("utf-8")
        head = "#version 330\n" + (f"#define {define}\n" if define else "")
        sources = (
            head + (SHADERS / f"{name}.{stage}").read_text("utf-8").replace(INCLUDE, noise)
            for stage in ("vert", "frag")
        )
        return self.context.program(*sources)

    def _targets(self) -> None:
        """Make the images that are drawn into."""
        context, finer = self.context, (self.size[0] * FINER, self.size[1] * FINER)
        self._colour = context.framebuffer(
            [context.texture(finer, 4)], context.depth_renderbuffer(finer)
        )
        self._ids = context.framebuffer(
            [context.texture(self.size, 4)], context.depth_renderbuffer(self.size)
        )
        self._depth = context.depth_texture((SHADOW_SIDE, SHADOW_SIDE))
        self._depth.compare_func = "<="
        self._depth.repeat_x = self._depth.repeat_y = False
        self._shadow = context.framebuffer(depth_attachment=self._depth)

    def close(self) -> None:
        """Free the context and all that was loaded."""
        self._textures.clear()
        self.context.gc_mode = None
        self.context.release()

    def _texture(self, pixels: np.ndarray) -> moderngl.Texture:
        made = self.context.texture(pixels.shape[1::-1], 4, np.ascontiguousarray(pixels).tobytes())
        made.build_mipmaps()
        made.anisotropy = 4.0
        return made

    def load(self, part: Part, road: bool = False) -> Mesh:
        """Load a part; parts that share a texture array share it here too.

        With `road` the colours are those of a road along x instead of the part's own.
        """
        surface = self._white
        if part.texture is not None:
            key = id(part.texture)
            if key not in self._textures:
                self._textures[key] = part.texture, self._texture(part.texture)
            surface = self._textures[key][1]
        packed = np.hstack((part.vertices, part.normals, part.uv, part.colours))
        vertices = self.context.buffer(packed.astype(np.float32).tobytes())
        index = self.context.buffer(part.faces.astype(np.int32).tobytes())
        arrays = {
            name: self.context.vertex_array(program, [self._layout(vertices, program)], index)
            for name, program in (("shaded", self._shaded[road]), ("flat", self._flat))
        }
        return Mesh(part, surface, arrays, road)

    @staticmethod
    def _layout(buffer: moderngl.Buffer, program: moderngl.Program) -> tuple:
        """Return the buffer's layout with what the compiler removed from the program left out."""
        kinds, used = [], []
        for kind, name in zip(LAYOUT[0].split(), LAYOUT[1:], strict=True):
            kinds.append(kind if name in program else f"{4 * int(kind[0])}x")
            used += [name] if name in program else []
        return buffer, " ".join(kinds), *used

    def set_roads(
        self, asphalt: Iterable, pavement: Iterable, grass: Iterable, half: float
    ) -> None:
        """Set the linear colours [3] of the road and its half width [m]."""
        program = self._shaded[True]
        for name, colour in (("asphalt", asphalt), ("pavement", pavement), ("grass", grass)):
            program[name].value = tuple(float(v) for v in colour)
        program["half_width"].value = half

    def _view(self, camera: Camera) -> np.ndarray:
        return perspective(camera.focal, self.size, self.near, self.far) @ look(
            camera.eye, camera.target
        )

    def _seen(self, items: Iterable[Item], camera: Camera) -> list[Item]:
        """Return what reaches into the picture, the nearest first."""
        pose = look(camera.eye, camera.target)
        slope = self.size[0] / (2 * camera.focal), self.size[1] / (2 * camera.focal)
        found = []
        for i, item in enumerate(items):
            centre = item.pose[:3, :3] @ item.mesh.centre + item.pose[:3, 3]
            if in_view(pose, slope, centre, item.mesh.radius):
                found.append((float(np.linalg.norm(centre - camera.eye)), i, item))
        return [item for _, _, item in sorted(found, key=lambda entry: entry[:2])]

    def _draw_flat(self, items: Iterable[Item], view: np.ndarray, value: tuple = (0, 0, 0, 1)):
        self._flat["view"].write(_columns(view))
        self._flat["value"].value = value
        for item in items:
            self._flat["hole"].value = item.mesh.hole
            if item.mesh.hole > 0:
                item.mesh.surface.use(0)
            self._flat["model"].write(_columns(item.pose))
            item.mesh.arrays["flat"].render()

    def picture(
        self, items: Sequence[Item], camera: Camera, light: Light, centre: np.ndarray, reach: float
    ) -> np.ndarray:
        """Draw all items into a picture, uint8 [H, W, 3] RGB; roads cast no shadows.

        Shadows fall in a box around `centre` with sides of twice `reach` [m].
        """
        context = self.context
        context.enable(context.DEPTH_TEST)
        light_view = shadow_view(light.sun, centre, reach, 3 * reach)
        self._shadow.use()
        self._shadow.clear(depth=1.0)
        self._draw_flat([item for item in items if not item.mesh.road], light_view)
        self._colour.use()
        self._colour.clear(0.5, 0.5, 0.5, 1.0, depth=1.0)
        self._depth.use(1)
        view = self._view(camera)
        self._set_light(light, camera, view, light_view)
        for item in self._seen(items, camera):
            program = self._shaded[item.mesh.road]
            item.mesh.surface.use(0)
            for name, value in (("tint", item.tint), ("hole", item.mesh.hole)):
                if name in program:
                    program[name].value = value
            program["gloss"].value = item.mesh.gloss
            program["model"].write(_columns(item.pose))
            item.mesh.arrays["shaded"].render()
        if light.cloud is not None:
            self._draw_sky(light, view)
        return self._read_picture()

    def _set_light(
        self, light: Light, camera: Camera, view: np.ndarray, light_view: np.ndarray
    ) -> None:
        values = {
            "surface": 0,
            "shadow": 1,
            "bias": self.bias,
            "texel": 1 / SHADOW_SIDE,
            "haze": light.haze,
            "sun": light.sun,
            "eye": camera.eye,
            "sky": light.sky,
            "sun_colour": light.sun_colour,
            "ambient": light.ambient,
        }
        for program in self._shaded.values():
            program["view"].write(_columns(view))
            program["light"].write(_columns(light_view))
            for name, value in values.items():
                if name in program:
                    program[name].value = (
                        value if np.isscalar(value) else tuple(float(v) for v in value)
                    )

    def _draw_sky(self, light: Light, view: np.ndarray) -> None:
        self.context.depth_func = "<="
        self._sky["back"].write(_columns(np.linalg.inv(view)))
        self._sky["sky"].value = tuple(float(v) for v in light.sky)
        self._sky["zenith"].value = tuple(float(v) for v in light.zenith)
        self._sky["cloud"].value = light.cloud
        self._sky_quad.render()
        self.context.depth_func = "<"

    def _read_picture(self) -> np.ndarray:
        width, height = self.size
        drawn = np.frombuffer(self._colour.read(components=3), np.uint8)
        fine = drawn.reshape(height, FINER, width, FINER, 3)[::-1]
        total = np.full((height, width, 3), FINER**2 // 2, np.uint16)
        for row in range(FINER):  # far faster than a sum over two axes
            for column in range(FINER):
                total += fine[:, row, :, column]
        return (total // FINER**2).astype(np.uint8)

    def masks(
        self, scenery: Iterable[Item], objects: dict[int, list[Item]], camera: Camera
    ) -> Masks:
        """Draw the visible and the whole masks of objects, given by their numbers.

        A visible pixel is one whose centre shows the object; a whole mask is the same of the
        object alone, cut at the picture's border.
        """
        view = self._view(camera)
        self._use_ids((True,) * CHANNELS)
        self._ids.clear(0, 0, 0, 0, depth=1.0)
        self.context.enable(self.context.DEPTH_TEST)
        self._draw_flat(self._seen(scenery, camera), view)
        shown = {number: self._seen(items, camera) for number, items in objects.items()}
        shown = {number: items for number, items in shown.items() if items}
        for i, items in enumerate(shown.values()):
            self._draw_flat(items, view, ((i + 1) / 255, 0, 0, 1))
        ids = self._read_ids()[..., 0]
        self.context.disable(self.context.DEPTH_TEST)
        numbers, coverages = list(shown), []
        for start in range(0, len(numbers), CHANNELS):
            self._use_ids((True,) * CHANNELS)
            self._ids.clear(0, 0, 0, 0)
            for channel, number in enumerate(numbers[start : start + CHANNELS]):
                self._use_ids(tuple(channel == i for i in range(CHANNELS)))
                self._draw_flat(shown[number], view, (1, 1, 1, 1))
            coverages.append(self._read_ids())
        return split_masks(ids, coverages, numbers)

    def _use_ids(self, channels: tuple[bool, ...]) -> None:
        self._ids.color_mask = channels
        self._ids.use()

    def _read_ids(self) -> np.ndarray:
        width, height = self.size
        drawn = np.frombuffer(self._ids.read(components=CHANNELS), np.uint8)
        return drawn.reshape(height, width, CHANNELS)[::-1].copy()


def _columns(matrix: np.ndarray) -> bytes:
    """Return a matrix as OpenGL wants it, column by column."""
    return np.ascontiguousarray(np.asarray(matrix, np.float32).T).tobytes()
