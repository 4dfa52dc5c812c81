# SPDX-License-Identifier: Apache-2.0
"""The residents' pages at a running node, as a browser without scripts uses them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from urllib.parse import urlencode

import pytest

from node.portal.routes import Portal
from node.portal.visitors import COOKIE
from tests.node.served import NODE, PASSWORD, Served, serving

CHECKUP = {"date": "2026-10-01", "height_cm": 158.2, "weight_kg": 52.4}


@dataclass
class Shown:
    """A page as it came."""

    status: int
    headers: dict[str, str]
    html: str

    @property
    def form_token(self) -> str:
        """Return what the page's forms carry."""
        found = re.search(r'name="form" value="([^"]+)"', self.html)
        assert found, self.html[:400]
        return found[1]


@dataclass
class Browser:
    """Keeps the cookie; follows nothing by itself."""

    node: Served
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **headers: str) -> Shown:
        """Load a page."""
        return self._call("GET", path, None, headers)

    def send(
        self, path: str, from_: dict[str, str] | None = None, /, **fields: str
    ) -> Shown:
        """Send a form."""
        return self._call("POST", path, urlencode(fields), from_ or {})

    def submit(self, page: str, path: str, **fields: str) -> Shown:
        """Load a page and send one of its forms."""
        token = self.get(page).form_token
        return self.send(path, None, form=token, **fields)

    def _call(
        self, method: str, path: str, body: str | None, headers: dict[str, str]
    ) -> Shown:
        sent = {**self.headers, **headers}
        if self.cookie:
            sent["Cookie"] = f"{COOKIE}={self.cookie}"
        if body is not None:
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        connection = HTTPConnection(self.node.url.removeprefix("http://"), timeout=30)
        try:
            connection.request(method, path, body=body, headers=sent)
            response = connection.getresponse()
            html = response.read().decode()
        finally:
            connection.close()
        cookie = response.headers.get("Set-Cookie", "")
        if cookie:
            self.cookie = cookie.split(";")[0].partition("=")[2].strip('"')
        return Shown(response.status, dict(response.headers.items()), html)


@dataclass
class Resident:
    """Somebody with data here, a link and a consent."""

    browser: Browser
    consent: str


@pytest.fixture(scope="module")
def node() -> Iterator[Served]:
    """Return a served node with the role portal."""
    with serving() as served:
        yield served


@pytest.fixture(scope="module")
def hanako(node: Served) -> Resident:
    """Return a resident whose checkup this node holds, and her consent."""
    return _resident(node, "hanako")


@pytest.fixture
def taro(node: Served, request: pytest.FixtureRequest) -> Resident:
    """Return another one, fresh for each test."""
    return _resident(node, f"taro-{len(request.node.name)}-{id(request)}")


def _resident(node: Served, login: str) -> Resident:
    session = node.resident(login)
    record = {"dataset_type": "health.checkup", "subject": login, "content": CHECKUP}
    assert node.call("POST", "/v1/records", record, operator=True).status == 201
    code = node.call("POST", "/v1/me/link-codes", {"holder": NODE}, session).document
    link = {"home": NODE, "code": code["code"], "subject": login}
    assert node.call("POST", "/v1/links", link, operator=True).status < 300
    wish = {
        "recipients": ["hoshino/pharmacy"],
        "holders": [NODE],
        "scope": [{"dataset_type": "health.checkup"}],
        "purposes": ["treatment"],
        "ends": 2_000_000_000,
    }
    given = node.call("POST", "/v1/me/consents", wish, session)
    assert given.status == 201, given.body
    token = session["Authorization"].removeprefix("Session ")
    return Resident(Browser(node, token), given.document["id"])


def _paths(node: Served, method: str, **values: str) -> list[str]:
    """Return every path of the portal that needs a session, from its route table."""
    filled = {"lang": "en", "id": "x", "city": "hoshino", "label": "clinic", "file": ""}
    filled |= values
    found = []
    for route in Portal(node.core.parts).routes():
        path = re.sub(r"\{(\w+)[^}]*\}", lambda m: filled[m[1]], str(route.path))  # type: ignore[attr-defined]  # all are RouteDef
        public = path in ("/portal", "/portal/") or "static" in path
        if not public and not path.endswith("sign-in") and route.method == method:  # type: ignore[attr-defined]  # all are RouteDef
            found.append(path)
    return found


