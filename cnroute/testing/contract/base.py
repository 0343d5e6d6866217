"""What the checks of a provider stand on: the class attributes that an author sets, and the provider that they name."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from cnroute.deployments import ProviderInfo
from cnroute.errors import CnrouteError
from cnroute.plugins import BUILT_IN, PluginHost
from cnroute.testing.contract import samples
from cnroute.testing.contract.checking import ContractBroken, NotRun
from cnroute.testing.contract.samples import Sample
from cnroute.testing.contract.subject import Subject


class ContractBase:
    """The attributes of a provider contract, and the provider under test, made once a class."""

    provider: ClassVar[str | None] = None
    plugin: ClassVar[Any] = None
    model: ClassVar[str | None] = None
    options: ClassVar[Mapping[str, Any]] = {}
    samples: ClassVar[str | Path | Sequence[Any]] = "samples"
    supports_stream: ClassVar[bool] = True
    supports_tools: ClassVar[bool] = False
    supports_reasoning: ClassVar[bool] = False
    supports_knowledge_base: ClassVar[bool] = False
    effort: ClassVar[float] = 1
    """How many random cases are tried: 1 is meant for every run, 10 for a nightly one."""

    @classmethod
    def provider_name(cls) -> str:
        """The name of the provider: `provider`, or what `plugin` calls itself."""
        return cls.provider or _own_name(cls.plugin)

    @classmethod
    def make_host(cls) -> PluginHost:
        """A host with this provider and no other third party's."""
        if cls.plugin is None:
            return PluginHost(load=[cls.provider_name()])
        host = PluginHost(autoload=False)
        if replaces_built_in(cls.plugin, cls.provider_name()):
            host._states.pop(cls.provider_name())  # noqa: SLF001 (of this package)
        host.register(cls.plugin, cls.provider_name())
        return host

    @classmethod
    def subject(cls) -> Subject:
        """The provider under test. Fails once with the host's reason when it cannot be used; what follows is not run."""
        __tracebackhide__ = True
        if "_unusable" in cls.__dict__:
            raise NotRun("the provider cannot be used; the first check that failed says why")
        if "_subject" not in cls.__dict__:
            try:
                cls._subject = cls._made_subject()
            except ContractBroken:
                cls._unusable = True
                raise
        subject: Subject = cls._subject
        return subject

    _subject: ClassVar[Any]
    _unusable: ClassVar[bool]
    _samples: ClassVar[Any]

    @classmethod
    def _made_subject(cls) -> Subject:
        host, name = cls.make_host(), cls.provider_name()
        try:
            info = host.provider(name).info
            model = cls.model or (info.models[0].name if info.models else "kit-model")
            subject = Subject(host, name, model, cls.options)
            subject.place()
        except CnrouteError as error:
            raise ContractBroken(f"the provider {name} cannot be used: {error}") from None
        return subject

    @classmethod
    def plugin_object(cls) -> Any:
        """The plugin itself."""
        if cls.plugin is not None:
            return cls.plugin
        subject = cls.subject()
        subject.place()
        return subject.host._providers[subject.name]  # noqa: SLF001 (of this package)

    @classmethod
    def all_samples(cls) -> tuple[Sample, ...]:
        """Every sample. Raises ConfigurationError with all problems of all files."""
        if "_samples" not in cls.__dict__:
            cls._samples = samples.load(cls.samples, _beside(cls))
        found: tuple[Sample, ...] = cls._samples
        return found

    def plain_samples(self) -> list[Sample]:
        """Good answers to plain calls."""
        return [each for each in self.all_samples() if not each.stream and not each.refused]

    def stream_samples(self) -> list[Sample]:
        """Streams in lines, those with an error inside too."""
        return [each for each in self.all_samples() if each.in_lines]

    def good_streams(self) -> list[Sample]:
        """Streams in lines that end well."""
        return [each for each in self.stream_samples() if each.failure is None and self.subject().play(each).completion]

    def whole_samples(self) -> list[Sample]:
        """Good complete answers, to plain and to stream requests."""
        return [each for each in self.all_samples() if not each.in_lines and not each.refused]

    def error_samples(self) -> list[Sample]:
        """Refusals: complete answers that are no answer."""
        return [each for each in self.all_samples() if not each.in_lines and each.refused]


def replaces_built_in(plugin: Any, name: str) -> bool:
    """Whether `plugin` is a copy of the built-in provider `name`: the same name and the same API root."""
    if name not in BUILT_IN:
        return False
    info, own = _described(plugin), PluginHost(autoload=False).provider(name).info
    return info is not None and info.base_url == own.base_url


def _described(plugin: Any) -> ProviderInfo | None:
    try:
        info = plugin.describe_provider()
    except Exception:  # noqa: BLE001 (a plugin's code; the host reports it by name)
        return None
    return info if isinstance(info, ProviderInfo) else None


def _own_name(plugin: Any) -> str:
    if plugin is None:
        raise ContractBroken('the contract names no provider; set provider = "NAME" or plugin = MODULE in the class')
    info = _described(plugin)
    return info.name if info is not None else str(getattr(plugin, "__name__", type(plugin).__name__)).rpartition(".")[2]


def _beside(cls: type) -> Path | None:
    """The file that the class (or the base of it that sets `samples`) is written in."""
    owner = next((base for base in cls.__mro__ if "samples" in vars(base) and base is not ContractBase), cls)
    file = getattr(sys.modules.get(owner.__module__), "__file__", None) or inspect.getsourcefile(owner)
    return Path(file) if file else None
