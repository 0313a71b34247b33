"""Which file the CLIP weights are, that it is the pinned one, and how it comes to be there.

Three pins, the first that exists decides: `clip.sha256` of the settings, the hash of `dsdc-lite` in the code, and the
pin file written at the first use of any other weights. Only safetensors are read: a pickle can run code.
"""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dsdc.errors import WeightsError
from dsdc.log import get_logger
from dsdc.processors.embed import hashing
from dsdc.processors.embed.library import import_open_clip, tag_config
from dsdc.processors.embed.lite import build as lite
from dsdc.settings import Clip

log = get_logger(__name__)
LOCAL_DIR = "local-dir:"
SUFFIX = ".safetensors"
FETCH = "Run `dsdc clip fetch`."


@dataclass(frozen=True)
class Weights:
    """Weights on disk: `folder` where the model's config and tokenizer lie beside them (open_clip's local-dir)."""

    file: Path
    sha256: str
    folder: Path | None = None


class WeightsStore:
    """The weights of one configured model under `models/clip`."""

    def __init__(self, clip: Clip, models_dir: Path) -> None:
        self.clip = clip
        self.models_dir = models_dir
        self.home = models_dir / "clip"

    @property
    def folder(self) -> Path | None:
        """The local-dir of the model, if it is one."""
        if self.clip.model == lite.NAME:
            return self.home / lite.NAME
        if self.clip.model.startswith(LOCAL_DIR):
            return Path(self.clip.model.removeprefix(LOCAL_DIR))
        return None

    @property
    def label(self) -> str:
        """The name of the weights for records: no folder in it, so that moving them changes nothing."""
        return Path(self.clip.pretrained).name if self._is_checkpoint() else self.clip.pretrained

    @property
    def model_label(self) -> str:
        """The model's name for records, without the folder of a local-dir."""
        return (
            f"{LOCAL_DIR}{self.folder.name}"
            if self.clip.model.startswith(LOCAL_DIR) and self.folder
            else self.clip.model
        )

    @property
    def pin_file(self) -> Path:
        """Holds the hash of the first use, and for a hub tag where its file lies."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{self.clip.model}--{self.clip.pretrained}").strip("-")
        return self.home / f"{name}.pin.json"

    def known(self) -> Weights:
        """The weights by the hash cache: cheap, for records. Raises WeightsError."""
        file = self._file()
        return self._checked(file, hashing.cached_sha256(file, self.home / "hashes.json"))

    def verified(self) -> Weights:
        """The weights, read through and compared with the pin, which the first use writes. Raises WeightsError."""
        file = self._file()
        weights = self._checked(file, hashing.sha256(file))
        self._pin(weights)
        return weights

    def fetch(self) -> Weights:
        """Get or build what is missing, then verify; does nothing more when all is there. Raises WeightsError."""
        with self._alone():
            if self.clip.model == lite.NAME:
                if not self._lite_is_good():
                    lite.build(self.home / lite.NAME)
            elif self._is_tag() and not self._recorded().is_file():
                self._download()
            return self.verified()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time fetches; the others wait, and then find it done."""
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _lite_is_good(self) -> bool:
        folder = self.home / lite.NAME
        if not lite.complete(folder):
            return False
        return hashing.sha256(folder / lite.WEIGHTS) == lite.SHA256

    def _is_checkpoint(self) -> bool:
        name = self.clip.pretrained
        return "/" in name or "\\" in name or Path(name).suffix in (SUFFIX, ".pt", ".pth", ".bin", ".npz")

    def _is_tag(self) -> bool:
        return bool(self.clip.pretrained) and not self._is_checkpoint() and self.folder is None

    def _recorded(self) -> Path:
        return self.models_dir / hashing.read_json(self.pin_file).get("file", "nowhere")

    def _file(self) -> Path:
        """Where the weights are. Raises WeightsError where they are not, or are a pickle."""
        if self.clip.model.startswith("hf-hub:"):
            raise WeightsError(
                f"clip.model={self.clip.model}: hub repositories are not read at run time.",
                hint=f"Put a copy in a folder and set clip.model to {LOCAL_DIR}/path/to/it.",
            )
        if self.folder is not None:
            return self._in_folder(self.folder)
        if self._is_checkpoint():
            return self._checkpoint()
        if not self.clip.pretrained:
            raise WeightsError(
                f"clip.pretrained is empty, and {self.clip.model} has no weights of its own.",
                hint="Name an open_clip tag or a .safetensors file in config.local.yaml.",
            )
        file = self._recorded()
        if not file.is_file():
            raise WeightsError(f"The weights {self.clip.pretrained} of {self.clip.model} are not here.", hint=FETCH)
        return _safetensors(file)

    def _in_folder(self, folder: Path) -> Path:
        files = sorted(folder.glob(f"*{SUFFIX}"))
        if self.clip.model == lite.NAME and not lite.complete(folder):
            raise WeightsError(f"The weights of {lite.NAME} are not in {folder}.", hint=FETCH)
        if len(files) != 1 or not (folder / lite.CONFIG).is_file():
            raise WeightsError(
                f"{folder} must hold {lite.CONFIG} and one {SUFFIX} file, and holds {len(files)}.",
                hint="Correct clip.model.",
            )
        return files[0]

    def _checkpoint(self) -> Path:
        given = Path(self.clip.pretrained)
        places = [given] if given.is_absolute() else [self.models_dir.parent / given, self.models_dir / given]
        for file in places:
            if file.is_file():
                return _safetensors(file)
        raise WeightsError(f"There is no file {places[0]} (clip.pretrained).", hint="Correct the path.")

    def _download(self) -> None:
        """Fetch a tag's file into `models/clip/hub` and record where it lies."""
        config = tag_config(self.clip.model, self.clip.pretrained)
        open_clip = import_open_clip()
        try:
            path = Path(open_clip.pretrained.download_pretrained(config, cache_dir=str(self.home / "hub")))
        except (OSError, RuntimeError) as error:  # hub errors are OSErrors; open_clip raises RuntimeError
            raise WeightsError(
                f"Cannot download {self.clip.pretrained} of {self.clip.model}: {error}",
                hint="Check the network, or set clip.model to dsdc-lite, which needs none.",
            ) from error
        file = _safetensors(path)
        hashing.write_json(self.pin_file, hashing.read_json(self.pin_file) | {"file": _relative(file, self.models_dir)})

    def _checked(self, file: Path, actual: str) -> Weights:
        expected, source = self._expected()
        if expected and actual != expected:
            raise WeightsError(
                f"{file} has SHA-256 {actual}, but {source} says {expected}: it is corrupt or was exchanged.",
                hint=self._remedy(),
            )
        return Weights(file=file, sha256=actual, folder=self.folder)

    def _expected(self) -> tuple[str, str]:
        if self.clip.sha256:
            return self.clip.sha256, "clip.sha256"
        if self.clip.model == lite.NAME:
            return lite.SHA256, "the code"
        return hashing.read_json(self.pin_file).get("sha256", ""), str(self.pin_file)

    def _remedy(self) -> str:
        if self.clip.sha256:
            return "Restore the file, or correct clip.sha256."
        if self.clip.model == lite.NAME:
            return "Run `dsdc clip fetch`; it builds them again."
        return f"Restore the file; if the change is meant, delete {self.pin_file} first."

    def _pin(self, weights: Weights) -> None:
        if self.clip.model == lite.NAME or hashing.read_json(self.pin_file).get("sha256"):
            return
        content = {"file": _relative(weights.file, self.models_dir), "sha256": weights.sha256}
        try:
            hashing.write_json(self.pin_file, content)
        except OSError as error:
            raise WeightsError(
                f"Cannot write {self.pin_file}: {error}",
                hint="Make the folder writable once and run `dsdc clip fetch`.",
            ) from error
        log.info("embed.weights_pinned", model=self.clip.model, pretrained=self.label, sha256=weights.sha256)


def _safetensors(file: Path) -> Path:
    # The suffix of the name, not of what a hub cache links to: the link's target has none.
    if file.suffix != SUFFIX:
        raise WeightsError(
            f"{file.name} is a pickle, which can run code and is never loaded.",
            hint=f"Choose a tag with {SUFFIX} weights, or convert the file to {SUFFIX} where it is trusted.",
        )
    return file


def _relative(file: Path, base: Path) -> str:
    """Relative where possible, so that the models folder can be moved."""
    return str(file.relative_to(base)) if file.is_relative_to(base) else str(file)
