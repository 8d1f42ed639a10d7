"""Secrets from files, as Docker and Kubernetes mount them: NAME_FILE in place of NAME.

That goes for each setting whose type is `SecretStr`, without its having to say so. NAME_FILE can
stand wherever NAME can: in the environment, `.env`, `reconciler.toml`.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from reconciler.core.errors import ConfigurationError
from reconciler.host.files import read_file
from reconciler.settings.sources import DOTENV, read_dotenv, read_environment, read_toml, toml_file

SUFFIX = "_FILE"


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A file with one secret in it, and the setting that names it."""

    name: str
    path: str

    def read(self) -> str:
        """What it holds by now, without the newline at its end.

        Raises `ConfigurationError`, which names setting and path, and nothing of what is in there.
        """
        if not self.path:
            raise ConfigurationError(f"{self.name} is empty: it must be the path of a file")
        try:
            text = read_file(self.path).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ConfigurationError(f"{self.name}: {self.path} is not UTF-8") from None
        except OSError as error:
            raise ConfigurationError(
                f"{self.name}: cannot read {self.path}: {error.strerror}"
            ) from None
        if not (secret := text.rstrip("\r\n")):
            raise ConfigurationError(f"{self.name}: {self.path} is empty")
        return secret


class SecretFromFile(SecretStr):
    """A secret as it was when the settings were read; its file may say something else by now."""

    def __init__(self, secret: str, file: SecretFile) -> None:
        super().__init__(secret)
        self.file = file


class SecretFilesSource(PydanticBaseSettingsSource):
    """The secrets that are in files, for pydantic-settings. Raises `ConfigurationError`."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The secret, if a file is named for it."""
        file = _find_file(setting_name(self.settings_cls, field_name), field_name, self._given())
        secret = file and SecretFromFile(file.read(), file)
        return secret, str(field.validation_alias or field_name), False

    def __call__(self) -> dict[str, Any]:
        """Every secret that a file is named for."""
        fields = self.settings_cls.model_fields
        found = (self.get_field_value(fields[name], name) for name in secrets(self.settings_cls))
        return {key: secret for secret, key, _ in found if secret is not None}

    def _given(self) -> Mapping[str, Mapping[str, Any]]:
        """What is set, by where it stands; the first place wins, as for other settings."""
        return {"environment": read_environment(), DOTENV: read_dotenv(), toml_file(): read_toml()}


def secrets(kind: type[BaseSettings]) -> Iterator[str]:
    """The fields that hold secrets."""
    return (name for name, field in kind.model_fields.items() if _is_secret(field.annotation))


def setting_name(kind: type[BaseSettings], field_name: str) -> str:
    """The variable that sets a field."""
    alias = kind.model_fields[field_name].validation_alias
    prefix = kind.model_config.get("env_prefix", "")
    return (alias if isinstance(alias, str) else f"{prefix}{field_name}").upper()


def _find_file(
    name: str, field_name: str, given: Mapping[str, Mapping[str, Any]]
) -> SecretFile | None:
    file = _find(name + SUFFIX, field_name + SUFFIX, given)
    if file is None:
        return None
    if itself := _find(name, field_name, given):
        raise ConfigurationError(
            f"{name} ({itself[1]}) and {name + SUFFIX} ({file[1]}) exclude each other: "
            "remove one of them"
        )
    return SecretFile(name + SUFFIX, str(file[0] or ""))


def _find(name: str, key: str, given: Mapping[str, Mapping[str, Any]]) -> tuple[Any, str] | None:
    """What a setting is set to, and where; `key` is what it is called in TOML."""
    for place, settings in given.items():
        wanted = key if place.endswith(".toml") else name
        for each, value in settings.items():
            if each.upper() == wanted.upper():
                return value, place
    return None


def _is_secret(annotation: Any) -> bool:
    if get_origin(annotation) in (Annotated, Union, types.UnionType):
        return any(map(_is_secret, get_args(annotation)))
    return annotation is SecretStr
