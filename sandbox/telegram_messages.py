"""The methods of the Bot API that send, edit and delete messages. Each takes the parameters of a call and returns its `result`."""

import time
from typing import Any

from sandbox.telegram_params import Params, Upload
from sandbox.telegram_rules import (
    DELETABLE_SECONDS,
    MAX_CAPTION,
    MAX_TEXT,
    ApiError,
    Entity,
    File,
    bad_request,
    check_photo,
    decoded,
    forbidden,
    formatted,
    keyboard,
    picture_size,
)
from sandbox.telegram_state import Chat, Message, State
from sandbox.telegram_trouble import Flood

Result = Any


class Messages:
    """What the bot does to messages. Every method raises ApiError for what the server refuses."""

    def __init__(self, state: State, flood: Flood) -> None:
        self._state = state
        self._flood = flood
        self._albums = 0

    def send_message(self, params: Params) -> Result:
        chat = self.writable(params)
        text, entities = _text(params)
        return self.post(chat, params, text=text, entities=entities)

    def send_photo(self, params: Params) -> Result:
        chat = self.writable(params)
        text, entities = _caption(params.values)
        photo = self._photo(params, params.text("photo"), "photo")
        return self.post(chat, params, text=text, entities=entities, photo=photo, spoiler=params.flag("has_spoiler"))

    def send_document(self, params: Params) -> Result:
        chat = self.writable(params)
        text, entities = _caption(params.values)
        return self.post(chat, params, text=text, entities=entities, document=self._document(params, params.text("document"), "document"))

    def send_media_group(self, params: Params) -> Result:
        chat = self.writable(params)
        items = decoded(params.text("media"), "media")
        if not isinstance(items, list) or not 2 <= len(items) <= 10:
            raise bad_request("wrong number of messages to send as an album; it must contain 2-10 messages")
        if len({item.get("type") for item in items}) > 1:
            raise bad_request("documents can't be mixed with other media types")
        contents = [self._media(params, item) for item in items]
        self._flood.spend(chat, len(contents))
        self._albums += 1
        kept = {"album": str(self._albums), "reply_to": _reply_to(params, chat), "topic": _topic(params, chat), **_switches(params)}
        return [self._state.message_json(self._state.new_message(chat, None, **content, **kept)) for content in contents]

    def post(self, chat: Chat, params: Params, **content: Any) -> Result:
        """Sends what a call carries, with the keyboard and the switches that every kind of message has."""
        rows, reply_to = keyboard(params.text("reply_markup"), "invoice" in content), _reply_to(params, chat)
        kept = {"rows": rows, "reply_to": reply_to, "topic": _topic(params, chat), **_switches(params)}
        self._flood.spend(chat)
        return self._state.message_json(self._state.new_message(chat, None, **kept, **content))

    def writable(self, params: Params) -> Chat:
        """The chat of a call, when the bot may write there now."""
        if not (raw := params.text("chat_id")):
            raise bad_request("chat_id is empty")
        number = int(raw) if raw.lstrip("-").isdigit() else 0
        person = self._state.people.get(number)
        if person is None:
            return self._writable_group(number)
        if not person.started:
            raise forbidden("bot can't initiate conversation with a user") if person.met else bad_request("chat not found")
        if person.deactivated:
            raise forbidden("user is deactivated")
        if person.blocked:
            raise forbidden("bot was blocked by the user")
        return self._state.chat(number)

    def _writable_group(self, number: int) -> Chat:
        chat = self._state.chats.get(number)
        if chat is None:
            raise bad_request("chat not found")
        if chat.moved_to is not None:
            problem = "Bad Request: group chat was upgraded to a supergroup chat"
            raise ApiError(400, problem, migrate_to_chat_id=chat.moved_to)
        if chat.bot == "kicked":
            raise forbidden("bot was kicked from the supergroup chat")
        if chat.bot == "left":
            raise forbidden("bot is not a member of the supergroup chat")
        if not chat.open and chat.bot != "administrator":
            raise bad_request("not enough rights to send text messages to the chat")
        return chat

    def _photo(self, params: Params, source: str, field: str) -> File:
        upload = _upload(params, source, field)
        if upload is None:
            return self._stored(source, photo=True)
        width, height, media_type = check_photo(upload.data)
        name = upload.name if "." in upload.name else f"{upload.name}.{media_type.rpartition('/')[2]}"
        return self._state.keep(upload.data, name, media_type, width, height)

    def _document(self, params: Params, source: str, field: str) -> File:
        upload = _upload(params, source, field)
        if upload is None:
            return self._stored(source, photo=False)
        if not upload.data:
            raise bad_request("file must be non-empty")
        found = picture_size(upload.data)
        return self._state.keep(upload.data, upload.name, found[2] if found else upload.media_type)

    def _stored(self, source: str, photo: bool) -> File:
        file = self._state.files.get(source)
        if file is None:
            raise bad_request(
                "wrong remote file identifier specified: Wrong string length" if source else "there is no media in the request"
            )
        if photo != bool(file.width):
            raise bad_request("can't use file of this type")
        return file

    def _media(self, params: Params, item: Any) -> dict[str, Any]:
        """An InputMedia object as the content of a message."""
        if not isinstance(item, dict) or item.get("type") not in ("photo", "document"):
            raise bad_request("can't parse InputMedia: type must be photo or document in this sandbox")
        text, entities = _caption({key: str(value) for key, value in item.items()})
        content: dict[str, Any] = {"text": text, "entities": entities, "photo": None, "document": None}
        if item["type"] == "document":
            return content | {"document": self._document(params, str(item.get("media", "")), "")}
        return content | {"photo": self._photo(params, str(item.get("media", "")), ""), "spoiler": bool(item.get("has_spoiler"))}

    # Editing and deleting

    def edit_text(self, params: Params) -> Result:
        message = self._editable(params)
        if message.file or message.invoice:
            raise bad_request("there is no text in the message to edit")
        text, entities = _text(params)
        return self._edit(message, params, text=text, entities=entities)

    def edit_caption(self, params: Params) -> Result:
        message = self._editable(params)
        if not message.file:
            raise bad_request("there is no caption in the message to edit")
        text, entities = _caption(params.values)
        return self._edit(message, params, text=text, entities=entities)

    def edit_media(self, params: Params) -> Result:
        message = self._editable(params)
        if message.invoice:
            raise bad_request("message can't be edited")
        return self._edit(message, params, **self._media(params, decoded(params.text("media"), "media")))

    def edit_markup(self, params: Params) -> Result:
        return self._edit(self._editable(params), params)

    def _edit(self, message: Message, params: Params, **content: Any) -> Result:
        content["rows"] = keyboard(params.text("reply_markup"), message.invoice is not None)
        self._flood.spend(self._state.chats[message.chat])
        if all(getattr(message, name) == value for name, value in content.items()):
            raise bad_request(
                "message is not modified: specified new message content and reply markup are exactly the same as a current content "
                "and reply markup of the message"
            )
        for name, value in content.items():
            setattr(message, name, value)
        message.edited = True
        self._state.changed(message)
        return self._state.message_json(message)

    def _editable(self, params: Params) -> Message:
        message = self.writable(params).messages.get(params.integer("message_id"))
        if message is None:
            raise bad_request("message to edit not found")
        if message.sender is not None:
            raise bad_request("message can't be edited")
        return message

    def delete_message(self, params: Params) -> Result:
        chat = self.writable(params)
        message = chat.messages.get(params.integer("message_id"))
        if message is None:
            raise bad_request("message to delete not found")
        foreign = chat.kind != "private" and message.sender is not None and chat.bot != "administrator"
        if foreign or message.at <= time.time() - DELETABLE_SECONDS:
            raise bad_request("message can't be deleted")
        self._state.delete(message)
        return True

    def delete_messages(self, params: Params) -> Result:
        listed = params.names("message_ids") or []
        if not 1 <= len(listed) <= 100:
            raise bad_request("there must be 1-100 message identifiers")
        chat = self.writable(params)
        for number in map(int, listed):
            if number in chat.messages:
                self.delete_message(Params({"chat_id": str(chat.id), "message_id": str(number)}))
        return True


