"""Users, follows, posts and timelines: the gRPC servicer over a store, and live push.

Knows the store's contract and never which engine keeps it.
"""
