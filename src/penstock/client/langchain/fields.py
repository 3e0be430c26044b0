"""The constructor fields of `OllamaLLM` and `ChatOllama`, and the engines that they come to.

docs/reference/langchain.md says of each field what becomes of it; tests/client/test_parity.py holds that page against
the installed langchain_ollama. Nothing about prompts, messages or answers stands here.
"""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import msgspec
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, field_validator, model_validator

from penstock import __version__, environment
from penstock.address import ollama_url
from penstock.client import arguments
from penstock.client.ask import Ask
from penstock.client.codec import Served
from penstock.client.counts import Counted
from penstock.client.engines import Engines
from penstock.client.options import SPELLINGS
from penstock.client.place import Target
from penstock.errors import ConfigError, PenstockError
from penstock.types import Kind

JsonSchema = dict[str, Any]

_SENT = {"timeout", "verify", "headers"}
"""Of httpx's arguments, those that mean something to our transports."""


class EngineFields(BaseModel):
    """What both forms are made with; a pydantic mixin ahead of LangChain's own base class."""

    # An input may hold a key, so errors do not show it.
    model_config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=(), hide_input_in_errors=True)

    model: str = environment.DEFAULT_MODELS[Kind.VLLM]
    """The model to ask for, as the engine or the gateway calls it."""

    # where and how
    base_url: str | None = None
    """Base URL of vLLM or of a gateway, with or without `/v1`."""
    host: str | None = None
    """The documents' name for `base_url`."""
    api_key: SecretStr | None = None
    timeout: float | None = 90.0
    """Seconds for a whole call, retries and fallback included; for a stream until its first content."""
    retry_attempts: int = 3
    retry_delay: float = 1.0
    """Seconds before the second attempt; it doubles from there, with jitter."""
    connect_timeout: float = 2.0
    fallback: str | Target | None = Field(default=None, repr=False)
    """URL of the Ollama that answers where this engine does not, or any other Target."""
    fallback_model: str | None = None
    """What the fallback calls the model; None: as the table of known models says."""
    fallback_policy: Literal["any", "same-model", "never"] = "any"
    verify: bool | str = True
    """TLS: True, False, or the path of the authorities to trust."""
    client_kwargs: dict[str, Any] | None = Field(default={}, repr=False, exclude=True)
    async_client_kwargs: dict[str, Any] | None = Field(default={}, repr=False, exclude=True)
    sync_client_kwargs: dict[str, Any] | None = Field(default={}, repr=False, exclude=True)
    validate_model_on_init: bool = False
    """Ask the engine what it serves and raise a ValueError where the model is not among it."""

    # sampling
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    max_tokens: int | None = None
    num_predict: int | None = None
    """Ollama's name for `max_tokens`; -1 and -2 mean as many as fit."""
    seed: int | None = None
    stop: list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None
    mirostat: int | None = None
    mirostat_eta: float | None = None
    mirostat_tau: float | None = None
    tfs_z: float | None = None
    num_ctx: int | None = None
    num_gpu: int | None = None
    num_thread: int | None = None

    # the answer's form
    reasoning: bool | str | None = None
    keep_alive: int | str | None = None
    extra_body: dict[str, Any] | None = None
    """Members added to the request's body as they are."""

    _kind: ClassVar[Kind] = Kind.VLLM
    _engines: Engines = PrivateAttr()
    _default: Ask = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:  # noqa: ANN401 - pydantic's
        """Said so that the private attributes above don't keep pydantic from calling LangChain's own."""
        super().model_post_init(context)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:  # noqa: ANN401 - whatever pydantic was given
        """LangChain ignores a field it does not know without a word; a warning names the nearest."""
        if isinstance(given, Mapping):
            for name in given:
                if name not in cls.model_fields:
                    near = difflib.get_close_matches(str(name), cls.model_fields, n=1)
                    hint = f"did you mean {near[0]}?" if near else "extra_body takes what only the engine knows."
                    warnings.warn(f"{cls.__name__}: the field {name!r} is not known, {hint}", UserWarning, stacklevel=4)
        return given

    @field_validator("client_kwargs", "async_client_kwargs", "sync_client_kwargs")
    @classmethod
    def _sendable(cls, given: dict[str, Any] | None) -> dict[str, Any] | None:
        for name in given or ():
            if name not in _SENT:
                raise ValueError(
                    f"{name!r} is an argument of httpx, which is not used here; of those, {', '.join(sorted(_SENT))} can be given"
                )
        return given

    @model_validator(mode="after")
    def _connected(self) -> Self:
        self._connect()
        add_version = getattr(self, "_add_version", None)  # LangChain's, where it is mixed in
        if add_version is not None:
            add_version("penstock", __version__)
        if self.validate_model_on_init:
            try:
                self._engines.check()
            except PenstockError as error:
                raise ValueError(error.sentence()) from error
        return self

    def _connect(self) -> None:
        """Make the engines and the ask that each call begins with, from the fields as they are now."""
        network = _Network.of(self)
        given = self.base_url if self._kind is Kind.VLLM or not self.base_url else ollama_url(self.base_url)
        usual, key = ("", "") if given or self.host else arguments.usual(self._kind, os.environ)
        self._engines = arguments.engines(
            self._kind,
            self.model,
            arguments.one_url(usual, base_url=given, host=self.host),
            api_key=self.api_key.get_secret_value() if self.api_key else network.key or key,
            fallback=self.fallback,
            fallback_model=self.fallback_model,
            fallback_policy=self.fallback_policy,
            timeout=self.timeout if network.timeout is None else network.timeout,
            retry_attempts=self.retry_attempts,
            retry_delay=self.retry_delay,
            connect_timeout=self.connect_timeout,
            verify=self.verify if network.verify is None else network.verify,
        )
        self._default = arguments.asked(Ask(), self._given())

    def _given(self) -> dict[str, Any]:
        """The fields that go into each ask, with the usual values where none was given."""
        fields = {name: getattr(self, name) for name in _ASKED if getattr(self, name, None) is not None}
        if fields.get("format") == "":
            del fields["format"]
        return {**self._usual_options(), **fields}

    @classmethod
    def _usual_options(cls) -> Mapping[str, Any]:
        return {"temperature": 0.0, **arguments.DEFAULT_OPTIONS} if cls._kind is Kind.VLLM else {}

    def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401
        """A field that is set later counts from the next call, as with Ollama's classes."""
        super().__setattr__(name, value)
        if name in _PREPARED and self.__pydantic_private__:
            self._connect()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        copied = super().model_copy(update=update, deep=deep)
        if update and _PREPARED & set(update):
            copied._connect()  # noqa: SLF001 - the copy is one of us
        return copied

    # what Penstock's clients have on top

    @property
    def engines(self) -> Engines:
        """Who is asked, how often, and what came of it."""
        return self._engines

    @property
    def counts(self) -> Counted:
        """Calls, retries and fallbacks so far."""
        return self._engines.counts.now()

    def check(self) -> list[Served]:
        """What the engine serves; raises where it does not answer or lacks the model."""
        return self._engines.check()

    async def acheck(self) -> list[Served]:
        return await self._engines.acheck()

    def close(self) -> None:
        """Close the connections that threads use; those of an event loop close with it."""
        self._engines.close()

    async def aclose(self) -> None:
        await self._engines.aclose()

    # LangChain's serialization and cache keys

    @classmethod
    def is_lc_serializable(cls) -> bool:
        return True

    @classmethod
    def get_lc_namespace(cls) -> list[str]:
        """Where the class is found, whichever form of it is installed."""
        return ["penstock", "client"]

    @property
    def lc_secrets(self) -> dict[str, str]:
        return {"api_key": "OPENAI_API_KEY"}

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        """What an answer depends on, for caches and traces (H11); no secret is among it."""
        options = {name: value for name, value in self._given().items() if value is not None}
        return {"model": self.model, "base_url": self._engines.first.url, **options}


