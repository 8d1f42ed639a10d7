"""The settings for the page: who may see it, and what it links to."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, SecretStr, ValidationInfo, field_validator

from reconciler.host.files import read_secret
from reconciler.settings.types import check_http_url, check_not_blank


class PageAccess(StrEnum):
    """Who may see the page, if it is not the default."""

    #: Everyone who can reach the port.
    OPEN = "open"
    #: Nobody: there is no page.
    OFF = "off"


def check_temporal_ui(value: str) -> str:
    """The base URL of Temporal's UI, without a slash at its end."""
    check_http_url(value, "https://temporal.example.com")
    if urlsplit(value).username is not None:
        raise ValueError("contains a user or a password, which the page would show")
    return value.rstrip("/")


class PageSettings(BaseModel):
    """Everything about the page; it is served where health and metrics are."""

    page: PageAccess | None = Field(
        None,
        description="For run: open shows the page to everyone who can reach the port, off removes "
        "it. If not set, it is open on a loopback address, and elsewhere needs a password.",
    )
    page_password: Annotated[SecretStr, AfterValidator(check_not_blank)] | None = Field(
        None,
        description="For run: the password of the page, for any user name, on every address "
        "(HTTP Basic).",
    )
    page_password_file: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="A file that contains the page's password, instead of "
        "RECONCILER_PAGE_PASSWORD. It is read again for each request.",
    )
    temporal_ui: Annotated[str, AfterValidator(check_temporal_ui)] | None = Field(
        None,
        description="The address of Temporal's UI, such as https://cloud.temporal.io, for links "
        "from the page to its workflows.",
    )

    @field_validator("page_password", "page_password_file")
    @classmethod
    def _asked_for(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and info.data.get("page") is PageAccess.OPEN:
            raise ValueError("is not asked for with RECONCILER_PAGE=open: remove one of them")
        if value is not None and info.data.get("page_password") is not None:
            raise ValueError("excludes RECONCILER_PAGE_PASSWORD: remove one of them")
        return value

    def password(self) -> Callable[[], str] | None:
        """A function that returns the page's password; None if there is none.

        It raises `ConfigurationError` if the file cannot be read.
        """
        if (file := self.page_password_file) is not None:
            return lambda: read_secret("RECONCILER_PAGE_PASSWORD_FILE", file)
        return None if self.page_password is None else self.page_password.get_secret_value
