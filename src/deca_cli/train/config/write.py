"""Settings as YAML text; `deca_cli.train.config.build.load_settings` reads it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from deca_cli.train.config.groups import places, value_at

if TYPE_CHECKING:
    from deca_cli.train.config.settings import TrainSettings


def flat_settings(settings: TrainSettings) -> dict[str, Any]:
    """Plain values by their names in a file, `group.name`."""
    return {key: _plain(value_at(settings, path)) for key, path in places(settings).items()}


def settings_text(settings: TrainSettings) -> str:
    """YAML text of all settings."""
    tree: dict[str, Any] = {}
    for key, value in flat_settings(settings).items():
        *groups, name = key.split(".")
        level = tree
        for group in groups:
            level = level.setdefault(group, {})
        level[name] = value
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def _plain(value: Any) -> Any:  # noqa: ANN401 - any setting
    return [_plain(part) for part in value] if isinstance(value, tuple | list) else value