_ASKED = frozenset({*SPELLINGS, "reasoning", "keep_alive", "extra_body", "format", "raw"})
_PREPARED = frozenset(EngineFields.model_fields) | {"format", "raw", "logprobs", "top_logprobs"}


class _Network(msgspec.Struct, frozen=True):
    """What httpx's arguments come to."""

    key: str = ""
    timeout: float | None = None
    verify: bool | str | None = None

    @classmethod
    def of(cls, fields: EngineFields) -> Self:
        """`client_kwargs` and, over them, those of one form; a difference between the two forms cannot be kept."""
        common = dict(fields.client_kwargs or {})
        forms = [
            {**common, **(only or {})} for only in (fields.sync_client_kwargs, fields.async_client_kwargs) if only
        ] or [common]
        if any(form != forms[0] for form in forms):
            raise ConfigError(
                "sync_client_kwargs and async_client_kwargs differ, and one set of connections serves both.",
                hint="Give client_kwargs, or two clients.",
            )
        given = forms[0]
        timeout = given.get("timeout")
        return cls(
            _bearer(given.get("headers") or {}), None if timeout is None else float(timeout), given.get("verify")
        )


def _bearer(headers: Mapping[str, str]) -> str:
    key = ""
    for name, value in headers.items():
        scheme, _, credentials = value.partition(" ")
        if name.lower() != "authorization" or scheme.lower() != "bearer":
            raise ConfigError(
                f"The header {name!r} in client_kwargs cannot be sent.", hint="Authorization: Bearer …, or api_key."
            )
        key = credentials.strip()
    return key
