from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from dsdc.cli.clip import app
from dsdc.processors.embed.lite import build as lite


def test_fetch_prints_path_and_hash_each_time(project: Path, models_dir: Path) -> None:
    for _ in range(2):
        result = CliRunner().invoke(app, ["fetch"])
        assert result.exit_code == 0, result.output
        path, sha256 = result.output.split()
        assert Path(path).samefile(models_dir / "clip" / lite.NAME / lite.WEIGHTS)
        assert Path(path).is_relative_to(project)
        assert sha256 == lite.SHA256


def test_show_says_what_the_model_is(project: Path, models_dir: Path) -> None:
    result = CliRunner().invoke(app, ["show"])
    assert result.exit_code == 0, result.output
    assert lite.SHA256 in result.output
    assert f"width      {lite.WIDTH}\n" in result.output
    assert "512 x 384 px" in result.output
