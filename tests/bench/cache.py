"""What the bench makes once and keeps: exports, its own environment, llama.cpp and GGUF files.

Everything is made beside its place and renamed, so that an interrupted step is made again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bramble.commands.supervisor import python_command
from bramble.errors import BadInput, Broken

LLAMA_CPP = "0.3.36"  # of llama-cpp-python, whose source carries llama.cpp
TOOLS = ("llama-bench", "llama-quantize", "llama-server", "ggml-rpc-server")
REQUIREMENTS = Path(__file__).parent / "requirements.txt"
GGUF_FILE = Path(__file__).parent / "gguf_file.py"
FORMATS = ("Q4_0", "Q4_K_M")
CMAKE = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DGGML_RPC=ON",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_UI=OFF",  # a page for browsers, fetched while building
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
)
TAIL_CHARACTERS = 2000

Tell = Callable[[str], None]


def default_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "bramble" / "bench"


@dataclass(frozen=True, slots=True)
class Cache:
    folder: Path
    tell: Tell

    @property
    def packed(self) -> Path:
        """Where stages keep packed weights."""
        return self.folder / "packed"

    def model(self, shape: str, kind: str = "int4") -> Path:
        """The model folder of a shape. Raises BadInput for an unknown one."""
        command = python_command("bramble", "export", "--quant", kind, "--synthetic", shape)

        def make(place: Path) -> None:
            self._run([*command, str(place / shape)])

        name = shape if kind == "int4" else f"{shape}-{kind}"
        return self._once(f"models/{name}", make, f"exporting {name}") / shape

    def python(self) -> Path:
        """The interpreter of the bench's own environment, with gguf and matplotlib."""
        pinned = REQUIREMENTS.read_text(encoding="utf-8").split("\n", 1)[1].split()
        stamp = "-".join(pinned).replace("==", "-")
        place = self.folder / f"venv-{stamp}"
        if not (place / "complete").exists():
            self.tell("installing gguf and matplotlib beside the bench")
            shutil.rmtree(place, ignore_errors=True)
            self._run([sys.executable, "-m", "venv", str(place)])
            pip = [str(place / "bin/python"), "-m", "pip", "--disable-pip-version-check"]
            self._run([*pip, "install", "--quiet", "-r", str(REQUIREMENTS)])
            (place / "complete").touch()
        return place / "bin/python"

    def llama(self) -> Path:
        """The folder of llama.cpp's programs. Raises BadInput that names a missing compiler."""
        place = self.folder / f"llama-cpp-{LLAMA_CPP}"
        if not all((place / "build/bin" / tool).exists() for tool in TOOLS):
            check_compiler()
            source = self._once(f"{place.name}/source", self._fetch_llama, "fetching llama.cpp")
            self._build_llama(source, place / "build")
        return place / "build/bin"

    def gguf(self, shape: str, kind: str) -> Path:
        """The GGUF file of a shape in one of FORMATS."""

        def make(place: Path) -> None:
            whole = place / "f16"
            config = self.model(shape) / "config.json"
            self._run([str(self.python()), str(GGUF_FILE), str(config), str(whole)])
            for each in FORMATS:
                quantize = str(self.llama() / "llama-quantize")
                self._run([quantize, str(whole), str(place / each), each])
            whole.unlink()

        return self._once(f"gguf/{shape}", make, f"writing {shape} as GGUF") / kind

    def _fetch_llama(self, place: Path) -> None:
        pip = [str(self.python()), "-m", "pip", "--disable-pip-version-check", "download"]
        source = ["--no-deps", "--no-binary", "llama-cpp-python", f"llama-cpp-python=={LLAMA_CPP}"]
        self._run([*pip, "--quiet", "--dest", str(place), *source])
        (archive,) = place.glob("*.tar.gz")
        shutil.unpack_archive(archive, place, filter="data")
        archive.unlink()
        (unpacked,) = place.iterdir()
        for each in (unpacked / "vendor/llama.cpp").iterdir():
            each.rename(place / each.name)
        shutil.rmtree(unpacked)

    def _build_llama(self, source: Path, build: Path) -> None:
        jobs = len(os.sched_getaffinity(0))
        self.tell(f"building llama.cpp with {jobs} jobs, once; about 4 minutes on 2 cores")
        nice = ["nice", "-n", "15", "cmake"]
        self._run([*nice, "-S", str(source), "-B", str(build), *CMAKE])
        self._run([*nice, "--build", str(build), "-j", str(jobs), "--target", *TOOLS])

    def _once(self, name: str, make: Callable[[Path], None], what: str) -> Path:
        place = self.folder / name
        if not place.exists():
            self.tell(what)
            partial = place.with_name(f"{place.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            make(partial)
            partial.rename(place)
        return place

    def _run(self, command: list[str]) -> None:
        """Raises Broken with the last of what the command said."""
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            said = done.stdout.decode(errors="replace")[-TAIL_CHARACTERS:]
            raise Broken(f"{' '.join(command)} ended with {done.returncode}:\n{said}")


def check_compiler() -> None:
    """Raises BadInput with what to install."""
    for program, package in {"cmake": "cmake", "make": "make", "c++": "g++"}.items():
        if shutil.which(program) is None:
            raise BadInput(
                f"llama.cpp cannot be built: {program} is missing. Install it "
                f"(apt install {package}), or leave llama.cpp out with --only ring,ceiling,memory"
            )