# --------------------------------------------------------------------- who may look


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pages_without_a_session_lead_to_the_sign_in(node: Served, method: str) -> None:
    """Every one in the route table, also with a session that nobody has."""
    for cookie in ("", "A" * 43, "A" * 500, "ü"):
        stranger = Browser(node, cookie.encode().decode("latin-1"))
        for path in _paths(node, method):
            shown = stranger.get(path) if method == "GET" else stranger.send(path)
            assert shown.status == 303, path
            assert shown.headers["Location"] == "/portal/en/sign-in"


def test_another_residents_consent_is_not_there(node: Served, hanako: Resident) -> None:
    """On no path that names it, and it looks like one that does not exist."""
    stranger = Resident(Browser(node, _session_of(node, "stranger")), "")
    for method in ("GET", "POST"):
        for path in _paths(node, method, id=hanako.consent):
            if hanako.consent not in path:
                continue
            if method == "GET":
                shown = stranger.browser.get(path)
            else:
                shown = stranger.browser.submit("/portal/en/links", path)
            assert shown.status == 404, path
            assert "hanako" not in shown.html
    assert "state-active" not in hanako.browser.get("/portal/en/consents").html
    assert "in force" in hanako.browser.get("/portal/en/consents").html


def _session_of(node: Served, login: str) -> str:
    return node.resident(login)["Authorization"].removeprefix("Session ")


# ----------------------------------------------------------------------- signing in


def test_start_goes_where_the_browser_speaks(node: Served) -> None:
    """Japanese unless English is preferred."""
    for accept, language in (("en-GB,en;q=0.9,ja;q=0.5", "en"), ("ja,en;q=0.5", "ja")):
        shown = Browser(node).get("/portal", **{"Accept-Language": accept})
        assert shown.headers["Location"] == f"/portal/{language}/data"


def test_sign_in_gives_a_cookie_that_stays_here(node: Served) -> None:
    """No script reads it, no other site has it sent along."""
    account = {"login": "keiko", "password": PASSWORD, "name": "keiko"}
    assert node.call("POST", "/v1/residents", account, operator=True).status == 201
    browser = Browser(node)
    assert "Sign in" in browser.get("/portal/en/sign-in").html
    shown = browser.send("/portal/en/sign-in", login="keiko", password=PASSWORD)
    assert (shown.status, shown.headers["Location"]) == (303, "/portal/en/data")
    cookie = shown.headers["Set-Cookie"]
    for part in ("HttpOnly", "SameSite=Strict", "Path=/portal"):
        assert part in cookie
    assert "Secure" not in cookie  # On this machine there is no TLS.
    assert browser.get("/portal/en/data").status == 200


def test_cookie_needs_tls_everywhere_but_on_this_machine(node: Served) -> None:
    """Also behind a proxy that does TLS: the name that the browser used counts."""
    account = {"login": "shiro", "password": PASSWORD, "name": "shiro"}
    assert node.call("POST", "/v1/residents", account, operator=True).status == 201
    browser = Browser(node, headers={"Host": "portal.hoshino.example"})
    shown = browser.send("/portal/en/sign-in", login="shiro", password=PASSWORD)
    assert "Secure" in shown.headers["Set-Cookie"]


def test_wrong_password_and_unknown_name_look_alike(node: Served) -> None:
    """Nobody learns who has an account here."""
    shown = []
    for login in ("hanako", "nobody"):
        answer = Browser(node).send("/portal/en/sign-in", login=login, password="wrong")
        assert answer.status == 401
        shown.append(answer.html.replace(login, "LOGIN"))
    assert shown[0] == shown[1]
    assert 'role="alert"' in shown[0]


def test_sign_out_ends_the_session(node: Served) -> None:
    """For a copy of the cookie, too."""
    token = _session_of(node, "michiko")
    browser, copy = Browser(node, token), Browser(node, token)
    shown = browser.submit("/portal/en/links", "/portal/en/sign-out")
    assert shown.headers["Location"] == "/portal/en/sign-in?out=1"
    assert browser.cookie == ""
    assert copy.get("/portal/en/links").status == 303


# ------------------------------------------------------------------ forms of our own


def test_form_without_our_token_changes_nothing(node: Served, hanako: Resident) -> None:
    """On every path that changes something."""
    other = Browser(node, _session_of(node, "other")).get("/portal/en/links")
    for path in _paths(node, "POST", id=hanako.consent):
        for token in ("", "x", other.form_token):
            shown = hanako.browser.send(path, form=token, holder=NODE)
            assert shown.status == 403, path
    assert "in force" in hanako.browser.get("/portal/en/consents").html


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_form_from_another_site_changes_nothing(
    node: Served, hanako: Resident, headers: dict[str, str]
) -> None:
    """Also with the right token, and at the sign-in too."""
    token = hanako.browser.get("/portal/en/links").form_token
    for path in _paths(node, "POST", id=hanako.consent):
        shown = hanako.browser.send(path, headers, form=token, holder=NODE)
        assert shown.status == 403, path
    shown = Browser(node).send("/portal/en/sign-in", headers, login="a", password="b")
    assert shown.status == 403


