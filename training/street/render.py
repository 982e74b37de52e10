"""Camera and drawing of street objects: painter's order, shading, anti-aliased compositing."""

import math
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np

from savos_model.types import Box
from training.street.meshes import Mesh

# KITTI colour camera 2 (rectified), relative to its 1242 x 375 image.
KITTI_WIDTH, KITTI_HEIGHT = 1242, 375
KITTI_FOCAL, KITTI_CX, KITTI_CY = 721.5, 609.6, 172.9
CAMERA_HEIGHT_M = 1.65
NEAR_M = 0.25


@dataclass(frozen=True)
class Camera:
    """Camera pose over the ground (x forward, y left, z up [m]; [rad], pitch > 0 looks down)."""

    width: int = KITTI_WIDTH
    height: int = KITTI_HEIGHT
    x: float = 0.0
    y: float = 0.0
    z: float = CAMERA_HEIGHT_M
    yaw: float = 0.0
    pitch: float = 0.0

    @property
    def focal(self) -> float:
        """Return focal length [px]; the field of view across the image is KITTI's at any size."""
        return KITTI_FOCAL * self.width / KITTI_WIDTH

    @property
    def centre(self) -> tuple[float, float]:
        """Return the principal point (x, y) [px]."""
        return KITTI_CX * self.width / KITTI_WIDTH, KITTI_CY * self.height / KITTI_HEIGHT

    @property
    def position(self) -> np.ndarray:
        """Return the camera centre, float64 [3] in the world [m]."""
        return np.array([self.x, self.y, self.z])

    @property
    def rotation(self) -> np.ndarray:
        """World to camera, float64 [3, 3]: rows are the camera's right, down, forward axes."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        cp, sp = math.cos(self.pitch), math.sin(self.pitch)
        return np.array([[s, -c, 0.0], [-c * sp, -s * sp, -cp], [c * cp, s * cp, -sp]])

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """Map world points [N, 3] to camera axes (right, down, forward) [m]."""
        return (points - self.position) @ self.rotation.T

    def project(self, points: np.ndarray) -> np.ndarray:
        """Project camera points [..., 3], forward > 0, to [..., 2]; pixel i covers [i, i + 1)."""
        return points[..., :2] * (self.focal / points[..., 2:3]) + self.centre


def pose_matrix(heading: float) -> np.ndarray:
    """Return the object to world rotation, float64 [3, 3], for a heading [rad] from x towards y."""
    c, s = math.cos(heading), math.sin(heading)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def clip_near(polygon: np.ndarray, near: float = NEAR_M) -> np.ndarray:
    """Cut a camera-space polygon [N, 3] at forward = near; [M, 3], M = 0 when all is behind."""
    if (polygon[:, 2] >= near).all():
        return polygon
    kept = []
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if a[2] >= near:
            kept.append(a)
        if (a[2] >= near) != (b[2] >= near):
            kept.append(a + (b - a) * ((near - a[2]) / (b[2] - a[2])))
    return np.array(kept).reshape(-1, 3)


def fractal(
    rng: np.random.Generator, height: int, width: int, octaves: int = 5, fall: float = 0.6
) -> np.ndarray:
    """Noise with detail at several scales that wraps around; float32 [height, width], spread 1."""
    total = np.zeros((height, width), dtype=np.float32)
    for octave in range(octaves):
        step = 2 ** (octaves - 1 - octave) * 2
        coarse = rng.normal(0, 1, (max(height // step, 2), max(width // step, 2))).astype(
            np.float32
        )
        coarse = np.pad(coarse, 1, mode="wrap")
        sx, sy = width / (coarse.shape[1] - 2), height / (coarse.shape[0] - 2)
        back = np.array([[1 / sx, 0, 1.0], [0, 1 / sy, 1.0]])
        total += fall**octave * cv2.warpAffine(
            coarse,
            back,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
    return total / total.std()


def halvings(picture: np.ndarray, count: int) -> list[np.ndarray]:
    """Return the picture and `count` copies, each half as large as the one before."""
    levels = [picture]
    for _ in range(count):
        levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    return levels


def far_to_near(footprints: np.ndarray, eye: np.ndarray) -> list[int]:
    """Return the order to paint convex footprints [N, 4, 2], counter-clockwise [m]: farthest first.

    It is exact for those that do not touch: of two, one has an edge line that parts them; the one
    on the side of `eye` [2] is in front. The distance of the nearest corner breaks the rare cycles.
    """
    count = len(footprints)
    if count == 0:
        return []
    edges = np.roll(footprints, -1, axis=1) - footprints
    outward = np.stack([edges[..., 1], -edges[..., 0]], axis=-1)
    outward = outward / np.maximum(np.linalg.norm(outward, axis=-1, keepdims=True), 1e-9)
    offset = (outward * footprints).sum(axis=-1)
    gap = (np.einsum("iek,jck->ijec", outward, footprints) - offset[:, None, :, None]).min(axis=-1)
    best = gap.argmax(axis=-1)
    eye_side = ((outward @ eye) - offset)[np.arange(count)[:, None], best] > 0
    apart = gap.max(axis=-1)
    # Edges of i part i from j: with the eye on j's side, j is in front of i.
    own, other = apart >= apart.T, apart < apart.T
    j_front = (own & eye_side) | (other & ~eye_side.T)
    j_front &= ~j_front.T  # both: the eye is between the two lines and neither hides the other
    near = np.linalg.norm(footprints - eye, axis=-1).min(axis=-1)
    done, order = np.zeros(count, dtype=bool), []
    waiting = np.where(_overlap_in_view(footprints, eye), j_front.T, False)  # [i, j]: j is behind i
    for _ in range(count):
        behind = (waiting & ~done).sum(axis=1).astype(float)
        behind[done] = np.inf
        free = np.flatnonzero(behind == behind.min())
        pick = int(free[near[free].argmax()])
        done[pick] = True
        order.append(pick)
    return order


def _overlap_in_view(footprints: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """Return pairs [N, N] whose ranges of viewing angles meet: only these can hide one another."""
    relative = footprints - eye
    middle = relative.mean(axis=1)
    bearing = np.arctan2(middle[:, 1], middle[:, 0])
    spread = np.arctan2(relative[..., 1], relative[..., 0]) - bearing[:, None]
    spread = np.abs((spread + np.pi) % (2 * np.pi) - np.pi).max(axis=1) + 0.03
    apart = np.abs((bearing[:, None] - bearing[None] + np.pi) % (2 * np.pi) - np.pi)
    return apart < spread[:, None] + spread[None]


SHIFT = 4  # sub-pixel bits of OpenCV's polygon filling
LAYER = 1.0e5
TILE = 256  # side of a surface texture [px]


@dataclass(frozen=True)
class Light:
    """Illumination of a scene; colours are BGR, 1.0 = white under mean exposure."""

    sun: np.ndarray
    sun_colour: np.ndarray
    sky: np.ndarray
    ground: np.ndarray
    haze: np.ndarray
    haze_m: float


@dataclass
class Drawing:
    """Polygons of one object in painter's order: pixels [n, 2], BGR, nearest depth [m]."""

    polygons: list[np.ndarray] = field(default_factory=list)
    colours: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    depth: float = np.inf


