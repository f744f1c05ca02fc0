"""The demo's results as one self-contained HTML page."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from zsretrieve.demo.story import TEMPLATES, Story
from zsretrieve.reports.look import STYLE, environment, markup

_TEMPLATE = Path(__file__).with_name("report.html.j2")


def write_report(story: Story) -> Path:
    """Write the page beside the indexes. Images are embedded, so it can be sent as it is."""
    templates = environment()
    templates.filters["data_uri"] = _data_uri
    template = templates.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    page = template.render(_content(story), style=markup(STYLE))
    story.report_path.write_text(page, encoding="utf-8")
    return story.report_path


def _content(story: Story) -> dict[str, Any]:
    rows = [
        {"name": TEMPLATES[name], "groups": [(group, report) for group, report in groups.items()]}
        for name, groups in story.reports.items()
    ]
    root = story.out / "scenes"

    def caption(path: str) -> str:
        return story.scenes[Path(path).relative_to(root.absolute()).as_posix()].caption

    def hits(found: tuple[Any, ...]) -> list[dict[str, Any]]:
        return [{"path": hit.path, "score": hit.score, "caption": caption(hit.path)} for hit in found]

    return {
        "n_images": story.n_images,
        "rows": rows,
        "r_precision": story.r_precision,
        "classified": [{"row": row, "caption": caption(row.path)} for row in story.classified],
        "text_searches": [{"query": query, "hits": hits(found)} for query, found in story.text_hits.items()],
        "image_query": {"path": story.image_query, "hits": hits(story.image_hits)},
        "mistakes": [{"mistake": mistake, "caption": caption(mistake.path)} for mistake in story.mistakes],
        "commands": story.next_commands(),
    }


def _data_uri(path: str) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(Path(path).read_bytes()).decode()}"
