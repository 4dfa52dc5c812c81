# SPDX-License-Identifier: Apache-2.0
"""Makes `settings.md` from the settings: `python -m docs.make_settings`."""

from __future__ import annotations

from pathlib import Path

from node.config_file import render_table

FILE = Path(__file__).with_name("settings.md")

_HEAD = """\
# Settings

A node reads one TOML file at start (`machikura serve --config node.toml`), then the
environment, which wins: `MACHIKURA_API__PORT=9000` is `port` in the table `[api]`;
lists are written as JSON. `machikura init` writes a file in which every setting stands
as a comment with its default. Relative paths start at the folder of the file. A key or
variable that no setting has is refused. Secrets are never settings: a setting names the
file that holds one.

Made from `node/config.py` by `python -m docs.make_settings`.

ノードの設定の一覧です。TOML ファイルより環境変数(`MACHIKURA_…`)が優先されます。

"""


def render() -> str:
    """Return the text of the file."""
    return _HEAD + render_table()


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
