"""Settings that look like pydantic's models to the code around them, without pydantic.

`model_dump`, `model_validate`, `model_copy`, `copy`, `dict` and their kin do what they do there, and a pydantic model may
have one of these as a field. Unlike there, a value is checked also when it is assigned, unknown keys name the nearest,
and an error lists every mistake. What the settings are is in `settings.py`.
"""

from __future__ import annotations

import copy as copying
import inspect
import sys
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, ClassVar, NamedTuple, Self, dataclass_transform, get_args, get_origin

import msgspec

from penstock.errors import ConfigError
from penstock.shape import Plain, check, dotted


class SettingsError(ConfigError, ValueError):
    """Settings that cannot be used; a ValueError as pydantic's is."""


class FieldInfo(NamedTuple):
    """What is known of a field."""

    annotation: object
    default: Any
    description: str
    settings: type[Settings] | None = None
    """The class, where the field holds settings itself."""

    def is_required(self) -> bool:
        return False


@dataclass_transform(kw_only_default=True)
class Settings:
    """A mutable record of checked values; every field has a default."""

    model_fields: ClassVar[dict[str, FieldInfo]] = {}
    _shape: ClassVar[type[msgspec.Struct]]

    def __init_subclass__(cls) -> None:
        # Without the class's own names as locals: `dict` and `copy` are methods here.
        hints = inspect.get_annotations(cls, globals=vars(sys.modules[cls.__module__]), locals={}, eval_str=True)
        cls.model_fields = {}
        shape = []
        for name, hint in hints.items():
            kind, description = _described(hint)
            default = vars(cls)[name]
            delattr(cls, name)
            nested = isinstance(kind, type) and issubclass(kind, Settings)
            cls.model_fields[name] = FieldInfo(kind, default, description, type(default) if nested else None)
            shape.append((name, kind._shape if nested else hint, None))  # noqa: SLF001 - of our own class
        cls._shape = msgspec.defstruct(cls.__name__, shape, kw_only=True)

    def __init__(self, **given: Any) -> None:  # noqa: ANN401 - checked here
        clean = _checked(type(self), given)
        for name, field in self.model_fields.items():
            value = _made(field, given[name], clean[name]) if name in clean else copying.deepcopy(field.default)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_given", frozenset(given))

    def __setattr__(self, name: str, value: object) -> None:
        clean = _checked(type(self), {name: value})[name]
        object.__setattr__(self, name, _made(self.model_fields[name], value, clean))
        object.__setattr__(self, "_given", self.model_fields_set | {name})

    @property
    def model_fields_set(self) -> frozenset[str]:
        """The fields that were given or assigned."""
        given: frozenset[str] = self.__dict__["_given"]
        return given

    def model_dump(
        self,
        *,
        mode: str = "python",
        include: Collection[str] | None = None,
        exclude: Collection[str] | None = None,
        exclude_unset: bool = False,
        exclude_defaults: bool = False,
        exclude_none: bool = False,
        by_alias: bool | None = None,
    ) -> dict[str, Any]:
        """A plain dict, nested settings as dicts. `mode` and `by_alias` change nothing here: all values are plain."""
        del mode, by_alias
        dumped = {}
        for name, value in self:
            unwanted = (
                (include is not None and name not in include)
                or (exclude is not None and name in exclude)
                or (exclude_unset and name not in self.model_fields_set)
                or (exclude_defaults and value == self.model_fields[name].default)
                or (exclude_none and value is None)
            )
            if not unwanted:
                dumped[name] = _dumped(value, unset=exclude_unset, defaults=exclude_defaults, none=exclude_none)
        return dumped

    def model_dump_json(self, *, indent: int | None = None, **options: Any) -> str:  # noqa: ANN401
        encoded = msgspec.json.encode(self.model_dump(**options))
        return (msgspec.json.format(encoded, indent=indent) if indent else encoded).decode()

    @classmethod
    def model_validate(cls, obj: object, **_: object) -> Self:
        """From a mapping or from settings of this class; SettingsError names every mistake."""
        if isinstance(obj, cls):
            return obj
        if not isinstance(obj, Mapping):
            raise SettingsError(f"{cls.__name__} expects a mapping, not {type(obj).__name__}.")
        return cls(**obj)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes, **_: object) -> Self:
        try:
            return cls.model_validate(msgspec.json.decode(json_data))
        except msgspec.DecodeError as wrong:
            raise SettingsError(f"{cls.__name__} cannot be read: {wrong}") from None

    @classmethod
    def model_construct(cls, **given: Any) -> Self:  # noqa: ANN401
        return cls(**given)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        values = copying.deepcopy(dict(self)) if deep else dict(self)
        made = type(self)(**{**values, **(update or {})})
        object.__setattr__(made, "_given", self.model_fields_set | set(update or {}))
        return made

    @classmethod
    def model_json_schema(cls, **_: object) -> dict[str, Any]:
        return msgspec.json.schema(cls._shape)

    # pydantic 1's names

    def copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        return self.model_copy(update=update, deep=deep)

    def dict(self, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        return self.model_dump(**options)

    def json(self, **options: Any) -> str:  # noqa: ANN401
        return self.model_dump_json(**options)

    @classmethod
    def parse_obj(cls, obj: object) -> Self:
        return cls.model_validate(obj)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Name and value of each field, in order."""
        for name in self.model_fields:
            yield name, self.__dict__[name]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Settings) and type(other) is type(self) and list(self) == list(other)

    def __hash__(self) -> int:
        raise TypeError(f"{type(self).__name__} may change and has no hash")

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={'…' if name == 'api_key' and value else repr(value)}" for name, value in self)
        return f"{type(self).__name__}({shown})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> Any:  # noqa: ANN401 - pydantic's own type
        """How pydantic checks and dumps a field of this class; only pydantic calls this."""
        from pydantic_core import core_schema  # noqa: PLC0415 - not a dependency: whoever calls this has it

        dump = core_schema.plain_serializer_function_ser_schema(lambda value: value.model_dump())
        return core_schema.no_info_plain_validator_function(cls.model_validate, serialization=dump)


def _described(hint: object) -> tuple[Any, str]:
    """The type and the description of an annotated field."""
    if get_origin(hint) is Annotated:
        kind, *extras = get_args(hint)
        told = [one.description for one in extras if isinstance(one, msgspec.Meta) and one.description]
        return kind, told[-1] if told else ""
    return hint, ""


def _checked(cls: type[Settings], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values in their normal form; SettingsError lists every mistake."""
    plain = {name: _plain(value) for name, value in given.items()}
    clean, mistakes = check(plain, cls._shape)
    if mistakes:
        lines = [f"{dotted(one.path)}: {one.text}" if one.path else one.text for one in mistakes]
        count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        raise SettingsError(f"{cls.__name__} cannot be used, {count}:\n  " + "\n  ".join(lines))
    return clean if isinstance(clean, dict) else {}


def _made(field: FieldInfo, given: object, clean: Any) -> Any:  # noqa: ANN401
    """The value to keep: settings stay the object they are, a mapping for them becomes one."""
    if field.settings is None:
        return clean
    return given if isinstance(given, field.settings) else field.settings.model_validate(clean)


def _plain(value: Any) -> Plain:  # noqa: ANN401
    return value.model_dump(exclude_unset=True) if isinstance(value, Settings) else value


def _dumped(value: Any, *, unset: bool, defaults: bool, none: bool) -> Any:  # noqa: ANN401
    if isinstance(value, Settings):
        return value.model_dump(exclude_unset=unset, exclude_defaults=defaults, exclude_none=none)
    return value
