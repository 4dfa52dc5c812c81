# SPDX-License-Identifier: Apache-2.0
"""Words of the pages, in English and Japanese, side by side.

One sentence has one name and two texts; a page asks for it by name in its visitor's
language. Plain words on purpose (やさしい日本語): pages are for everybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Final, Literal, TypeAlias, get_args

Language: TypeAlias = Literal["ja", "en"]
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)
_JST = timezone(timedelta(hours=9), "JST")

TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "name": ("Machikura", "街蔵"),
    "tagline": (
        "See where your data is, who got it, and stop it.",
        "自分のデータがどこにあり、誰に渡ったかを見て、止めることができます。",
    ),
    "skip": ("Skip to the content", "本文へ"),
    "other-language": ("日本語", "English"),
    "menu": ("Menu", "メニュー"),
    "data": ("Where my data is", "データのある場所"),
    "consents": ("My consents", "同意"),
    "links": ("My links", "連携"),
    "sign-in": ("Sign in", "サインイン"),
    "sign-out": ("Sign out", "サインアウト"),
    "login": ("Login name", "ログイン名"),
    "password": ("Password", "パスワード"),
    "code": ("Code of your authenticator app (6 digits)", "認証アプリのコード(6桁)"),
    "code-hint": (
        "Leave it empty if you have set up no app.",
        "アプリを設定していないときは、空のままにしてください。",
    ),
    "signed-out": ("You are signed out.", "サインアウトしました。"),
    "sign-in-failed": (
        "Login name, password or code do not fit. Please try again.",
        "ログイン名、パスワード、コードのどれかが違います。もう一度入れてください。",
    ),
    "sign-in-wait": (
        "Too many attempts. Please try again in {seconds} seconds.",
        "回数が多すぎます。{seconds}秒後にもう一度お試しください。",
    ),
    "data-intro": (
        "Every organization below was asked just now. Nothing was copied here.",
        "下の組織に、いま問い合わせました。ここには何も写していません。",
    ),
    "data-none": ("No data was found.", "データは見つかりませんでした。"),
    "picture": (
        "Cities, organizations and what they hold",
        "都市、組織、保有しているデータ",
    ),
    "picture-text": (
        "Blue: who holds data. Arrows: to whom it went. The table below says the same.",
        "青い枠はデータを持つ組織、矢印は提供した相手です。同じ内容が下の表にあります。",
    ),
    "city": ("City", "都市"),
    "holder": ("Organization", "組織"),
    "dataset-type": ("Kind of data", "データの種類"),
    "count": ("Records", "件数"),
    "period": ("Period", "期間"),
    "shared-with": ("Who got it", "提供した相手"),
    "nobody": ("nobody", "なし"),
    "times": ("{count} times, last {last}", "{count}回、最後は{last}"),
    "asked": ("Who was asked", "問い合わせた相手"),
    "asked-intro": (
        "An organization that did not answer may hold data that you do not see here.",
        "答えがなかった組織には、ここに見えないデータがあるかもしれません。",
    ),
    "party": ("Party", "相手"),
    "answer": ("Answer", "答え"),
    "took": ("Time", "時間"),
    "way": ("By way of", "経由"),
    "status-answer": ("answered", "答えあり"),
    "status-refusal": ("refused", "断られた"),
    "status-timeout": ("no answer", "答えなし"),
    "consents-intro": (
        "What you agreed to. You can pause or withdraw each at any time.",
        "あなたが同意した内容です。いつでも一時停止や撤回ができます。",
    ),
    "consents-none": ("You have given no consent.", "同意はまだありません。"),
    "state": ("State", "状態"),
    "state-active": ("in force", "有効"),
    "state-paused": ("paused", "一時停止中"),
    "state-withdrawn": ("withdrawn", "撤回済み"),
    "state-refused": ("refused", "拒否"),
    "state-expired": ("ended", "期限切れ"),
    "from": ("From", "提供元"),
    "to": ("To", "提供先"),
    "purpose": ("Purpose", "利用目的"),
    "ends": ("Ends", "終わり"),
    "no-end": ("until withdrawn", "撤回するまで"),
    "evidence": ("How you agreed", "同意の方法"),
    "evidence-level": ("level {level}, {method}", "レベル{level}、{method}"),
    "hidden": (
        "The recipient does not learn which organization holds it.",
        "提供先には、どの組織のデータかを知らせません。",
    ),
    "details": ("Details", "詳しく"),
    "shown": ("The text that you agreed to", "同意した文面"),
    "pause": ("Pause", "一時停止"),
    "resume": ("Resume", "再開"),
    "withdraw": ("Withdraw", "撤回"),
    "withdraw-question": (
        "Withdraw this consent for good?",
        "この同意を完全に撤回しますか。",
    ),
    "withdraw-effect": (
        "Everybody named in it is told now. Within {seconds} seconds nobody gets data"
        " under it any more, also those who cannot be reached.",
        "同意に書かれた全員に今すぐ知らせます。連絡できない相手も含めて、"
        "{seconds}秒以内に提供は止まります。",
    ),
    "withdraw-stop": (
        "Stop only: what they have they may keep as the law allows.",
        "停止のみ。すでに渡したデータは、法律の範囲で残ることがあります。",
    ),
    "withdraw-delete": (
        "Stop, and ask them to delete what they have.",
        "停止し、すでに渡したデータの消去も求めます。",
    ),
    "withdraw-now": ("Withdraw now", "撤回する"),
    "cancel": ("Back", "戻る"),
    "told": ("Who was told", "知らせた相手"),
    "told-none": ("Nobody had to be told.", "知らせる相手はありません。"),
    "told-at": ("Told", "知らせた時刻"),
    "acknowledged": ("Acknowledged", "確認の返事"),
    "waiting": ("waiting for the answer", "返事待ち"),
    "done-stopped": ("stopped", "停止した"),
    "done-deleted": ("deleted", "消去した"),
    "done-kept": ("kept on a legal basis", "法的根拠により保存"),
    "give": ("Give a consent", "同意する"),
    "give-intro": (
        "Say whose copy of your data may go to whom. Nothing is decided on this page.",
        "どの組織のデータを誰に渡すかを選びます。このページではまだ決まりません。",
    ),
    "give-level": (
        "For this you have to sign in with the code of your authenticator app as well.",
        "同意するには、認証アプリのコードも使ってサインインしてください。",
    ),
    "recipient-id": (
        "Who shall get it: id, such as minato/clinic",
        "渡す相手のID(例: minato/clinic)",
    ),
    "next": ("Next", "次へ"),
    "purposes": ("For what", "何のために"),
    "needs": ("Needs: {fields}", "必要な項目: {fields}"),
    "how-long": ("How long", "いつまで"),
    "period-month": ("one month", "1か月"),
    "period-half-year": ("half a year", "半年"),
    "period-year": ("one year", "1年"),
    "period-none": ("until I withdraw it", "撤回するまで"),
    "special": (
        "This is special-care personal data: the law asks for an end.",
        "要配慮個人情報です。法律により、期限が必要です。",
    ),
    "hide": (
        "The recipient must not learn which organization holds it.",
        "どの組織のデータかを、渡す相手に知らせない。",
    ),
    "see-text": ("See the text", "文面を見る"),
    "read-text": (
        "Please read this. It is what you agree to, word for word.",
        "よく読んでください。これが同意する文面そのものです。",
    ),
    "text-changed": (
        "The text has changed in the meantime. This is the new one.",
        "文面が変わりました。こちらが新しい文面です。",
    ),
    "may-withdraw": (
        "You can withdraw at any time; within {seconds} seconds it stops everywhere.",
        "いつでも撤回できます。{seconds}秒以内にすべて止まります。",
    ),
    "agree": ("I agree", "同意します"),
    "done-give": (
        "You have given this consent. Everybody in it is told.",
        "同意しました。書かれた全員に知らせます。",
    ),
    "links-intro": (
        "Organizations that know you. To add one, make a code and show it there.",
        "あなたを知っている組織です。増やすときは、コードを作って窓口で見せます。",
    ),
    "links-none": ("No organization is linked.", "連携している組織はありません。"),
    "since": ("Since", "開始"),
    "link-linked": ("linked", "連携中"),
    "link-ended": ("ended", "終了"),
    "new-link": ("Link an organization", "組織と連携する"),
    "holder-id": (
        "Its id, such as hoshino/clinic",
        "組織のID(例: hoshino/clinic)",
    ),
    "make-code": ("Make a code", "コードを作る"),
    "your-code": ("Your code for {holder}", "{holder}のコード"),
    "code-life": (
        "Show it there within {minutes} minutes. It works once.",
        "{minutes}分以内に見せてください。使えるのは1回だけです。",
    ),
    "unlink": ("End", "解除"),
    "unlink-question": (
        "End the link with {holder}?",
        "{holder}との連携を解除しますか。",
    ),
    "unlink-effect": (
        "The organization keeps its own records of you, as it did before the link.",
        "組織がもともと持つ記録は、連携の前と同じように残ります。",
    ),
    "unlink-now": ("End the link", "解除する"),
    "problem": ("This did not work", "できませんでした"),
    "remedy": ("What to do", "どうすればよいか"),
    "reference": ("Reference for questions", "お問い合わせ番号"),
    "start": ("To the first page", "最初のページへ"),
    "done-pause": ("The consent is paused.", "同意を一時停止しました。"),
    "done-resume": ("The consent is in force again.", "同意を再開しました。"),
    "done-withdraw": ("The consent is withdrawn.", "同意を撤回しました。"),
    "done-unlink": ("The link is ended.", "連携を解除しました。"),
}


def text(name: str, language: Language, **values: object) -> str:
    """Return a text.

    Args:
        name: which one.
        language: of the visitor.
        values: what stands for the names in braces.
    """
    english, japanese = TEXTS[name]
    chosen = japanese if language == "ja" else english
    return chosen.format(**values) if values else chosen


def moment(seconds: int | None, language: Language) -> str:
    """Return a point in time as people of that language write it; empty for None.

    Args:
        seconds: since 1970, UTC.
        language: of the visitor. The clock is Japan's in both.
    """
    if seconds is None:
        return ""
    form = "%Y年%m月%d日 %H:%M" if language == "ja" else "%Y-%m-%d %H:%M JST"
    return datetime.fromtimestamp(seconds, _JST).strftime(form)


def day(instant: str, language: Language) -> str:
    """Return the day in Japan of an ISO 8601 time; what is none stays as it is."""
    try:
        at = datetime.fromisoformat(instant)
    except ValueError:
        return instant
    form = "%Y年%m月%d日" if language == "ja" else "%Y-%m-%d"
    # Without a zone it was written in Japan.
    return (at.astimezone(_JST) if at.tzinfo else at).strftime(form)


def other(language: Language) -> Language:
    """Return the language that the page can be switched to."""
    return "en" if language == "ja" else "ja"
