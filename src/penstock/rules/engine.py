"""The vLLM servers that a set of files starts, whoever starts them.

A service with its image, its Dockerfile, its script and its environment put together, or a command on its own. Pure; rules ask
here instead of each of them looking through all files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

import msgspec

from penstock.rules.finding import Evidence
from penstock.rules.material import Command, Material, Port, Recipe, Script, Service, Setting, Word
from penstock.rules.reading.docker_run import docker_run
from penstock.rules.reading.flags import SERVE, Flag, Launch, arguments, base, launch
from penstock.rules.reading.variables import latest
from penstock.rules.vllm import DEFAULT_MODEL, OFFICIAL, PORT

LOADING: Final = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"
"""With this, adapters come and go under names that no file holds."""
_ADAPTER = re.compile(r"""(?:^|\s)([^\s={}]+)=|"name":\s*"([^"]+)\"""")


def related(one: Evidence, other: Evidence) -> bool:
    """Whether two files belong to one project as far as folders tell: one's folder holds the other's."""
    first, second = (place.file.rpartition("/")[0] for place in (one, other))
    return (
        first == second
        or f"{second}/".startswith(f"{first}/" if first else "")
        or f"{first}/".startswith(f"{second}/" if second else "")
    )


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """One vLLM server."""

    name: str
    """What others call it: the service's name; empty for a command on its own."""
    kind: str
    """compose, kubernetes, docker run, recipe or script."""
    at: Evidence
    launch: Launch | None
    settings: tuple[Setting, ...] = ()
    ports: tuple[Port, ...] = ()
    exposed: tuple[Word, ...] = ()
    open_at: tuple[Evidence, ...] = ()
    namespace: str = ""
    links: bool = False

    @property
    def port(self) -> str:
        """The port it listens on inside its container; with `$` where only the machine could tell."""
        flag = self.launch.flag("--port") if self.launch else None
        return flag.value if flag else PORT

    @property
    def served(self) -> tuple[str, ...]:
        """The names that clients can ask for; empty where files do not tell."""
        launch = self.launch
        if launch is None or launch.flag("--config") or any(one.name == LOADING and one.value for one in self.settings):
            return ()
        model = launch.flag("--served-model-name") or launch.model
        adapters = launch.flag("--lora-modules")
        given = [flag.given for flag in (model, adapters) if flag]
        if not all(one.known for one in given):
            return ()
        names = model.value.replace(",", " ").split() if model else [DEFAULT_MODEL]
        return (*names, *(one or other for one, other in _ADAPTER.findall(adapters.value if adapters else "")))

    @property
    def key(self) -> Evidence | None:
        """Where a key is asked for."""
        flag = self.launch.flag("--api-key") if self.launch else None
        if flag:
            return flag.at
        return next((one.at for one in self.settings if one.name == "VLLM_API_KEY" and one.value), None)

    def flag(self, *names: str) -> Flag | None:
        return self.launch.flag(*names) if self.launch else None


def engines(material: Material) -> Iterator[Engine]:
    """All of them; a Dockerfile or a script that a service uses is told of once, with the service."""
    used: set[str] = set()
    for service in containers(material):
        recipe = _recipe(material, service)
        script = _script(material, service, recipe)
        found = _of_service(service, recipe, script, _env_files(material, service))
        if found:
            used |= {one.name for one in (recipe, script) if one}
            yield found
    for recipe in material.recipes:
        script = _started_script(material, (*recipe.entrypoint, *recipe.arguments))
        found = _of_recipe(recipe, script) if recipe.name not in used else None
        if found:
            used |= {script.name} if script else set()
            yield found
    for script in material.scripts:
        if script.name not in used:
            yield from (found for command in script.commands if (found := _of_command(command)))


def launches(material: Material) -> Iterator[Launch]:
    """Every command line of vLLM's, also of those that serve nothing, and lists of options in values files."""
    for engine in engines(material):
        if engine.launch:
            yield engine.launch
    for command in commands(material):
        found = _launched(command)
        if found and not found.serves:
            yield found
    speaking = _files_about_vllm(material)
    for listed in material.flag_lists:
        if listed.words[0].at.file in speaking:
            yield arguments("", listed.words, {}, listed.words[0].at)


def commands(material: Material) -> Iterator[Command]:
    """Every shell command there is, also while an image is built."""
    for script in material.scripts:
        yield from script.commands
    for recipe in material.recipes:
        yield from recipe.runs


def containers(material: Material) -> Iterator[Service]:
    """Every container that something starts."""
    yield from material.services
    yield from _run(material)


def _files_about_vllm(material: Material) -> set[str]:
    """Values files whose name, or one of whose keys or values, says so."""
    return {
        value.at.file for value in material.values if "vllm" in f"{value.at.file} {value.path} {value.text}".lower()
    }


