"""The methods of the Bot API that the stand-in knows, by name; here the ones about the bot itself, people and files."""

from collections.abc import Awaitable, Callable
from typing import Any

from sandbox.telegram_messages import Messages
from sandbox.telegram_params import Params
from sandbox.telegram_rules import MAX_DOWNLOAD_BYTES, MAX_TOAST, ApiError, bad_request, check_commands, check_language, decoded
from sandbox.telegram_stars import Stars
from sandbox.telegram_state import State
from sandbox.telegram_trouble import Flood
from sandbox.telegram_updates import Updates, Webhook

ACTIONS = frozenset(
    ("typing", "upload_photo", "record_video", "upload_video", "record_voice", "upload_voice", "upload_document", "choose_sticker",
     "find_location", "record_video_note", "upload_video_note")
)  # fmt: skip
Result = Any
_GIFTS = ("unlimited_gifts", "limited_gifts", "unique_gifts", "premium_subscription", "gifts_from_channels")
_RIGHTS = (
    "can_be_edited", "is_anonymous", "can_manage_chat", "can_delete_messages", "can_manage_video_chats", "can_restrict_members",
    "can_promote_members", "can_change_info", "can_invite_users", "can_post_stories", "can_edit_stories", "can_delete_stories",
)  # fmt: skip


