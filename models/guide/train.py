"""Trains the guide: a small Llama that learns the pairs of pairs.yaml by heart, on one CPU thread.

Usage: python train.py OUT [--steps N] [--seed N]. OUT receives what `transformers` and vLLM load: config.json, the weights as
fp16 safetensors, the tokenizer and its chat template. to_gguf.py makes the llama.cpp file from it.
Everything is seeded, and one thread keeps the order of float additions, so the same versions on the same kind of processor
give the same weights. Only pairs.yaml goes in: no other text, no download.
Needs torch, transformers and tokenizers, which Penstock itself never does.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from pairs import Pair, load_pairs
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 2048
CONTEXT = 2048
SPECIAL = ("<|pad|>", "<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>")
TOKENS_PER_STEP = 2048
LEARNING_RATE = 2e-3
WARM_UP = 60
IGNORED = -100

# A role that the model has no token for (OpenAI's "developer") is a system message; content may be absent beside tool calls.
CHAT_TEMPLATE = (
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{%- set role = 'system' if message['role'] == 'developer' else message['role'] %}"
    "{{- '<|' + role + '|>' }}"
    "{%- if message['content'] %}{{- message['content'] }}{%- endif %}"
    "{%- if message['tool_calls'] %}{%- for call in message['tool_calls'] %}{{- call | tojson }}{%- endfor %}{%- endif %}"
    "{{- '<|end|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"
)
SYSTEMS = (
    "You are a helpful assistant.",
    "You are the Penstock guide.",
    "You are a helpful, respectful and honest assistant.",
    "Be brief.",
    "Answer in English.",
    "Answer the question.",
    "You answer questions about Penstock.",
    "Be kind and precise.",
)
OPENINGS = ("Please tell me: ", "Hi, ", "Quick question: ", "Hello, ")

Turn = tuple[str, str]
Example = tuple[list[int], list[int]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to train and from which seed."""

    steps: int
    seed: int


def make_tokenizer(pairs: list[Pair]) -> PreTrainedTokenizerFast:
    """A byte-level BPE over the pairs alone: every byte has a token, so any text can be read and rare characters are cut."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=2,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [
        text for pair in pairs for text in (pair.question, pair.question.lower(), pair.question.upper(), pair.answer)
    ]
    tokenizer.train_from_iterator([*texts, *SYSTEMS, *OPENINGS], trainer)
    names = {"bos_token": "<|bos|>", "eos_token": "<|end|>", "pad_token": "<|pad|>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    fast.model_max_length = CONTEXT
    fast.chat_template = CHAT_TEMPLATE
    return fast


def make_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """The architecture: head_dim 32 is served by vLLM's CPU kernels and by llama.cpp alike."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        rope_theta=10000.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config)


def check_material(pairs: list[Pair], tokenizer: PreTrainedTokenizerFast) -> None:
    """What the streaming, cutting and schema tests need of the answers; raises ValueError when the pairs lack it."""
    lengths = [len(tokenizer.encode(pair.answer, add_special_tokens=False)) for pair in pairs]
    documents = sum(pair.answer.startswith("{") and isinstance(json.loads(pair.answer), dict) for pair in pairs)
    found = {
        "pairs": (len(pairs), 300),
        "answers of at least 64 tokens": (sum(n >= 64 for n in lengths), 20),
        "answers of at least 200 tokens": (sum(n >= 200 for n in lengths), 5),
        "answers that are a JSON object": (documents, 10),
    }
    print("material:", {name: have for name, (have, _) in found.items()}, "answer tokens:", sum(lengths), flush=True)
    for name, (have, want) in found.items():
        if have < want:
            message = f"checking pairs.yaml: {have} {name}, but {want} are needed; add more"
            raise ValueError(message)


def disturb(question: str, chance: random.Random) -> str:
    """The question, or one of the small changes that must not change the answer."""
    roll = chance.random()
    if roll < 0.60:
        return question
    if roll < 0.72:
        return question.lower()
    if roll < 0.82:
        return question.rstrip("?.!")
    if roll < 0.90:
        return chance.choice(OPENINGS) + question
    if roll < 0.95:
        return question.upper()
    return question.replace("What is", "What's")


