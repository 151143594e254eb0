"""The devices by the names that hardware files give them."""

from collections.abc import Callable, Mapping
from typing import Any

from nas.errors import NasError, shown, unknown
from nas.latency.devices.adb import AdbDevice
from nas.latency.devices.contract import Device
from nas.latency.devices.group import DeviceGroup
from nas.latency.devices.local import LocalDevice
from nas.latency.devices.ssh import SshDevice

_MAKERS: dict[str, Callable[..., Device]] = {
    "adb": AdbDevice,
    "local": LocalDevice,
    "ssh": SshDevice,
}
_NAMES = {"adb": "serial", "ssh": "host"}
"""What tells one device of a kind from another: a list of them makes a group."""


def load_device(name: str, connection: Mapping[str, Any]) -> Device:
    """Return the device that a hardware file names, with the options of its `connection`.

    Where `host` or `serial` is a list, they are several that work together.

    Raises:
        NasError: there is no such device, or it does not take these options.
    """
    key = _NAMES.get(name, "")
    if isinstance(connection.get(key), list):
        return _group(name, connection, key)
    if name not in _MAKERS:
        raise unknown("device", name, [*_MAKERS, "modelled"])
    try:
        return _MAKERS[name](**connection)
    except TypeError as error:
        raise NasError(
            f"connection of a device {name} cannot be {shown(dict(connection))}: {error}. "
            "Correct it in the hardware file."
        ) from error


def _group(name: str, connection: Mapping[str, Any], key: str) -> DeviceGroup:
    members, option = connection[key], f"hardware.connection.{key}"
    if not members or len({*map(str, members)}) < len(members):
        raise NasError(
            f"{option} must name a device or several different ones, but is {shown(members)}. "
            f"Write {option}=[first,second]."
        )
    devices = {str(one): load_device(name, {**connection, key: one}) for one in members}
    return DeviceGroup(devices, option)
