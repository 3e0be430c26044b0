"""LangChain's messages as the library's own. What an engine could not be told is a ValueError, as in ChatOllama."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from penstock.client.ask import Message, ToolCall


def turns(messages: Sequence[BaseMessage]) -> tuple[Message, ...]:
    return tuple(_turn(message) for message in messages)


def _turn(message: BaseMessage) -> Message:
    text, images, thinking = _content(message.content)
    if not isinstance(message, AIMessage):
        tool = message if isinstance(message, ToolMessage) else None
        return Message(
            _role(message),
            text,
            images,
            tool_call_id=tool.tool_call_id if tool else "",
            name=(tool.name or "") if tool else "",
        )
    kept = message.additional_kwargs.get("reasoning_content")
    return Message("assistant", text, images, _calls(message), thinking=kept if isinstance(kept, str) else thinking)


def _role(message: BaseMessage) -> str:
    if isinstance(message, HumanMessage):
        return "user"
    if isinstance(message, SystemMessage):
        return "system"
    if isinstance(message, ChatMessage):
        return message.role
    if isinstance(message, ToolMessage):
        return "tool"
    raise TypeError(f"a message of type {type(message).__name__} has no role that an engine knows")


def _calls(message: AIMessage) -> tuple[ToolCall, ...]:
    return tuple(
        ToolCall(call["name"], json.dumps(call["args"], ensure_ascii=False), call["id"] or "")
        for call in message.tool_calls
    )


_NO_CONTENT = {"tool_use", "tool_call", "tool_call_chunk", "invalid_tool_call", "server_tool_call"}
"""Blocks that repeat what stands in `tool_calls`."""


def _content(content: str | Iterable[str | Mapping[str, Any]]) -> tuple[str, tuple[str, ...], str]:
    """Text, images and thoughts of a content, whether text or blocks of either of LangChain's generations."""
    if isinstance(content, str):
        return content, (), ""
    texts: list[str] = []
    images: list[str] = []
    thoughts: list[str] = []
    for block in content:
        kind = "text" if isinstance(block, str) else block.get("type")
        if isinstance(block, str):
            texts.append(block)
        elif kind == "text":
            texts.append(str(block["text"]))
        elif kind in {"reasoning", "thinking"}:
            thoughts.append(str(block.get("reasoning") or block.get("thinking") or ""))
        elif kind in {"image", "image_url"}:
            images.append(_image(block))
        elif kind not in _NO_CONTENT:
            raise ValueError(f"a content block of type {kind!r} cannot be sent: text and images can")
    return "\n".join(texts), tuple(images), "".join(thoughts)


def _image(block: Mapping[str, Any]) -> str:
    """The base64, or the URL, of an image block."""
    named = block.get("image_url")
    url = named.get("url") if isinstance(named, Mapping) else named
    if url is None and block.get("source_type") == "base64":
        url = block.get("data")
    url = url or block.get("base64") or block.get("url")
    if not isinstance(url, str) or not url:
        raise ValueError("an image block holds its image as base64 or as a URL")
    mime = block.get("mime_type")
    return f"data:{mime};base64,{url}" if mime and not url.startswith(("data:", "http://", "https://")) else url
