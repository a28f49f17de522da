"""Completion at the prompt: commands, and the names of users after FOLLOW and UNFOLLOW."""

from collections.abc import Iterator

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from snsnode.base.harmless import harmless
from snsnode.client.commands import completions
from snsnode.client.conversation import Conversation


class CommandCompleter(Completer):
    """Completes what ``conversation`` would understand now."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        """Yield what the text before the cursor may become."""
        text = document.text_before_cursor
        talk = self._conversation
        for word, typed in completions(text, talk.known, in_timeline=talk.in_timeline):
            if harmless(word) == word:  # no user has such a name, whatever a server says
                yield Completion(word, start_position=-typed)
