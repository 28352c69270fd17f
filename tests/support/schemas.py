"""The fields of a record as its JSON schema tells them, without the names of our classes and without prose."""

from __future__ import annotations

from collections.abc import Mapping

_PROSE = ("title", "description", "examples")


def fields(schema: Mapping[str, object], definitions: Mapping[str, object] | None = None) -> object:
    """Return a JSON schema with each reference replaced by what it names, and titles and descriptions left out.

    Parameters
    ----------
    definitions
        Schemas by their reference, e.g. '#/$defs/Verdict'; None: those of the schema itself.
    """
    if definitions is None:
        own = schema.get("$defs", {})
        assert isinstance(own, dict)
        definitions = {f"#/$defs/{name}": one for name, one in own.items()}
    return _resolved({key: value for key, value in schema.items() if key != "$defs"}, definitions)


def _resolved(value: object, definitions: Mapping[str, object], *, names: bool = False) -> object:
    if isinstance(value, dict):
        if isinstance(reference := value.get("$ref"), str) and not names:
            rest = {key: one for key, one in value.items() if key not in ("$ref", *_PROSE)}
            target = _resolved(definitions[reference], definitions)
            assert isinstance(target, dict)
            return target | rest
        # Under "properties" a key is a field's name, which may be 'title'.
        kept = {key: one for key, one in value.items() if names or key not in _PROSE}
        return {key: _resolved(one, definitions, names=key == "properties" and not names) for key, one in kept.items()}
    if isinstance(value, list):
        return [_resolved(one, definitions) for one in value]
    return value
