"""The devices by the names that hardware files give them."""

from collections.abc import Callable, Mapping
from typing import Any

from nas.errors import NasError, shown, unknown
from nas.latency.devices.adb import AdbDevice
from nas.latency.devices.contract import Device
from nas.latency.devices.local import LocalDevice
from nas.latency.devices.ssh import SshDevice

_MAKERS: dict[str, Callable[..., Device]] = {
    "adb": AdbDevice,
    "local": LocalDevice,
    "ssh": SshDevice,
}


def load_device(name: str, connection: Mapping[str, Any]) -> Device:
    """Return the device that a hardware file names, with the options of its `connection`.

    Raises:
        NasError: there is no such device, or it does not take these options.
    """
    if name not in _MAKERS:
        raise unknown("device", name, [*_MAKERS, "modelled"])
    try:
        return _MAKERS[name](**connection)
    except TypeError as error:
        raise NasError(
            f"connection of a device {name} cannot be {shown(dict(connection))}: {error}. "
            "Correct it in the hardware file."
        ) from error
