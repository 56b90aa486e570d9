"""What there is to know of each managed runtime's language to find its interpreter: data, no I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Language:
    """One language of managed runtimes.

    Attributes:
        name: what a person calls it.
        identifier: AWS's runtime identifiers; group ``version`` has the numbers.
        minimum: the least version that our bootstrap runs on.
        digits: how many numbers of a version tell it from another.
        programs: names of the interpreter's file.
        places: beside PATH, where distributions, version managers and AWS's own images put it; the newest name last.
        install: what a person does who has none.
        files: what functions need of our folder for it, relative to that.
    """

    name: str
    identifier: re.Pattern[str]
    minimum: tuple[int, ...]
    digits: int
    programs: re.Pattern[str]
    places: tuple[str, ...]
    install: str
    files: tuple[str, ...]


LANGUAGES: Final = {
    "python": Language(
        name="Python",
        identifier=re.compile(r"python(?P<version>[0-9]+\.[0-9]+)\Z"),
        minimum=(3, 9),
        digits=2,
        programs=re.compile(r"python3(\.[0-9]+)?\Z"),
        places=(
            "/usr/local/bin", "/usr/bin", "/opt/python*/bin", "/var/lang/bin", "~/.pyenv/versions/*/bin",
            "~/.local/share/uv/python/*/bin",
        ),
        install="install it (Debian: apt-get install python3; other versions: pyenv or uv python install)",
        files=("bootstrap.py",),
    ),
    "nodejs": Language(
        name="Node.js",
        identifier=re.compile(r"nodejs(?P<version>[0-9]+(\.[0-9]+)?)(\.x)?\Z"),
        minimum=(16, 0),
        digits=2,
        programs=re.compile(r"node(js)?([0-9]+)?\Z"),
        places=(
            "/usr/local/bin", "/usr/bin", "/opt/node*/bin", "/var/lang/bin", "~/.nvm/versions/node/*/bin",
            "~/.volta/tools/image/node/*/bin",
        ),
        install="install it (Debian: apt-get install nodejs; other versions: nodesource.com or nvm)",
        files=("bootstrap.js", "concurrent.js", "streaming.js"),
    ),
    "ruby": Language(
        name="Ruby",
        identifier=re.compile(r"ruby(?P<version>[0-9]+\.[0-9]+)\Z"),
        minimum=(2, 7),
        digits=2,
        programs=re.compile(r"ruby([0-9]+\.[0-9]+)?\Z"),
        places=(
            "/usr/local/bin", "/usr/bin", "/opt/ruby*/bin", "/var/lang/bin", "~/.rbenv/versions/*/bin",
            "~/.rubies/*/bin", "~/.asdf/installs/ruby/*/bin",
        ),
        install="install it (Debian: apt-get install ruby; other versions: rbenv or ruby-install)",
        files=("bootstrap.rb",),
    ),
    "java": Language(
        name="Java",
        identifier=re.compile(r"java(?P<version>[0-9]+)(\.al2(023)?)?\Z"),
        minimum=(11,),
        digits=1,
        programs=re.compile(r"java\Z"),
        places=(
            "/usr/lib/jvm/*/bin", "/usr/local/bin", "/usr/bin", "/opt/java*/bin", "/opt/jdk*/bin", "/var/lang/bin",
            "~/.sdkman/candidates/java/*/bin", "~/.jdks/*/bin",
        ),
        install="install one (Debian: apt-get install default-jdk-headless; other versions: adoptium.net)",
        files=("target/bootstrap.jar", "target/bootstrap.jar.sources", "src", "stubs"),
    ),
    "dotnet": Language(
        name=".NET",
        identifier=re.compile(r"dotnet(core)?(?P<version>[0-9]+(\.[0-9]+)?)\Z"),
        minimum=(3, 1),
        digits=1,
        programs=re.compile(r"dotnet\Z"),
        places=(
            "/usr/lib/dotnet", "/usr/share/dotnet", "/usr/local/share/dotnet", "/usr/local/bin", "/usr/bin",
            "/opt/dotnet*", "/var/lang/bin", "~/.dotnet",
        ),
        install="install it (dotnet.microsoft.com), or Mono (Debian: apt-get install mono-runtime mono-mcs)",
        files=(
            "target/bootstrap.exe", "target/bootstrap.exe.so", "target/bootstrap.exe.sources", "src",
            "bootstrap.runtimeconfig.json",
        ),
    ),
}  # fmt: skip

#: What runs .NET assemblies where there is no .NET: those made for .NET Framework 4 and .NET Standard 2.0.
MONO: Final = Language(
    name="Mono",
    identifier=re.compile(r"(?!)"),
    minimum=(5, 0),
    digits=2,
    programs=re.compile(r"mono(-sgen)?\Z"),
    places=("/usr/local/bin", "/usr/bin", "/opt/mono*/bin"),
    install=LANGUAGES["dotnet"].install,
    files=(),
)

#: Identifiers that CreateFunction takes and that have an interpreter; later ones are understood too.
IDENTIFIERS: Final = (
    "python3.9", "python3.10", "python3.11", "python3.12", "python3.13", "python3.14", "python3.15",
    "nodejs16.x", "nodejs18.x", "nodejs20.x", "nodejs22.x", "nodejs24.x", "nodejs26.x",
    "ruby2.7", "ruby3.2", "ruby3.3", "ruby3.4", "ruby4.0",
    "java8", "java8.al2", "java8.al2023", "java11", "java11.al2023", "java17", "java17.al2023", "java21", "java25",
    "dotnetcore3.1", "dotnet6", "dotnet8", "dotnet10",
)  # fmt: skip
#: Identifiers whose package brings its own program.
PROVIDED: Final = ("go1.x", "provided", "provided.al2", "provided.al2023")


def parse(runtime: str) -> tuple[str, tuple[int, ...]] | None:
    """The language (a key of LANGUAGES) and version that an identifier asks for; None when it is not a managed one."""
    for key, language in LANGUAGES.items():
        match = language.identifier.match(runtime)
        if match is not None:
            return key, tuple(int(number) for number in match["version"].split("."))
    return None