def shade(
    albedo: np.ndarray,
    normals: np.ndarray,
    to_eye: np.ndarray,
    gloss: np.ndarray,
    light: Light,
    lit: float,
):
    """Return the colours of faces, float [F, 3] BGR, unclipped.

    `albedo` is [F, 3] BGR 0..255, `gloss` [F] 0..1; `normals` and `to_eye`, towards the camera, are
    unit [F, 3] in the world; `lit` is the share of the sun that reaches the object, 0..1.
    """
    up = 0.5 + 0.5 * normals[:, 2:3]
    diffuse = up * light.sky + (1 - up) * light.ground
    diffuse = diffuse + np.maximum(normals @ light.sun, 0)[:, None] * light.sun_colour * lit
    facing = np.clip((normals * to_eye).sum(axis=1), 0, 1)
    mirrored = 2 * facing * normals[:, 2] - to_eye[:, 2]
    sky_share = 1 / (1 + np.exp(-14 * (mirrored - 0.06)))[:, None]
    mirror = (sky_share * light.sky + (1 - sky_share) * light.ground * 0.6) * 200
    fresnel = (gloss * (0.25 + 0.75 * (1 - facing) ** 3))[:, None]
    return albedo * diffuse * (1 - fresnel) + mirror * fresnel


def hazed(colours: np.ndarray, depth: float, light: Light) -> np.ndarray:
    """Mix distance haze into colours [N, 3]."""
    share = 1 - np.exp(-max(depth, 0) / light.haze_m)
    return colours * (1 - share) + light.haze * 255 * share