@pytest.mark.parametrize(
    ("media", "status"),
    [("application/json", 415), ("multipart/form-data; boundary=x", 415)],
)
def test_forms_of_another_kind_are_refused(
    node: Served, media: str, status: int
) -> None:
    """Pages send one kind of form."""
    headers = {"Content-Type": media}
    shown = Browser(node).send("/portal/en/sign-in", headers, login="a")
    assert shown.status == status


def test_large_forms_are_refused(node: Served) -> None:
    """Before they are read."""
    shown = Browser(node).send("/portal/en/sign-in", login="a" * 20_000)
    assert shown.status == 413


# ---------------------------------------------------------------------------- pages


def test_pages_let_the_browser_do_little_else(node: Served, hanako: Resident) -> None:
    """No script, nothing from outside, no frame, no cache: on failures too."""
    pages = [hanako.browser.get(p) for p in _paths(node, "GET", id=hanako.consent)]
    pages.append(hanako.browser.get("/portal/en/consents/none"))
    pages.append(Browser(node).get("/portal/ja/sign-in"))
    for shown in pages:
        policy = shown.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in policy
        assert shown.headers["Cache-Control"] == "no-store"
        assert shown.headers["X-Content-Type-Options"] == "nosniff"
        assert "<script" not in shown.html
        assert " style=" not in shown.html
        assert re.findall(r'(?:src|href|action)="(?!/portal|#)', shown.html) == []


@pytest.mark.parametrize("language", ["ja", "en"])
def test_where_my_data_is(hanako: Resident, language: str) -> None:
    """Picture and table say the same; everybody who was asked is listed."""
    shown = hanako.browser.get(f"/portal/{language}/data")
    assert shown.status == 200
    assert f'<html lang="{language}">' in shown.html
    assert "<svg" in shown.html
    assert NODE in shown.html
    assert {"ja": "健康診断", "en": "checkup"}[language] in shown.html.lower()
    assert "hoshino directory" in shown.html
    assert {"ja": "2026年10月01日", "en": "2026-10-01"}[language] in shown.html


def test_withdrawing_is_asked_shown_and_acknowledged(taro: Resident) -> None:
    """One page to ask, one form to do it, one page with who was told."""
    browser, consent = taro.browser, taro.consent
    page = f"/portal/en/consents/{consent}"
    assert "Withdraw this consent for good?" in browser.get(f"{page}/withdraw").html
    shown = browser.submit(f"{page}/withdraw", f"{page}/withdraw", obligation="delete")
    assert shown.headers["Location"] == f"{page}?done=withdraw"
    after = browser.get(shown.headers["Location"])
    assert "The consent is withdrawn." in after.html
    assert "Who was told" in after.html
    assert "Pause" not in after.html
    again = browser.submit("/portal/en/links", f"{page}/withdraw", obligation="stop")
    assert again.status == 409


def test_pausing_and_resuming(taro: Resident) -> None:
    """A consent can rest and come back."""
    browser, page = taro.browser, f"/portal/ja/consents/{taro.consent}"
    assert browser.submit(page, f"{page}/pause").status == 303
    assert "一時停止中" in browser.get(page).html
    assert browser.submit(page, f"{page}/resume").status == 303
    assert "有効" in browser.get(page).html


def test_page_of_a_consent_shows_the_text_that_was_agreed_to(hanako: Resident) -> None:
    """Word for word: its digest stands in the consent."""
    shown = hanako.browser.get(f"/portal/ja/consents/{hanako.consent}")
    assert "パーソナルデータの提供への同意" in shown.html
    assert "この同意は、いつでも一時停止または撤回できます。" in shown.html


def test_code_is_shown_once_and_works(taro: Resident) -> None:
    """Made on the page, not on reload."""
    browser = taro.browser
    shown = browser.submit("/portal/en/links", "/portal/en/links", holder=NODE)
    assert shown.status == 200
    code = re.search(r'<p class="code">([^<]+)</p>', shown.html)
    assert code
    assert code[1] not in browser.get("/portal/en/links").html


def test_holder_that_is_none_is_explained(taro: Resident) -> None:
    """A page with what to do, not a bare error."""
    shown = taro.browser.submit("/portal/en/links", "/portal/en/links", holder="clinic")
    assert shown.status == 400
    assert "What to do" in shown.html


