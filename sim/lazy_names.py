"""Names of a package that load their module when first used, so that importing the package alone costs nothing."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def lazy_names(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and ``__dir__`` (PEP 562) of a package that offers names of its modules.

    Parameters
    ----------
    package
        The package's ``__name__``.
    modules
        For each name the module that defines it. After the first use the name is an ordinary one of the package.
    """
    namespace = vars(sys.modules[package])

    def load(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        from importlib import import_module

        namespace[name] = getattr(import_module(modules[name]), name)
        return namespace[name]

    return load, lambda: sorted({*namespace, *modules})
