# SPDX-License-Identifier: Apache-2.0
"""The text that the resident sees before consenting, from the draft alone.

Deterministic: the same draft gives the same bytes, whose digest stands in the consent,
so that later everybody can tell what was shown. Every title is followed by its id, and
lines cannot be forged from within a title: the words come from other organizations.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from identity.drafts import ConsentDraft, DraftScope
from protocol.consent import Notice
from protocol.signature import digest_of

VERSION = "1"
_JST = timezone(timedelta(hours=9), "JST")

_CLASSES = {
    "open": ("open data", "オープンデータ"),
    "personal": ("personal data", "パーソナルデータ"),
    "special-care": ("special-care personal data", "要配慮個人情報"),
    "closed": ("data that stays in the city", "都市内限定データ"),
}
_OPERATIONS = {
    "store": ("store", "蓄積"),
    "share": ("share", "共有"),
    "re-provide": ("provide onwards", "再提供"),
    "derive": ("derive new data", "加工"),
}


def render(draft: ConsentDraft) -> str:
    """Return the text in the draft's language."""
    return _japanese(draft) if draft.language == "ja" else _english(draft)


def notice_of(draft: ConsentDraft) -> Notice:
    """Return what the consent says about the text."""
    text = render(draft).encode("utf-8")
    return Notice(digest=digest_of(text), language=draft.language, version=VERSION)


def _english(draft: ConsentDraft) -> str:
    out = draft.opt == "out"
    ends = "until you withdraw" if draft.ends is None else f"to {_utc(draft.ends)}"
    keep = draft.retention_days
    lines = [
        "Consent to the provision of personal data"
        + (" (opt-out: it goes on unless you object)" if out else ""),
        f"From: {_names(draft, draft.holders, 0)}",
        f"To: {_names(draft, draft.recipients, 0)}",
        *(f"Data: {_scope_english(draft, scope)}" for scope in draft.scope),
        f"Purpose: {_names(draft, draft.purposes, 0)}",
        f"Use: {', '.join(_OPERATIONS[o][0] for o in draft.operations)}",
        f"Period: from {_utc(draft.starts)} {ends}",
        "Kept by the recipient: "
        + ("as long as the purpose needs" if keep is None else f"{keep} days"),
    ]
    if draft.hidden_holder:
        lines.append("The recipient does not learn from whom the data comes.")
    lines.append("You can pause or withdraw this consent at any time.")
    return "\n".join(lines) + "\n"


def _japanese(draft: ConsentDraft) -> str:
    out = draft.opt == "out"
    ends = "撤回するまで" if draft.ends is None else f"{_jst(draft.ends)} まで"
    keep = draft.retention_days
    lines = [
        "パーソナルデータの提供への同意"
        + ("(オプトアウト: 停止を求めない限り続きます)" if out else ""),
        f"提供元: {_names(draft, draft.holders, 1)}",
        f"提供先: {_names(draft, draft.recipients, 1)}",
        *(f"データ: {_scope_japanese(draft, scope)}" for scope in draft.scope),
        f"利用目的: {_names(draft, draft.purposes, 1)}",
        f"操作: {'、'.join(_OPERATIONS[o][1] for o in draft.operations)}",
        f"期間: {_jst(draft.starts)} から {ends}",
        "提供先での保存期間: "
        + ("利用目的に必要な間" if keep is None else f"{keep}日間"),
    ]
    if draft.hidden_holder:
        lines.append("提供先には、どの組織のデータであるかを知らせません。")
    lines.append("この同意は、いつでも一時停止または撤回できます。")
    return "\n".join(lines) + "\n"


def _scope_english(draft: ConsentDraft, scope: DraftScope) -> str:
    fields = scope.fields
    text = f"{_name(draft, scope.dataset_type, 0)}, {_CLASSES[scope.data_class][0]}, "
    text += "the fields that the purpose needs" if fields is None else ", ".join(fields)
    if scope.records is not None:
        text += f"; only these records: {', '.join(scope.records)}"
    return text


def _scope_japanese(draft: ConsentDraft, scope: DraftScope) -> str:
    fields = scope.fields
    text = f"{_name(draft, scope.dataset_type, 1)}、{_CLASSES[scope.data_class][1]}、"
    text += "利用目的に必要な項目" if fields is None else "、".join(fields)
    if scope.records is not None:
        text += f"、次の記録のみ: {'、'.join(scope.records)}"
    return text


def _names(draft: ConsentDraft, ids: tuple[str, ...], language: int) -> str:
    return ("、" if language else ", ").join(_name(draft, i, language) for i in ids)


def _name(draft: ConsentDraft, identifier: str, language: int) -> str:
    title = draft.titles.get(identifier, {}).get("ja" if language else "en", "")
    plain = "".join(c if c.isprintable() else " " for c in title)
    plain = " ".join(plain.split())
    return f"{plain} ({identifier})" if plain else identifier


def _utc(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _jst(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, _JST).strftime("%Y-%m-%d %H:%M")
