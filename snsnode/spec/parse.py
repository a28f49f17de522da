"""The way from YAML text to a ``Spec``. Called by ``cli``; pure."""

from collections.abc import Iterator

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from snsnode.spec import draft as drafts
from snsnode.spec import rules, tree
from snsnode.spec.draft import Draft
from snsnode.spec.model import Spec
from snsnode.spec.problems import Mark, Problem, SpecError

LOOK_MAX = 1_000  # problems of keys; beyond, values and rules are not looked at


def parse(text: str, source: str) -> tuple[Spec, tuple[Problem, ...]]:
    """Return the spec in ``text`` and its warnings; ``source`` is the file's name in messages.

    Raises:
        SpecError: with every problem at once.
    """
    try:
        root = tree.read(text)
        if root is None:
            raise tree.Unreadable(Mark(1, 1), "the file is empty: write the keys cluster and vms")
        draft = drafts.make(root)
    except tree.Unreadable as error:
        raise SpecError(source, [error.problem]) from None
    return _checked(draft, source)


def _checked(draft: Draft, source: str) -> tuple[Spec, tuple[Problem, ...]]:
    # A file of another kind altogether: to look further takes seconds, and tells nothing that anybody reads.
    oversize = list(rules.size(draft))
    if oversize or len(draft.problems) > LOOK_MAX:
        raise SpecError(source, [*draft.problems, *oversize])
    problems = [*draft.problems, *rules.errors(draft)]
    try:
        spec = Spec.model_validate(draft.data)
    except ValidationError as error:
        problems += _explained(draft, error)
    if problems:
        raise SpecError(source, problems)
    return spec, tuple(sorted(rules.warnings(draft)))


def _explained(draft: Draft, error: ValidationError) -> Iterator[Problem]:
    for detail in error.errors(include_url=False):
        path = tuple(str(part) for part in detail["loc"])
        is_key = path[-1:] == ("[key]",)
        path = path[:-1] if is_key else path
        # A settled value is reported already; what stands below it is not.
        if path in draft.settled and (is_key or detail["type"] in ("missing", "extra_forbidden")):
            continue
        at_key = is_key or detail["type"] == "missing"
        mark = draft.key_mark(path) if at_key else draft.value_mark(path)
        yield Problem(mark, _sentence(detail, path))


def _sentence(detail: ErrorDetails, path: drafts.Path) -> str:
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"])
    key = path[-1]
    if detail["type"] == "missing":
        owner = f"the VM {path[1]!r}" if path[0] == "vms" and len(path) == 3 else ".".join(path[:-1]) or "the spec"
        return f"{owner} lacks {key!r}: write {key}: {drafts.wanted(path)}"
    if detail["type"] == "extra_forbidden":
        return f"unknown key {key!r}: leave it out"
    return f"{key} is {drafts.what(detail['input'])}: write {drafts.wanted(path)}"