def test_ending_a_link(taro: Resident) -> None:
    """Asked first; then the organization is not linked any more."""
    page = f"/portal/en/links/{NODE}/end"
    assert "End the link with" in taro.browser.get(page).html
    shown = taro.browser.submit(page, page)
    assert shown.headers["Location"] == "/portal/en/links?done=unlink"
    assert "ended" in taro.browser.get(shown.headers["Location"]).html


def test_page_that_is_not_there_is_a_page(hanako: Resident) -> None:
    """In the visitor's language."""
    shown = hanako.browser.get("/portal/ja/consents/none")
    assert shown.status == 404
    assert "どうすればよいか" in shown.html


# ------------------------------------------------------------------ giving a consent

NEW = "/portal/en/consents/new"
CHOICE = f"?holder={NODE}&dataset_type=health.checkup&recipient=hoshino/market"
TERMS = {
    "holder": NODE,
    "recipient": "hoshino/market",
    "dataset_type": "health.checkup",
    "purposes": "treatment",
    "period": "year",
    "hidden": "",
}


def _text(browser: Browser, **changes: str) -> Shown:
    return browser.submit("/portal/en/links", f"{NEW}/text", **{**TERMS, **changes})


def _hidden(shown: Shown) -> dict[str, str]:
    """Return the hidden fields of the form that says yes."""
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', shown.html))


def test_consent_is_given_word_for_word_as_it_was_shown(taro: Resident) -> None:
    """Choose, read the text, say yes: the signed consent names that text's digest."""
    browser = taro.browser
    assert "health.checkup" in browser.get(NEW).html
    terms = browser.get(NEW + CHOICE)
    assert "special-care personal data" in terms.html
    assert "until I withdraw it" not in terms.html  # The law asks for an end.
    shown = _text(browser)
    fields = _hidden(shown)
    given = browser.send(NEW, None, **fields)
    assert given.status == 303, given.html
    page = browser.get(given.headers["Location"])
    assert "You have given this consent." in page.html
    text = re.search(r"<pre>(.*?)</pre>", shown.html, re.DOTALL)
    assert text
    assert text[1] in page.html
    session = {"Authorization": f"Session {browser.cookie}"}
    listed = taro.browser.node.call("GET", "/v1/me/consents", headers=session).document
    newest = next(c for c in listed["consents"] if c["id"] in given.headers["Location"])
    assert newest["notice_digest"] == fields["notice"]


def test_consent_with_another_text_than_shown_is_not_given(taro: Resident) -> None:
    """A field changed behind the text, or a page left open for long."""
    fields = _hidden(_text(taro.browser))
    later = str(int(fields["starts"]) - 7200)
    for changes in ({"recipient": "hoshino/transit"}, {"starts": later}):
        shown = taro.browser.send(NEW, None, **{**fields, **changes})
        assert shown.status == 200
        assert "The text has changed in the meantime." in shown.html
    assert taro.browser.get("/portal/en/consents").html.count("<article") == 1


def test_consent_needs_both_factors(node: Served) -> None:
    """Who signed in by password alone may look and withdraw."""
    account = {"login": "jiro", "password": PASSWORD, "name": "jiro"}
    assert node.call("POST", "/v1/residents", account, operator=True).status == 201
    browser = Browser(node)
    browser.send("/portal/en/sign-in", login="jiro", password=PASSWORD)
    shown = _text(browser)
    assert "authenticator app as well" in shown.html
    refused = browser.send(NEW, None, **_hidden(shown))
    assert refused.status == 403
    assert "What to do" in refused.html


@pytest.mark.parametrize(
    "changes",
    [
        {"purposes": ""},
        {"purposes": "marketing-by-hand"},
        {"period": "for-ever"},
        {"period": "none"},
        {"recipient": "everybody"},
        {"dataset_type": "health.secrets"},
        {"dataset_type": "nothing"},
    ],
)
def test_consent_that_makes_no_sense_is_explained(
    taro: Resident, changes: dict[str, str]
) -> None:
    """No text is shown, or the law's limit is named when it would be signed."""
    shown = _text(taro.browser, **changes)
    if shown.status == 200:
        shown = taro.browser.send(NEW, None, **_hidden(shown))
    assert 400 <= shown.status < 500
    assert "What to do" in shown.html
    assert taro.browser.get("/portal/en/consents").html.count("<article") == 1


def test_missing_fields_are_explained(taro: Resident) -> None:
    """A form of somebody's own making."""
    for path in (NEW, f"{NEW}/text"):
        shown = taro.browser.submit("/portal/en/links", path, holder=NODE)
        assert 400 <= shown.status < 500, path
