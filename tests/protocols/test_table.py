"""Every route can be answered on both wires, or it is written down here that it cannot."""

from __future__ import annotations

import itertools

import pytest

from penstock.protocols import table
from penstock.types import Face, Operation, Wire

NOT_IN_OLLAMA = {
    "/v1/messages/count_tokens", "/tokenize", "/detokenize",
    "/score", "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank",
    "/v1/audio/transcriptions", "/v1/audio/translations", "/v1/audio/speech",
}  # fmt: skip
"""What Ollama has no route for and nothing to make one of."""
PATHS = [path.decode() for path in table.ROUTES]


@pytest.mark.parametrize(("path", "wire"), list(itertools.product(PATHS, Wire)))
def test_every_route_has_its_pairing(path: str, wire: Wire) -> None:
    assert ((path, wire) in table.PAIRINGS) is (wire is Wire.OPENAI or path not in NOT_IN_OLLAMA)


def test_the_table_pairs_nothing_that_is_no_route() -> None:
    assert {path for path, _ in table.PAIRINGS} == set(PATHS)
    assert set(PATHS) >= NOT_IN_OLLAMA


@pytest.mark.parametrize("path", PATHS)
def test_a_route_and_the_errors_about_it_speak_the_same(path: str) -> None:
    route = table.ROUTES[path.encode()]
    assert route.path == path
    assert route.face is table.face_of(path)


@pytest.mark.parametrize("path", [path for path in PATHS if not path.startswith("/v1/audio/tr")])
def test_what_is_decoded_belongs_to_the_route(path: str) -> None:
    call = table.ROUTES[path.encode()].decode(
        b'{"model":"m","prompt":"p","messages":[],"input":"i"}', "application/json"
    )
    assert (call.path, call.model, call.face) == (path, "m", table.face_of(path))


@pytest.mark.parametrize("path", ["/v1/nothing", "/api/nothing", "/v1/messages/batches"])
def test_errors_of_unknown_paths_have_a_face_too(path: str) -> None:
    faces = {"/v1/nothing": Face.OPENAI, "/api/nothing": Face.OLLAMA, "/v1/messages/batches": Face.ANTHROPIC}
    assert table.face_of(path) is faces[path]


def test_whoever_translates_from_ollama_also_idles() -> None:
    assert set(table.IDLERS) == {"/api/chat", "/api/generate", "/api/embed", "/api/embeddings"}


def test_operations_that_no_other_model_may_answer() -> None:
    """X13: vectors, scores and token ids of two models don't mix."""
    pinned = {one for one in Operation if one.pinned}
    assert pinned == {
        Operation.EMBEDDING, Operation.SCORE, Operation.RERANK, Operation.TOKENIZE, Operation.DETOKENIZE
    }  # fmt: skip