def _text(params: Params) -> tuple[str, list[Entity]]:
    text, entities = formatted(params.text("text"), params.text("parse_mode"), MAX_TEXT, "message")
    if not text:
        raise bad_request("message text is empty")
    return text, entities


def _caption(values: dict[str, str]) -> tuple[str, list[Entity]]:
    return formatted(values.get("caption", ""), values.get("parse_mode", ""), MAX_CAPTION, "message caption")


def _upload(params: Params, source: str, field: str) -> Upload | None:
    name = source.removeprefix("attach://") if source.startswith("attach://") else field
    upload = params.uploads.get(name)
    if upload is None and source.startswith("attach://"):
        raise bad_request("file must be non-empty")
    return upload


def _switches(params: Params) -> dict[str, bool]:
    return {"silent": params.flag("disable_notification"), "protected": params.flag("protect_content")}


def _topic(params: Params, chat: Chat) -> int | None:
    """The topic that a call names. One that is closed takes messages of administrators alone."""
    if not (number := params.integer("message_thread_id")):
        return None
    if number not in chat.topics:
        raise bad_request("message thread not found")
    if not chat.topics[number] and chat.bot != "administrator":
        raise bad_request("TOPIC_CLOSED")
    return number


def _reply_to(params: Params, chat: Chat) -> int | None:
    if not (raw := params.text("reply_parameters")):
        return None
    wanted = decoded(raw, "reply parameters")
    number = int(wanted.get("message_id", 0))
    if number not in chat.messages:
        if wanted.get("allow_sending_without_reply"):
            return None
        raise bad_request("message to be replied not found")
    return number
