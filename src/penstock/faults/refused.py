"""The error bodies of vLLM, in vLLM's words. Pure."""

from __future__ import annotations

import msgspec

TYPES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    404: "NotFoundError",
    429: "RateLimitError",
    500: "InternalServerError",
    503: "ServiceUnavailableError",
}


class Refused(Exception):
    """A request the engine does not carry out."""

    def __init__(self, status: int, message: str, *, kind: str = "", param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind or TYPES.get(status, "InternalServerError")
        self.param = param

    def error(self) -> dict[str, object]:
        """The `error` object alone, as it also stands in an in-band event."""
        return {"message": self.message, "type": self.kind, "param": self.param, "code": self.status}

    def body(self, path: str) -> bytes:
        """The response body; Anthropic's routes have a shape of their own."""
        if path.startswith("/v1/messages"):
            return msgspec.json.encode({"type": "error", "error": {"type": self.kind, "message": self.message}})
        return msgspec.json.encode({"error": self.error()})


def unknown_model(name: str, served: tuple[str, ...]) -> Refused:
    words = f"The model `{name}` does not exist. Valid aliases: {', '.join(served)}."
    return Refused(404, words, param="model")


def too_long(window: int, tokens: int) -> Refused:
    words = (
        f"This model's maximum context length is {window} tokens. However, your prompt contains {tokens} input tokens, "
        "which exceeds this limit even without any output tokens. Please reduce the length of the input prompt."
    )
    return Refused(400, words, param="input_tokens")


def too_much(window: int, limit: int, name: str) -> Refused:
    """More than the whole window; what merely does not fit beside the prompt is cut to what does."""
    words = f"{name}={limit} cannot be greater than max_model_len={window}. Please request fewer output tokens."
    return Refused(400, words, param=name)


def too_little(limit: int) -> Refused:
    return Refused(400, f"max_tokens must be at least 1, got {limit}.", param="max_tokens")


def wrong_type(field: str, kind: str, words: str, value: object) -> Refused:
    error = {"type": kind, "loc": f"body.{field}", "msg": words, "input": value}
    return Refused(400, f"1 validation error:\n  {error}", kind="Bad Request", param=f"body.{field}")
