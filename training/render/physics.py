"""Piles of objects by MuJoCo: convex pieces that fall, collide, and are pushed by a hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.transform import Rotation

from training.render.geometry import place

if TYPE_CHECKING:
    import mujoco

STEP_S = 1 / 300
THINNEST = 0.03  # side of a collision shape over its longest side; thinner ones fall through others
MOST_CORNERS = 64  # of a convex piece
DENSITY = 700.0  # [kg/m3]
MASSES = (0.02, 50.0)  # [kg]
AWAY = 40.0  # where objects wait, over the size of the scene


class Solid(NamedTuple):
    """A box that does not move: half its sides, its centre, its turn about z [rad]."""

    half: Sequence[float]
    position: Sequence[float]
    yaw: float = 0.0


def hull_points(points: np.ndarray) -> np.ndarray:
    """Return the corners [N, 3] of a convex body around points; flat ones become a box."""
    points = np.asarray(points, float)
    low, high = points.min(0), points.max(0)
    longest = float((high - low).max())
    try:
        hull = ConvexHull(points)
        if (high - low).min() > THINNEST * longest and hull.volume > THINNEST**2 * longest**3:
            return points[hull.vertices]
    except QhullError:  # all points in a plane
        pass
    middle, half = (low + high) / 2, np.maximum(high - low, THINNEST * longest) / 2
    return middle + half * np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T


class Pile:
    """Bodies of convex pieces in a world of boxes; they wait far away until they are put there."""

    def __init__(
        self,
        bodies: Sequence[Sequence[np.ndarray]],
        solids: Iterable[Solid],
        walls: Iterable[Solid] = (),
        hand: Iterable[Solid] = (),
        scale: float = 1.0,
    ) -> None:
        """Build the world.

        Args:
            bodies: for each body the points [N, 3] of its convex pieces.
            solids: what stands there all the time.
            walls: what keeps bodies together until `remove_walls`.
            hand: boxes that move together, as `move_hand` says.
            scale: size of the scene over that of a table-top.

        Raises:
            ModuleNotFoundError: mujoco is not installed.
        """
        import mujoco

        self._mujoco, self._scale = mujoco, scale
        mujoco.set_mju_user_warning(lambda text: None)  # else it writes a log into this folder
        warnings = mujoco.mjtWarning  # MuJoCo starts again after one of these
        self._broken = warnings.mjWARN_BADQPOS, warnings.mjWARN_BADQVEL, warnings.mjWARN_BADQACC
        spec = mujoco.MjSpec()
        spec.option.timestep = STEP_S
        spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 1], pos=[0, 0, -0.75 * scale]
        )
        for solid in solids:
            self._box(spec.worldbody, solid)
        for i, solid in enumerate(walls):
            self._box(spec.worldbody, solid, name=f"wall{i}", friction=[0.05, 0.0, 0.0])
        hand = list(hand)
        if hand:
            moved = spec.worldbody.add_body(name="hand", mocap=True, pos=[0, 0, 2 * scale])
            for solid in hand:
                self._box(moved, solid, friction=[0.3, 0.005, 0.0001])
        for i, pieces in enumerate(bodies):
            self._body(spec, i, [hull_points(points) for points in pieces])
        self._model = spec.compile()
        self._data = mujoco.MjData(self._model)
        self._walls = [i for i in range(self._model.ngeom) if self._name(i).startswith("wall")]
        self._count = len(bodies)
        for i in range(self._count):
            self.put(i, (AWAY * scale + i * scale, 0.0, 0.0), np.eye(3))

    def _name(self, geom: int) -> str:
        return self._model.geom(geom).name

    def _box(self, body: mujoco.MjsBody, solid: Solid, **options) -> None:
        quat = Rotation.from_euler("z", solid.yaw).as_quat(scalar_first=True)
        options = {"friction": [0.7, 0.005, 0.0001], **options}
        kind = self._mujoco.mjtGeom.mjGEOM_BOX
        body.add_geom(type=kind, size=solid.half, pos=solid.position, quat=quat, **options)

    def _body(self, spec: mujoco.MjSpec, index: int, pieces: list[np.ndarray]) -> None:
        body = spec.worldbody.add_body(name=f"body{index}")
        body.add_freejoint()
        volumes = np.array([ConvexHull(points).volume for points in pieces])
        mass = float(np.clip(DENSITY * volumes.sum(), *MASSES))
        for k, (points, volume) in enumerate(zip(pieces, volumes, strict=True)):
            name = f"piece{index}_{k}"
            mesh = spec.add_mesh(name=name, maxhullvert=MOST_CORNERS)
            mesh.inertia = self._mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX
            mesh.uservert = np.ascontiguousarray(points, np.float32).ravel()
            body.add_geom(
                type=self._mujoco.mjtGeom.mjGEOM_MESH,
                meshname=name,
                mass=mass * volume / volumes.sum(),
                friction=[0.6, 0.01, 0.001],
                condim=4,
            )

    def remove_walls(self) -> None:
        """Take the walls away."""
        self._model.geom_contype[self._walls] = 0
        self._model.geom_conaffinity[self._walls] = 0

    def put(self, index: int, position: Sequence[float], turn: np.ndarray) -> None:
        """Set a body to a place [3] and a turn [3, 3], at rest."""
        at = self._model.joint(self._joint(index)).qposadr[0]
        speed = self._model.joint(self._joint(index)).dofadr[0]
        self._data.qpos[at : at + 3] = position
        self._data.qpos[at + 3 : at + 7] = Rotation.from_matrix(turn).as_quat(scalar_first=True)
        self._data.qvel[speed : speed + 6] = 0
        self._mujoco.mj_kinematics(self._model, self._data)

    def _joint(self, index: int) -> int:
        return int(self._model.body(f"body{index}").jntadr[0])

    def move_hand(self, position: Sequence[float]) -> None:
        """Set where the hand is [3]."""
        self._data.mocap_pos[0] = position

    def advance(self, seconds: float) -> None:
        """Let time pass; raises FloatingPointError where the simulation blew up."""
        for _ in range(round(seconds / STEP_S)):
            self._mujoco.mj_step(self._model, self._data)
        if any(self._data.warning[int(kind)].number for kind in self._broken):
            raise FloatingPointError("the simulated pile became unstable")

    def pose(self, index: int) -> np.ndarray:
        """Return the pose [4, 4] of a body's axes, those that its points were given in."""
        body = self._data.body(f"body{index}")
        return place(body.xpos, body.xmat.reshape(3, 3))

    def is_away(self, index: int) -> bool:
        """Return whether a body still waits far away, or fell off the table."""
        x, y, z = self._data.body(f"body{index}").xpos
        near = np.hypot(x, y) < AWAY * self._scale / 2
        return bool(not near or z < -0.4 * self._scale)
