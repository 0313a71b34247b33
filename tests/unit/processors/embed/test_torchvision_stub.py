"""Each case in an interpreter of its own: an import happens once."""

from __future__ import annotations

import subprocess
import sys

STUB = "from dsdc.processors.embed.torchvision_stub import make_importable; "


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_open_clip_imports_and_stubs_exist_only_where_the_native_library_does_not_load() -> None:
    code = STUB + (
        "first = make_importable(); import open_clip, torchvision.extension as e; "
        "print(first == make_importable(), first != e._has_ops(), open_clip.__version__)"
    )
    assert run(code).startswith("True True 3.")


def test_importing_the_embedder_loads_no_engine() -> None:
    code = (
        "import sys; import dsdc.processors.embed.embedder, dsdc.cli.clip; "
        "print(sorted({'torch', 'open_clip', 'torchvision', 'transformers'} & set(sys.modules)))"
    )
    assert run(code) == "[]"
