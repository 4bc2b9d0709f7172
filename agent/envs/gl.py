"""Which OpenGL MuJoCo can render with here, known before MuJoCo is imported."""

from __future__ import annotations

import ctypes
import os
from importlib import import_module
from typing import Any

from agent.envs.base import EnvironmentUnavailable

EGL = ("libEGL.so.1", "libEGL.so")
OSMESA = ("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so")
PLATFORMS = {"egl": EGL, "osmesa": OSMESA}
REMEDY = "apt-get install -y --no-install-recommends libegl1 libgl1"


def _loads(names: tuple[str, ...]) -> bool:
    for name in names:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return False


def check_gl() -> str:
    """Return `egl` or `osmesa`, what MuJoCo is to render with: `MUJOCO_GL` where it is set, else the first there is.

    Cheap: it only loads the library. Raises EnvironmentUnavailable with the command that installs one.
    """
    asked = os.environ.get("MUJOCO_GL", "").strip().lower()
    if asked and asked not in PLATFORMS:
        raise EnvironmentUnavailable(
            f"MUJOCO_GL={asked}: rendering without a screen needs 'egl' or 'osmesa'; unset MUJOCO_GL"
        )
    for platform in (asked,) if asked else PLATFORMS:
        if _loads(PLATFORMS[platform]):
            return platform
    wanted = f"MUJOCO_GL={asked}, but its library" if asked else "OpenGL (EGL or OSMesa)"
    raise EnvironmentUnavailable(f"{wanted} is not installed and MuJoCo cannot draw images; run: {REMEDY}")


def prepare() -> None:
    """Choose the platform for this process; MuJoCo reads the choice when it is imported, so call this first.

    On EGL the job's own device is chosen: `MUJOCO_EGL_DEVICE_ID`, unless it is set, becomes the first number of
    `CUDA_VISIBLE_DEVICES`, from which MuJoCo does not derive it.
    """
    platform = check_gl()
    os.environ["MUJOCO_GL"] = platform
    os.environ.setdefault("PYOPENGL_PLATFORM", platform)
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    if platform == "egl" and first.isdigit():
        os.environ.setdefault("MUJOCO_EGL_DEVICE_ID", first)


def make_renderer(model: Any, size: int) -> Any:
    """Return a `mujoco.Renderer` of `size` × `size` pixels.

    Where the device taken from `CUDA_VISIBLE_DEVICES` cannot be opened (EGL counts others than CUDA does, or the job's
    only device comes first), the first device that can be opened is used.
    Raises EnvironmentUnavailable when none can.
    """
    mujoco: Any = import_module("mujoco")
    reasons: list[str] = []
    for device in (os.environ.get("MUJOCO_EGL_DEVICE_ID"), None):
        if device is None:
            os.environ.pop("MUJOCO_EGL_DEVICE_ID", None)
        _forget_display()
        try:
            return mujoco.Renderer(model, size, size)
        except (ImportError, RuntimeError, AttributeError, ValueError, mujoco.FatalError) as error:
            reasons.append((str(error).splitlines() or [type(error).__name__])[0])
    platform = os.environ["MUJOCO_GL"]
    raise EnvironmentUnavailable(
        f"OpenGL ({platform}) cannot be opened and MuJoCo cannot draw images ({reasons[-1]}); run: {REMEDY}"
    )


def _forget_display() -> None:
    """Let MuJoCo look for a device again when it found none before."""
    if os.environ.get("MUJOCO_GL") == "egl":
        egl: Any = import_module("mujoco.egl")
        if not egl.EGL_DISPLAY:
            egl.EGL_DISPLAY = None
