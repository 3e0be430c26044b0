"""What the guides tell people to start on a GPU: read here by vLLM's own parser, which refuses an option that it does not have."""

from __future__ import annotations

import json
import re
import shlex
import subprocess

import pytest
import yaml
from tests.engines.servers import ENVIRONMENT, VENV
from tests.guides.page import GUIDES, Block, blocks_of

IMAGE = "vllm/vllm-openai:"
MOST = 100
"""The document: "100+ others"."""
PARSE = """
import json, sys
given = json.load(sys.stdin)
sys.argv = ["vllm", "bench"]
import vllm.entrypoints.cli.benchmark.main as bench
import vllm.entrypoints.cli.serve as serve
from vllm import ModelRegistry
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
verbs = parser.add_subparsers(required=True)
for verb in (*serve.cmd_init(), *bench.cmd_init()):
    verb.subparser_init(verbs)
for words in given:
    parser.parse_args(words)
print(json.dumps(sorted(ModelRegistry.get_supported_archs())))
"""
FAMILIES = {"LlamaForCausalLM", "MistralForCausalLM", "Phi3ForCausalLM"}
"""Llama and CodeLlama; Mistral and Zephyr; Phi."""


def commands() -> list[list[str]]:
    """The arguments of every vLLM that a guide starts."""
    return [words for page in GUIDES for block in blocks_of(page) if block.fate == "gpu" for words in started(block)]


def started(block: Block) -> list[list[str]]:
    if block.language == "yaml":
        services = yaml.safe_load(block.text)["services"].values()
        return [
            ["serve", *(shlex.split(command) if isinstance(command, str) else command)]
            for service in services
            if service.get("image", "").startswith(IMAGE) and (command := service.get("command"))
        ]
    lines = re.sub(r"\\\n", " ", block.text).splitlines()
    return [words for line in lines if (words := words_of(line))]


def words_of(line: str) -> list[str]:
    """What follows vLLM's program or its image, whose program is `vllm serve`; nothing in any other line."""
    words = shlex.split(line)
    for place, word in enumerate(words):
        if word.startswith(IMAGE):
            return ["serve", *words[place + 1 :]]
        if word.rpartition("/")[2] == "vllm" and place + 1 < len(words) and words[0] != "docker":
            return words[place + 1 :]
    return []


def test_vllm_has_every_option_that_a_guide_gives_it_and_the_models_that_are_named() -> None:
    """S1.39, S3.15, S3.20, W8, W10, W14."""
    given = commands()
    assert {words[0] for words in given} == {"serve", "bench"}
    assert len(given) >= 5
    done = subprocess.run(
        [VENV / "bin" / "python", "-c", PARSE],
        input=json.dumps(given),
        env={"PATH": "/usr/bin:/bin", **ENVIRONMENT},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    known = set(json.loads(done.stdout.splitlines()[-1]))
    assert len(known) > MOST
    assert known >= FAMILIES


@pytest.mark.parametrize("line", ["nvidia-smi", "docker logs -f llm-engine", "python3 -m venv .venv-vllm"])
def test_other_lines_start_no_vllm(line: str) -> None:
    assert words_of(line) == []
