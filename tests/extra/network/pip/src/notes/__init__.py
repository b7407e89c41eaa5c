"""Notes with their words counted."""
import collections

import attrs


@attrs.frozen
class Note:
    text: str

    def words(self):
        return collections.Counter(self.text.split())
