"""Which OpenGL MuJoCo can render with here, known before MuJoCo is imported."""

from __future__ import annotations

import atexit
import ctypes
import os
from contextlib import suppress
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
    if asked:
        remedy = "unset MUJOCO_GL or install libosmesa6" if asked == "osmesa" else f"run: {REMEDY}"
        raise EnvironmentUnavailable(f"MUJOCO_GL={asked}, but its library is not installed; {remedy}")
    raise EnvironmentUnavailable(f"no OpenGL is installed and MuJoCo cannot draw images; run: {REMEDY}")


def prepare() -> None:
    """Choose the platform for this process and those it starts; call it before `make_renderer`.

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
    """Return a `mujoco.Renderer` of `size` × `size` pixels on the platform that `prepare` chose.

    Raises EnvironmentUnavailable when it cannot be opened.
    """
    platform = os.environ["MUJOCO_GL"]
    try:
        mujoco, context = import_module("mujoco"), import_module("mujoco.gl_context")
        if platform == "egl":
            _open_display(import_module("mujoco.egl"))
        # MuJoCo chose when it was imported, which may have been before `prepare`.
        vars(context)["GLContext"] = import_module(f"mujoco.{platform}").GLContext
        return mujoco.Renderer(model, size, size)
    except (ImportError, RuntimeError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise EnvironmentUnavailable(
            f"OpenGL ({platform}) cannot be opened and MuJoCo cannot draw images ({reason}); run: {REMEDY}"
        ) from error


def _open_display(egl: Any) -> None:
    """Open the job's device; where EGL cannot (it may count others than CUDA does), the first one that it can open."""
    if egl.EGL_DISPLAY:
        return
    for own_device in (True, False):
        if not own_device:
            os.environ.pop("MUJOCO_EGL_DEVICE_ID", None)
        with suppress(RuntimeError):  # The number of the device is beyond those that EGL knows.
            display = egl.create_initialized_egl_device_display()
            if display != egl.EGL.EGL_NO_DISPLAY:
                egl.EGL_DISPLAY = display
                atexit.register(egl.EGL.eglTerminate, display)
                return
    raise RuntimeError("no device to draw with")
