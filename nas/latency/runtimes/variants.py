"""Which runtimes there are, with their dtypes and modes: known without loading any of them."""

from dataclasses import dataclass

from nas.errors import NasError, unknown

VARIANTS: dict[str, dict[str, tuple[str, ...]]] = {
    "executorch": {"fp32": (), "int8": ()},
    "litert": {"fp32": (), "int8": ()},
    "onnxruntime": {"fp32": (), "int8": ("u8s8", "s8s8")},
    "torch": {"fp32": ("eager", "channels_last", "compiled")},
    "torchscript": {"fp32": ()},
}
"""The dtypes of each runtime, and the modes of each dtype, the default one first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A runtime, a dtype that it has, and a mode of that, None where there is but one."""

    name: str
    dtype: str
    mode: str | None

    @classmethod
    def of(cls, name: str, dtype: str = "fp32", mode: str | None = None) -> "Variant":
        """Return the variant that a hardware file names, with the default mode if it names none.

        Raises:
            NasError: there is no such runtime, dtype or mode.
        """
        if name not in VARIANTS:
            raise unknown("runtime", name, VARIANTS)
        if dtype not in VARIANTS[name]:
            raise unknown(f"dtype of runtime {name}:", dtype, VARIANTS[name])
        modes = VARIANTS[name][dtype]
        if mode is not None and not modes:
            raise NasError(
                f"runtime {name} has no modes in {dtype}, but got {mode!r}. Leave it out."
            )
        if mode is not None and mode not in modes:
            raise unknown(f"mode of runtime {name} {dtype}:", mode, modes)
        return cls(name=name, dtype=dtype, mode=mode or (modes[0] if modes else None))