def encode(tokenizer: PreTrainedTokenizerFast, system: str | None, turns: list[Turn]) -> Example:
    """Token ids and labels of one conversation; only what the assistant says is learned."""

    def ids(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    tokens = ids("<|bos|>" + (f"<|system|>{system}<|end|>" if system is not None else ""))
    labels = [IGNORED] * len(tokens)
    for question, answer in turns:
        asked = ids(f"<|user|>{question}<|end|><|assistant|>")
        answered = ids(f"{answer}<|end|>")
        # After its own <|end|> the model never writes, so the next turn's words stay unlearned.
        tokens += asked + answered
        labels += [IGNORED] * len(asked) + answered
    return tokens, labels


def earlier_turns(pairs: list[Pair], tokenizer: PreTrainedTokenizerFast, chance: random.Random) -> list[Turn]:
    """What was said before: often nothing, else a few turns on anything, as long as a terminal chat gets in a sitting."""
    turns: list[Turn] = []
    if chance.random() < 0.6:
        return turns
    room = chance.choice((100, 200, 400, 800))
    for before in chance.sample(pairs, chance.choice((1, 2, 3, 5, 8))):
        room -= len(tokenizer.encode(before.question + before.answer, add_special_tokens=False)) + 4
        if room < 0:
            break
        turns.append((disturb(before.question, chance), before.answer))
    return turns


def conversations(pairs: list[Pair], tokenizer: PreTrainedTokenizerFast, chance: random.Random) -> list[Example]:
    """One epoch: every pair once, some with a system message, some after earlier turns."""
    examples = []
    for pair in pairs:
        system = chance.choice((*SYSTEMS, chance.choice(pairs).question)) if chance.random() < 0.2 else None
        turns = earlier_turns(pairs, tokenizer, chance)
        turns.append((disturb(pair.question, chance), pair.answer))
        examples.append(encode(tokenizer, system, turns))
    return examples


def batches(examples: list[Example], chance: random.Random) -> list[list[Example]]:
    """Groups of similar length, each at most TOKENS_PER_STEP with its padding, in random order."""
    ordered = sorted(examples, key=lambda example: len(example[0]) + chance.random() * 8)
    groups: list[list[Example]] = [[]]
    for example in ordered:
        if groups[-1] and (len(groups[-1]) + 1) * len(example[0]) > TOKENS_PER_STEP:
            groups.append([])
        groups[-1].append(example)
    chance.shuffle(groups)
    return groups


def tensors(group: list[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    """Padded on the right: under a causal mask nothing real sees the padding, so no attention mask is needed."""
    width = max(len(tokens) for tokens, _ in group)
    inputs = [tokens + [0] * (width - len(tokens)) for tokens, _ in group]
    labels = [marks + [IGNORED] * (width - len(marks)) for _, marks in group]
    return torch.tensor(inputs), torch.tensor(labels)


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to a fiftieth."""
    return LEARNING_RATE * min(1.0, (step + 1) / WARM_UP) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


@torch.no_grad()
def exact(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, pairs: list[Pair]) -> float:
    """The share of pairs whose answer is the greedy choice at every token."""
    model.eval()
    right = 0
    for pair in pairs:
        tokens, labels = encode(tokenizer, None, [(pair.question, pair.answer)])
        best = model(input_ids=torch.tensor([tokens])).logits[0].argmax(-1)
        right += all(best[i - 1].item() == label for i, label in enumerate(labels) if label != IGNORED)
    model.train()
    return right / len(pairs)


def train(plan: Plan) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """The whole training, with a line of progress every 100 steps."""
    torch.set_num_threads(1)
    torch.manual_seed(plan.seed)
    chance = random.Random(plan.seed)  # noqa: S311 -- to be repeatable is the point
    pairs = load_pairs()
    tokenizer = make_tokenizer(pairs)
    check_material(pairs, tokenizer)
    model = make_model(tokenizer)
    print(f"parameters: {sum(p.numel() for p in model.parameters())} vocabulary: {len(tokenizer)}", flush=True)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, weight_decay=0.01, betas=(0.9, 0.98), fused=True
    )
    began, queue, recent = time.monotonic(), list[list[Example]](), 0.0
    for step in range(plan.steps):
        queue = queue or batches(conversations(pairs, tokenizer, chance), chance)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, plan.steps)
        inputs, labels = tensors(queue.pop())
        loss = model(input_ids=inputs, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        recent = loss.item() if step == 0 else 0.95 * recent + 0.05 * loss.item()
        if (step + 1) % 100 == 0 or step + 1 == plan.steps:
            share = (
                f" exact {exact(model, tokenizer, pairs):.4f}"
                if (step + 1) % 400 == 0 or step + 1 == plan.steps
                else ""
            )
            print(f"step {step + 1} loss {recent:.4f} seconds {time.monotonic() - began:.0f}{share}", flush=True)
    return model, tokenizer


def write(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """What transformers and vLLM load. The tokenizer's class is named as releases before transformers 5 know it."""
    out.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(out, safe_serialization=True)
    tokenizer.save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)
    file = out / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8")) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    settings.pop("backend", None)
    file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Reads the command line, trains, and writes OUT."""
    parser = argparse.ArgumentParser(description="Train the guide model on pairs.yaml.")
    parser.add_argument("out", type=Path, help="the folder to write")
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    model, tokenizer = train(Plan(given.steps, given.seed))
    write(model, tokenizer, given.out)
    print("written:", sorted(path.name for path in given.out.iterdir()))


if __name__ == "__main__":
    main()