def draw_mesh(
    mesh: Mesh, position: np.ndarray, heading: float, camera: Camera, light: Light, lit: float
) -> Drawing:
    """Project a mesh that stands at `position` [3] with `heading` [rad]."""
    turn = pose_matrix(heading)
    eye = (camera.position - position) @ turn
    to_eye = eye - mesh.centres
    distance = np.linalg.norm(to_eye, axis=1)
    seen = (to_eye * mesh.normals).sum(axis=1) > 1e-6
    points = camera.to_camera(mesh.vertices @ turn.T + position)
    depths = points[:, 2][mesh.quads]
    seen &= depths.max(axis=1) > NEAR_M
    faces = np.flatnonzero(seen)
    if not len(faces):
        return Drawing()
    half = np.abs(mesh.vertices[:, 1]).max() - 0.15
    outside = mesh.side * eye[1] > half
    order_key = np.where(outside, mesh.near_layer, mesh.layer) * LAYER - distance
    faces = faces[np.argsort(order_key[faces], kind="stable")]
    view = (to_eye[faces] / distance[faces, None]) @ turn.T
    colours = shade(
        mesh.albedo[faces], mesh.normals[faces] @ turn.T, view, mesh.gloss[faces], light, lit
    )
    nearest = max(float(points[:, 2].min()), NEAR_M)
    corners = points[mesh.quads[faces]]
    polygons = list(camera.project(np.maximum(corners, [-np.inf, -np.inf, NEAR_M])))
    for i in np.flatnonzero(depths[faces].min(axis=1) < NEAR_M):
        polygons[i] = camera.project(clip_near(corners[i]))
    return Drawing(polygons, hazed(colours, nearest, light), nearest)


@dataclass(frozen=True)
class Layer:
    """An object rendered alone in an integer box inside the image.

    `colour` is uint8 [h, w, 3] BGR, already multiplied by `alpha`, uint8 [h, w] 0..255; `mask`,
    uint8 [h, w] 0 or 1, is the full mask.
    """

    box: Box
    colour: np.ndarray
    alpha: np.ndarray
    mask: np.ndarray