def _run(material: Material) -> Iterator[Service]:
    for command in commands(material):
        service = docker_run(command.words) if any("run" in word.text for word in command.words) else None
        if service:
            yield msgspec.structs.replace(service, settings=(*command.known, *command.settings, *service.settings))


def _recipe(material: Material, service: Service) -> Recipe | None:
    if not service.dockerfile:
        return None
    wanted = service.dockerfile.rpartition("/")[2]
    same = [one for one in material.recipes if one.name.rpartition("/")[2] == wanted]
    return _nearest(same, service.at.file)


def _script(material: Material, service: Service, recipe: Recipe | None) -> Script | None:
    own = (*service.entrypoint, *service.arguments)
    started = own if service.entrypoint or recipe is None else (*recipe.entrypoint, *own, *recipe.arguments)
    return _started_script(material, started, near=service.at.file)


def _started_script(material: Material, words: tuple[Word, ...], near: str = "") -> Script | None:
    names = {base(word) for word in words[:3]}
    same = [one for one in material.scripts if one.name.rpartition("/")[2] in names and any(map(_serves, one.commands))]
    return _nearest(same, near or (words[0].at.file if words else ""))


def _env_files(material: Material, service: Service) -> tuple[Setting, ...]:
    """What the service's `env_file` brings in, where those files are at hand."""
    wanted = {path.rpartition("/")[2] for path in service.env_files}
    return tuple(one for file in material.env_files if file.name.rpartition("/")[2] in wanted for one in file.settings)


Named = TypeVar("Named", Recipe, Script)


def _nearest(found: Sequence[Named], file: str) -> Named | None:
    """The one in the same folder, else the only one."""
    folder = file.rpartition("/")[0]
    beside = [one for one in found if one.name.rpartition("/")[0] == folder]
    return beside[0] if beside else found[0] if len(found) == 1 else None


def _launched(command: Command, *outer: Setting) -> Launch | None:
    """The command as one of vLLM's, with what its script and `outer` set; most commands are not worth that work."""
    if not any("vllm" in word.text for word in command.words):
        return None
    return launch(command.words, latest(outer, command.known, command.settings))


def _serves(command: Command) -> bool:
    found = _launched(command)
    return found is not None and found.serves


def _of_service(
    service: Service, recipe: Recipe | None, script: Script | None, given: tuple[Setting, ...]
) -> Engine | None:
    settings = (*(recipe.settings if recipe else ()), *given, *service.settings)
    started = _service_launch(service, recipe, script, settings)
    if started is None and "vllm" not in service.image.rpartition("/")[2].lower():
        return None
    if "router" in service.image:
        return None
    return Engine(
        name=service.name,
        kind=service.kind,
        at=service.at,
        launch=started,
        settings=settings,
        ports=service.ports,
        exposed=recipe.exposed if recipe else (),
        open_at=service.open_at,
        namespace=service.namespace,
        links=service.links,
    )


def _service_launch(
    service: Service, recipe: Recipe | None, script: Script | None, settings: tuple[Setting, ...]
) -> Launch | None:
    if script is not None:
        return _script_launch(script, settings)
    known = latest(settings)
    if service.image.startswith(OFFICIAL) and not service.entrypoint:
        return arguments(SERVE, service.arguments, known, service.at)
    words = (*service.entrypoint, *service.arguments)
    if recipe is not None and not service.entrypoint:
        words = (*recipe.entrypoint, *(service.arguments or recipe.arguments))
        if recipe.image.startswith(OFFICIAL) and not recipe.entrypoint:
            return arguments(SERVE, words, known, service.at)
    return _serving(launch(words, known))


def _of_recipe(recipe: Recipe, script: Script | None) -> Engine | None:
    words = (*recipe.entrypoint, *recipe.arguments)
    started = _script_launch(script, recipe.settings) if script else _serving(launch(words, latest(recipe.settings)))
    if started is None and recipe.image.startswith(OFFICIAL) and not recipe.entrypoint:
        started = arguments(SERVE, recipe.arguments, latest(recipe.settings), recipe.at)
    if started is None:
        return None
    return Engine(
        name="", kind="recipe", at=recipe.at, launch=started, settings=recipe.settings, exposed=recipe.exposed
    )


def _script_launch(script: Script, settings: tuple[Setting, ...]) -> Launch | None:
    for command in script.commands:
        found = _serving(_launched(command, *settings))
        if found:
            return found
    return None


def _of_command(command: Command) -> Engine | None:
    found = _serving(_launched(command))
    settings = (*command.known, *command.settings)
    return Engine(name="", kind="script", at=command.at, launch=found, settings=settings) if found else None


def _serving(found: Launch | None) -> Launch | None:
    return found if found and (found.serves or found.verb == "openai") else None