class Methods:
    """Dispatches calls by name. Tests read `actions`: (chat, action) of every sendChatAction."""

    def __init__(self, state: State, updates: Updates, flood: Flood) -> None:
        self._state = state
        self._updates = updates
        self._messages = messages = Messages(state, flood)
        self.stars = stars = Stars(state, updates, messages)
        self.commands: dict[tuple[str, str], list[dict[str, str]]] = {}
        self.descriptions: dict[tuple[str, str], str] = {}
        self.actions: list[tuple[int, str]] = []
        self.presses: dict[str, tuple[int, int]] = {}  # callback query -> chat, person
        self.toasts: list[tuple[int, str]] = []
        self._methods: dict[str, Callable[[Params], Result | Awaitable[Result]]] = {
            "getme": self._get_me, "getupdates": self._get_updates, "setwebhook": self._set_webhook,
            "deletewebhook": self._delete_webhook, "getwebhookinfo": lambda p: updates.webhook_info(),
            "sendmessage": messages.send_message, "sendphoto": messages.send_photo, "senddocument": messages.send_document,
            "sendmediagroup": messages.send_media_group, "editmessagetext": messages.edit_text,
            "editmessagecaption": messages.edit_caption, "editmessagemedia": messages.edit_media,
            "editmessagereplymarkup": messages.edit_markup, "deletemessage": messages.delete_message,
            "deletemessages": messages.delete_messages, "answercallbackquery": self._answer_callback,
            "sendchataction": self._send_action, "getfile": self._get_file,
            "setmycommands": self._set_commands, "getmycommands": self._get_commands, "deletemycommands": self._delete_commands,
            "setmydescription": lambda p: self._describe("description", 512, p),
            "setmyshortdescription": lambda p: self._describe("short_description", 120, p),
            "getmydescription": lambda p: self._described("description", p),
            "getmyshortdescription": lambda p: self._described("short_description", p),
            "sendinvoice": stars.send_invoice, "createinvoicelink": stars.create_link, "answerprecheckoutquery": stars.answer,
            "refundstarpayment": stars.refund, "getstartransactions": stars.list, "getmystarbalance": stars.balance,
            "getchat": self._get_chat, "getchatmember": self._get_member, "getchatadministrators": self._get_administrators,
        }  # fmt: skip

    async def call(self, method: str, params: Params) -> Result:
        """Performs a call. The name's case does not matter; an unknown one is error 404, as on the real server."""
        handler = self._methods.get(method.lower())
        if handler is None:
            raise ApiError(404, "Not Found: method not found")
        result = handler(params)
        return await result if isinstance(result, Awaitable) else result

    # The bot itself

    def _get_me(self, params: Params) -> Result:
        return self._state.bot_user() | {
            "can_join_groups": True, "can_read_all_group_messages": False, "supports_inline_queries": False,
            "can_connect_to_business": False, "has_main_web_app": False, "has_topics_enabled": False,
            "allows_users_to_create_topics": False, "can_manage_bots": False,
        }  # fmt: skip

    async def _get_updates(self, params: Params) -> Result:
        limit = params.integer("limit", 100)
        return await self._updates.get(params.integer("offset"), limit, params.integer("timeout"), params.names("allowed_updates"))

    async def _set_webhook(self, params: Params) -> Result:
        hook = Webhook(params.text("url"), params.text("secret_token"), min(max(params.integer("max_connections", 40), 1), 100))
        await self._updates.set_webhook(hook, params.names("allowed_updates"), params.flag("drop_pending_updates"))
        return True

    async def _delete_webhook(self, params: Params) -> Result:
        await self._updates.set_webhook(Webhook(""), None, params.flag("drop_pending_updates"))
        return True

    def _set_commands(self, params: Params) -> Result:
        self.commands[_scope(params), check_language(params.text("language_code"))] = check_commands(params.text("commands"))
        return True

    def _get_commands(self, params: Params) -> Result:
        return self.commands.get((_scope(params), check_language(params.text("language_code"))), [])

    def _delete_commands(self, params: Params) -> Result:
        self.commands.pop((_scope(params), check_language(params.text("language_code"))), None)
        return True

    def _describe(self, field: str, limit: int, params: Params) -> Result:
        if len(params.text(field)) > limit:
            raise bad_request(f"bot {field.replace('_', ' ')} is too long")
        self.descriptions[field, check_language(params.text("language_code"))] = params.text(field)
        return True

    def _described(self, field: str, params: Params) -> Result:
        return {field: self.descriptions.get((field, params.text("language_code")), self.descriptions.get((field, ""), ""))}

    # Everything else

    def _answer_callback(self, params: Params) -> Result:
        if len(params.text("text")) > MAX_TOAST:
            raise bad_request("MESSAGE_TOO_LONG")
        press = self.presses.pop(params.text("callback_query_id"), None)
        if press is None:
            raise bad_request("query is too old and response timeout expired or query ID is invalid")
        chat_id, person = press
        self.toasts.append((person, params.text("text")))
        news = {"chat": str(chat_id), "toast": params.text("text"), "alert": params.flag("show_alert")}
        self._state.publish(self._state.chat(chat_id), news, only=person)
        return True

    def _send_action(self, params: Params) -> Result:
        chat = self._messages.writable(params)
        if params.text("action") not in ACTIONS:
            raise bad_request("wrong parameter action in request")
        self.actions.append((chat.id, params.text("action")))
        return True

    def _get_file(self, params: Params) -> Result:
        file = self._state.files.get(params.text("file_id"))
        if file is None:
            raise bad_request("invalid file_id")
        if len(file.data) > MAX_DOWNLOAD_BYTES:
            raise bad_request("file is too big")
        return {"file_id": file.id, "file_unique_id": f"U{file.id}", "file_size": len(file.data), "file_path": file.path}

    def _get_chat(self, params: Params) -> Result:
        chat = self._messages.writable(params)
        full = {"accent_color_id": 0, "max_reaction_count": 11, "accepted_gift_types": dict.fromkeys(_GIFTS, False)}
        return self._state.chat_json(chat) | full

    def _get_member(self, params: Params) -> Result:
        chat, person = self._messages.writable(params), self._state.people.get(params.integer("user_id"))
        if params.integer("user_id") == self._state.bot_id:
            return member_json("administrator" if chat.bot == "administrator" else "member", self._state.bot_user())
        if chat.hidden and chat.bot != "administrator":
            raise bad_request("CHAT_ADMIN_REQUIRED")
        if person is None:
            raise bad_request("invalid user_id specified")
        if chat.kind != "private" and person.id in chat.admins:
            return member_json("administrator", self._state.user_json(person))
        return member_json("member" if person.id in chat.members else "left", self._state.user_json(person))

    def _get_administrators(self, params: Params) -> Result:
        chat = self._messages.writable(params)
        if chat.kind == "private":
            raise bad_request("there are no administrators in the private chat")
        people = [member_json("administrator", self._state.user_json(self._state.people[id])) for id in sorted(chat.admins)]
        return people + ([member_json("administrator", self._state.bot_user())] if chat.bot == "administrator" else [])


def member_json(status: str, user: dict[str, Any]) -> Result:
    """A ChatMember object."""
    rights = {right: right not in ("is_anonymous", "can_be_edited") for right in _RIGHTS} if status == "administrator" else {}
    return {"status": status, "user": user, **rights}


def _scope(params: Params) -> str:
    scope = decoded(params.text("scope"), "scope") if params.text("scope") else {"type": "default"}
    return ":".join(str(scope[key]) for key in ("type", "chat_id", "user_id") if key in scope)