def _crop_box(drawing: Drawing, camera: Camera) -> Box | None:
    points = np.concatenate(drawing.polygons)
    low = np.floor(points.min(axis=0)) - 1
    high = np.ceil(points.max(axis=0)) + 1
    x0, y0 = max(int(low[0]), 0), max(int(low[1]), 0)
    x1, y1 = min(int(high[0]), camera.width), min(int(high[1]), camera.height)
    return Box(x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def rasterise(
    drawing: Drawing, camera: Camera, tile: list[np.ndarray] | None = None, grain: tuple = (0, 0, 1)
) -> Layer | None:
    """Fill the polygons of one object, finer than the image where the object is small.

    `tile` is a surface texture uint8 [TILE, TILE], 128 = unchanged, with its halvings; `grain` the
    image point (x, y) of its origin and its pixels per image pixel. Returns the object alone,
    clipped to the image; None when nothing is inside.
    """
    if not drawing.polygons:
        return None
    box = _crop_box(drawing, camera)
    if box is None:
        return None
    size = max(box.width, box.height)
    scale = 4 if size < 64 else 2 if size < 300 else 1
    canvas = np.zeros((box.height * scale, box.width * scale, 4), dtype=np.uint8)
    colours = np.clip(drawing.colours, 1, 255).astype(int).tolist()
    factor, offset = scale * (1 << SHIFT), np.array(box[:2]) * scale + 0.5
    points = np.concatenate(drawing.polygons) * factor - offset * (1 << SHIFT)
    points = np.rint(points).astype(np.int32)
    ends = np.cumsum([len(polygon) for polygon in drawing.polygons]).tolist()
    start = 0
    for end, (b, g, r) in zip(ends, colours, strict=True):
        if end - start > 2:
            cv2.fillConvexPoly(canvas, points[start:end], (b, g, r, 255), cv2.LINE_8, SHIFT)
        start = end
    canvas = _trim(canvas)
    first = cv2.extractChannel(canvas, 3)[::scale, ::scale]
    if scale > 1:
        canvas = cv2.resize(canvas, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA)
    colour, alpha = cv2.cvtColor(canvas, cv2.COLOR_BGRA2BGR), cv2.extractChannel(canvas, 3)
    # A pixel belongs to the mask when at least half covered; of exact halves, one rim gets them,
    # the opposite rim does not, else every shape would grow.
    covered = cv2.addWeighted(alpha, 1, first, 2 / 255, -1)
    mask = cv2.threshold(covered, 127, 1, cv2.THRESH_BINARY)[1]
    if tile is not None and size >= 16:
        texture = cv2.cvtColor(_texture(tile, grain, box), cv2.COLOR_GRAY2BGR)
        colour = cv2.multiply(colour, texture, scale=1 / 128)
    return Layer(box, colour, alpha, mask)


def _trim(canvas: np.ndarray) -> np.ndarray:
    """Cut one pixel off the right and lower rim of the drawn shape.

    OpenCV fills the pixels of the outline too, so every shape is one pixel too wide and too high.
    The crop's own border stays: what touches it continues beyond the image.
    """
    alpha = cv2.erode(cv2.extractChannel(canvas, 3), np.ones((2, 2), np.uint8), anchor=(0, 0))
    return cv2.bitwise_and(canvas, canvas, mask=alpha)


def _texture(tile: list[np.ndarray], grain: tuple, box: Box) -> np.ndarray:
    x, y, scale = grain
    level = min(int(np.log2(max(scale, 1.0)) + 0.5), len(tile) - 1)
    scale, tile = scale / 2**level, tile[level]
    back = np.array([[scale, 0, (box.x0 - x) * scale], [0, scale, (box.y0 - y) * scale]])
    size = (int(box.width), int(box.height))
    return cv2.warpAffine(
        tile, back, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_WRAP
    )


def composite(image: np.ndarray, owner: np.ndarray, layer: Layer, index: int) -> None:
    """Lay an object over `image` uint8 [H, W, 3]; `owner` int16 [H, W] = `index` in its mask."""
    rows, cols = slice(layer.box.y0, layer.box.y1), slice(layer.box.x0, layer.box.x1)
    keep = cv2.cvtColor(255 - layer.alpha, cv2.COLOR_GRAY2BGR)
    under = cv2.multiply(image[rows, cols], keep, scale=1 / 255)
    image[rows, cols] = cv2.add(under, layer.colour)
    owner[rows, cols][layer.mask > 0] = index


CIRCLE = np.stack([np.cos(np.arange(12) * np.pi / 6), np.sin(np.arange(12) * np.pi / 6)], axis=1)


@dataclass(frozen=True)
class Hulls:
    """Parts of a figure: each is the convex hull of some spheres.

    `centres` float64 [N, 3] in object axes and `radii` float64 [N] in m; `parts` are indices of the
    spheres of every part, `colours` [P, 3] BGR 0..255.
    """

    centres: np.ndarray
    radii: np.ndarray
    parts: list[tuple[int, ...]]
    colours: np.ndarray

    @cached_property
    def index(self) -> np.ndarray:
        """Return the spheres of every part, int [P, K]; short parts repeat their spheres."""
        most = max(len(part) for part in self.parts)
        return np.array([(part * most)[:most] for part in self.parts])


class HullBuilder:
    """Collects spheres and the parts between them."""

    def __init__(self) -> None:
        self.centres, self.radii, self.parts, self.colours = [], [], [], []

    def sphere(self, centre: np.ndarray, radius: float) -> int:
        """Add a sphere [m]; returns its number."""
        self.centres.append(np.asarray(centre, dtype=np.float64))
        self.radii.append(radius)
        return len(self.radii) - 1

    def part(self, colour: tuple, *spheres: int) -> None:
        """Add the hull of some spheres."""
        self.parts.append(spheres)
        self.colours.append(colour)

    def done(self) -> Hulls:
        """Finish the figure."""
        arrays = (np.array(v, float) for v in (self.centres, self.radii, self.colours))
        centres, radii, colours = arrays
        return Hulls(centres, radii, self.parts, colours)


def draw_hulls(
    hulls: Hulls,
    position: np.ndarray,
    heading: float,
    camera: Camera,
    light: Light,
    lit: float,
    round_look: bool = True,
) -> Drawing:
    """Project a figure that stands at `position` [3] with `heading` [rad]."""
    points = camera.to_camera(hulls.centres @ pose_matrix(heading).T + position)
    depth, index = points[:, 2], hulls.index
    usable = (depth > NEAR_M + hulls.radii)[index].all(axis=1)
    if not usable.any():
        return Drawing()
    far = depth[index].mean(axis=1)
    order = np.argsort(-far, kind="stable")
    order = order[usable[order]]
    safe = np.maximum(points, [-np.inf, -np.inf, NEAR_M])
    pixels = camera.project(safe)[:, None]
    radius = (camera.focal * hulls.radii / safe[:, 2])[:, None, None]
    shells = [(pixels + CIRCLE * radius).astype(np.float32)]
    side = light.ground * 0.3 + light.sky * 0.62 + light.sun_colour * (lit * 0.15)
    paints = [hulls.colours * side]
    near = max(float(depth.min()), NEAR_M)
    if round_look and near < 20:
        # Every part is drawn again smaller, moved towards the light: a round look for little work.
        towards = CIRCLE * 0.6 + 0.35 * camera.rotation[:2] @ light.sun
        shells.append((pixels + towards * radius).astype(np.float32))
        face = light.ground * 0.2 + light.sky * 0.85 + light.sun_colour * (lit * 0.65)
        paints.append(hulls.colours * face)
    polygons, colours = [], []
    for i in order.tolist():
        part = hulls.parts[i]
        for shell, paint in zip(shells, paints, strict=True):
            if len(part) == 1:
                polygons.append(shell[part[0]])
            else:
                polygons.append(cv2.convexHull(shell[index[i]].reshape(-1, 2))[:, 0])
            colours.append(paint[i])
    return Drawing(polygons, hazed(np.array(colours), near, light), near)
