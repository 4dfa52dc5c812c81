# SPDX-License-Identifier: Apache-2.0
"""Renders pages: templates, languages, and headers that let a browser do little else.

Nothing is loaded from outside and nothing runs: the content security policy allows our
own style sheet and forms to ourselves. Pages show personal data, so no cache keeps one.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import web

from node.portal.texts import LANGUAGES, Language, moment, other, text
from node.portal.visitors import PATH, Visitor

HERE: Final = Path(__file__).parent
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Not `no-referrer`: browsers would then hide where a form comes from.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Pages:
    """The templates of the portal."""

    def __init__(self, node: str) -> None:
        """Load nothing yet; `node` is named on each page."""
        # Nodes without pages do not pay for it: memory, and time at the start.
        from jinja2 import (
            Environment,
            FileSystemLoader,
            StrictUndefined,
            select_autoescape,
        )

        self._environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=select_autoescape(default=True, default_for_string=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._node = node

    def show(
        self,
        request: web.Request,
        name: str,
        *,
        visitor: Visitor | None = None,
        status: int = 200,
        **values: object,
    ) -> web.Response:
        """Return a page.

        Args:
            request: whose path says the language.
            name: of the template, without `.html`.
            visitor: who has signed in.
            status: HTTP status.
            values: what the template shows.
        """
        language = language_of(request)
        template = self._environment.get_template(f"{name}.html")
        body = template.render(
            t=partial(text, language=language),
            when=partial(moment, language=language),
            lang=language,
            other=other(language),
            here=request.path.removeprefix(f"{PATH}/{language}/"),
            node=self._node,
            visitor=visitor,
            **values,
        )
        return web.Response(
            body=body.encode("utf-8"),
            status=status,
            content_type="text/html",
            charset="utf-8",
            headers={**HEADERS, "Content-Language": language},
        )


def language_of(request: web.Request) -> Language:
    """Return the language that the path names; Japanese where it names none."""
    named = request.match_info.get("lang", "ja")
    return next((lang for lang in LANGUAGES if lang == named), "ja")
