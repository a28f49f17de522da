"""What a store holds, read past everybody who serves from it."""

from pathlib import Path

from snsnode.base.ids import PostId
from snsnode.store.engines import open_store

PAGE_POSTS = 500


async def stored_texts(url: str, home: Path) -> list[str]:
    """Return the texts of all posts in the store at ``url``, oldest first; a SQLite path starts at ``home``."""
    store = await open_store(url, home)
    try:
        texts: list[str] = []
        after = PostId(0)
        while posts := await store.posts_after(after, PAGE_POSTS):
            texts += [post.text for post in posts]
            after = posts[-1].post_id
        return texts
    finally:
        await store.close()
