"""Makes a wheel whole: it gets the libraries that it links, and the licence of each of them.

    python packaging/repair.py IN.whl DIRECTORY

auditwheel does the work. Its rules take the libraries of a desktop for granted; servers have none, so
they go into the wheel too.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

from auditwheel import main, policy
from auditwheel.wheeltools import InWheelCtx

DESKTOP = re.compile(r"lib(X11|Xext|Xrender|ICE|SM|GL|gobject-2\.0|gthread-2\.0|glib-2\.0|expat|z|atomic)\.so")


class Policies(policy.WheelPolicies):
    """The rules of auditwheel for machines without a desktop."""

    def __init__(self, **arguments: object) -> None:
        super().__init__(**arguments)
        self._policies = [replace(one, whitelist=kept(one.whitelist)) for one in self._policies]


def kept(libraries: frozenset[str]) -> frozenset[str]:
    return frozenset(library for library in libraries if not DESKTOP.match(library))


def repaired(wheel: Path, directory: Path) -> Path:
    """The wheel with its libraries."""
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("*.whl"):
        old.unlink()
    policy.WheelPolicies = Policies
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("auditwheel") and hasattr(module, "WheelPolicies"):
            module.WheelPolicies = Policies
    sys.argv = ["auditwheel", "repair", "--strip", "--wheel-dir", str(directory), str(wheel)]
    if main.main():
        sys.exit(1)
    (made,) = directory.glob("*.whl")
    return made


def add_licences(wheel: Path) -> None:
    """Put the licence of every library into the wheel."""
    whole = wheel.with_suffix(".whole")
    with InWheelCtx(wheel, whole) as inside:
        root = Path(inside.path or ".")
        folder = root / "ffrtmp" / "_licenses"
        folder.mkdir(parents=True)
        lines = ["Libraries in this wheel, and the Debian package and version that each is from.", ""]
        for library in sorted((root / "ffrtmp.libs").iterdir()):
            package = package_of(library.name)
            shutil.copy(Path("/usr/share/doc") / package / "copyright", folder / f"{package}.txt")
            lines.append(f"{library.name}: {package} {version_of(package)}")
        (folder / "README.txt").write_text("\n".join(lines) + "\n")
    whole.rename(wheel)


def package_of(library: str) -> str:
    """The package that a library is from; auditwheel has put a hash into its name."""
    name = re.sub(r"-[0-9a-f]{8}(?=\.)", "", library, count=1)
    found = libraries_here().get(name)
    if found is None:
        sys.exit(f"error: {name} is not a library of this machine")
    places = {str(found), str(found.resolve())}
    # A file may be known by its place before /lib and /usr/lib became one.
    places |= {place.removeprefix("/usr") for place in places}
    for place in sorted(places, key=len, reverse=True):
        asked = subprocess.run(["dpkg-query", "--search", place], capture_output=True, text=True)
        if asked.returncode == 0:
            return asked.stdout.split(":", 1)[0]
    sys.exit(f"error: {name} belongs to no package: its licence is unknown")


@cache
def libraries_here() -> dict[str, Path]:
    """The libraries that the loader knows, by their names and by those of the files behind them."""
    known = subprocess.run(["/sbin/ldconfig", "-p"], check=True, capture_output=True, text=True).stdout
    places = [Path(place) for place in re.findall(r"=> (\S+)$", known, re.MULTILINE)]
    return {name: place for place in places for name in (place.resolve().name, place.name)}


def version_of(package: str) -> str:
    asked = ["dpkg-query", "--show", "--showformat=${Version}\\n", package]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split("\n")[0]


if __name__ == "__main__":
    made = repaired(Path(sys.argv[1]), Path(sys.argv[2]))
    add_licences(made)
    size = made.stat().st_size / 1e6
    print(f"{made}: {size:.1f} MB")
    if size > 120:
        sys.exit("error: a wheel has at most 120 MB")
