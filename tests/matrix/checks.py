"""One more look at the outcome, for rows that say more than a kind."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import cnroute
from tests.matrix.running import Course


def _alone(course: Course) -> bool:
    return course.case.places == "alone"


def reset_early(course: Course) -> None:
    """Row 4: nothing was sent where the reset overtook the connect."""
    wanted = "none" if course.result.seen == "connect_error" else "unknown"
    course.expect(course.result.billing == wanted, f"billing {course.result.billing} of a {course.result.seen}")


def alarm(course: Course) -> None:
    """Rows 9 to 11, 42, 43: one attempt; the deployment is left alone, and the log says so at error level."""
    course.expect(len([each for each in course.seen.attempts if each.deployment == "first"]) == 1, "asked more than once")
    if not _alone(course):
        cooled = course.router.health()["first"]["cool_down_seconds"]
        course.expect(55 <= cooled <= 600, f"left alone for {cooled} s only")


def one_request(course: Course) -> None:
    """The vendor was asked once, and the target of a redirect never."""
    course.expect(len(course.asked_first) == 1, f"{len(course.asked_first)} requests at the first vendor, not 1")
    if course.stage.target is not None:
        course.insist(not course.stage.target.requests, "a redirect was followed")
        course.insist("secret" not in repr(course.seen.error), "the path of a redirect is shown")


def nothing_raw(course: Course) -> None:
    """Row 24: no byte of the noise in the message."""
    text = repr(course.seen.attempts[0].failure)
    course.insist(text.isascii() and text.isprintable(), "raw bytes in the message")


def early_413(course: Course) -> None:
    """Row 39: no second vendor for a 413; nothing was charged for it."""
    if course.result.seen == "request_too_large":
        course.expect(course.result.billing == "none", f"billing {course.result.billing} of a 413")


def not_found(course: Course) -> None:
    """Row 44: another vendor may have the model; a bad request it would refuse as well."""
    course.expect(course.result.billing == "none", f"billing {course.result.billing}")
    if not _alone(course):
        wanted = 1 if course.result.seen == "model_not_found" else 0
        course.expect(course.result.asked == wanted, f"the second vendor got {course.result.asked} requests, not {wanted}")


def larger_only(course: Course) -> None:
    """Row 46: the second vendor is asked only where its model is known to take more."""
    if not _alone(course):
        course.expect(course.result.asked in (0, 1), "the second vendor was asked more than once")
        if course.result.asked:
            first, second = (_context(course, name) for name in ("first", "second"))
            course.expect(first is not None and second is not None and second > first, "asked although it is not larger")


def _context(course: Course, name: str) -> int | None:
    info = next((each for each in course.router.models() if each.name == name), None)
    place = course.router._engine.binding.places[name]
    return place.info.context if place.info else info.context if info else None


def two_requests(course: Course) -> None:
    """Row 48: twice at most."""
    course.insist(len(course.asked_first) <= 2, f"{len(course.asked_first)} requests at the first vendor")


def waited(course: Course) -> None:
    """Row 49: alone, the second request comes after the vendor's second; with another vendor nobody waits."""
    attempts = course.seen.attempts
    if _alone(course):
        course.expect(course.kind == "ok" and len(course.asked_first) == 2, f"{course.kind}, {len(course.asked_first)} requests")
        course.expect(course.seen.seconds >= 1.0, f"only {course.seen.seconds:.2f} s passed")
    else:
        course.expect(course.seen.seconds < 0.8, "waited although there was another vendor")
        course.expect([each.deployment for each in attempts] == ["first", "second"], "not first, then second")
    course.expect(attempts[0].billing == "none", "a 429 may have been charged")


def one_hour(course: Course) -> None:
    """Row 50: the vendor's own value is on the error, and nobody waits for it."""
    if course.seen.error is not None:
        course.expect(course.seen.error.retry_after == 3600, f"retry_after {course.seen.error.retry_after}")
        course.expect(len(course.asked_first) == 1, "asked again")


def busy(course: Course) -> None:
    """Row 54: nothing was charged by an overloaded vendor."""
    wanted = "none" if course.result.seen == "overloaded" else "unknown"
    course.expect(course.result.billing == wanted, f"billing {course.result.billing} of a {course.result.seen}")


def short_text(course: Course) -> None:
    """Rows 53 and 63: a short message, whatever the vendor sent."""
    failure = course.seen.attempts[0].failure
    course.expect(failure is not None and len(failure.message) <= 500, "more than 500 characters of the vendor's text")


def one_line(course: Course) -> None:
    """Row 64: nothing in the message can begin a line of its own or colour a terminal."""
    text = str(course.seen.error)
    course.insist(text.isprintable() and "\u202e" not in text and "\u2066" not in text, "the message is not one clean line")


def code_4711(course: Course) -> None:
    """Row 74: the code that nobody knows is kept."""
    failure = course.seen.attempts[0].failure
    course.expect(failure is not None and failure.vendor_code == "4711", "the vendor's code is lost")


# -- usage and money


def _bill(course: Course) -> Decimal:
    cost = course.seen.reply.cost
    return cost.high if cost is not None else Decimal(0)


def usage_unknown(course: Course) -> None:
    """Rows 86, 89, 103: a number that is none is unknown; the cost stays finite, positive and small."""
    if course.error is not None:
        return
    usage = course.seen.reply.usage
    numbers = [] if usage is None else [usage.input_tokens, usage.output_tokens, usage.total_tokens]
    course.expect(all(each is None or 0 <= each <= 10**9 for each in numbers), f"usage {numbers}")
    bill = _bill(course)
    course.insist(bill.is_finite() and 0 <= bill < 1, f"the bill is {bill}")


def usage_none(course: Course) -> None:
    """Row 101: no usage is no usage, and no exact cost is made up."""
    reply = course.seen.reply
    course.expect(reply.usage is None, f"usage {reply.usage}")
    course.expect(reply.cost is None or reply.cost.estimated, "a cost was made up")


def usage_int_or_unknown(course: Course) -> None:
    """Row 102: read as an int, or unknown."""
    usage = course.seen.reply.usage
    numbers = [] if usage is None else [usage.input_tokens, usage.output_tokens, usage.total_tokens]
    course.expect(all(each is None or type(each) is int for each in numbers), f"usage {numbers}")


def exact_usage(course: Course) -> None:
    """Row 136: exactly what the vendor wrote, in text and usage."""
    if course.error is None:
        entry = course.asked_first[0]
        course.insist(entry.answered == course.seen.text, "the text is not what the vendor wrote")
        total = (entry.usage or {}).get("total_tokens")
        usage = course.seen.reply.usage
        seen = usage.total_tokens if usage is not None else None
        course.expect(total is None or seen == total, f"usage {seen}, the vendor wrote {total}")


# -- texts


def marker_only(course: Course) -> None:
    """Rows 92 and 93: what can be read is there."""
    if course.error is None:
        marker = course.prompt.split()[-1]
        course.expect(course.seen.reply.text.startswith(marker), "the readable beginning is lost")
        course.seen.reply.text.encode("utf-8")


def encodes(course: Course) -> None:
    """Row 95: the text can be written down."""
    text = course.seen.reply.text
    course.expect(text.encode("utf-8") and text.endswith(course.stage.emulator.answer(course.prompt)), "the text is not exact")


def nul_kept(course: Course) -> None:
    """Row 96: U+0000 is text."""
    wanted = "\0" + course.stage.emulator.answer(course.prompt)
    course.expect(course.seen.reply.text == wanted, "U+0000 is not kept")


def empty_text(course: Course) -> None:
    """Row 100: an empty answer is an answer."""
    course.expect(course.seen.reply.text == "", "the text is not empty")


# -- streams


def nothing_handed_out(course: Course) -> None:
    """Rows 137 and 139: the consumer saw nothing of the failed vendor."""
    wanted = course.second.answer(course.prompt) if course.error is None else ""
    course.insist(course.seen.text == wanted, "text of the failed vendor was handed out")


def role_only(course: Course) -> None:
    """Row 139: a role commits nothing; only a usage beside it says that something was charged (S3)."""
    nothing_handed_out(course)
    attempt = course.seen.attempts[0]
    wanted = "none" if attempt.usage is None else "billed"
    course.expect(attempt.billing == wanted, f"billing {attempt.billing}, usage {attempt.usage}")


def some_partial(course: Course) -> cnroute.StreamInterruptedError | None:
    """The error carries exactly what was handed out, a proper beginning of the answer."""
    error, answer = course.seen.error, course.stage.emulator.answer(course.prompt)
    if not isinstance(error, cnroute.StreamInterruptedError):
        course.expect(False, f"no StreamInterruptedError but {type(error).__name__}")
        return None
    course.insist(error.partial_text == course.seen.text, "partial_text is not what was handed out")
    course.insist("".join(each.text for each in error.deltas) == error.partial_text, "deltas and partial_text differ")
    course.insist(error.partial_text and answer.startswith(error.partial_text), f"partial_text {error.partial_text!r}")
    return error


def partial(course: Course) -> None:
    """Rows 138 and 141: exactly what the vendor had sent."""
    error, answered = some_partial(course), course.asked_first[0].answered
    if error is not None:
        course.expect(error.partial_text == answered, f"{error.partial_text!r}, the vendor had sent {answered!r}")


def two_events(course: Course) -> None:
    """Row 140: exactly the text of two events."""
    error, answer = some_partial(course), course.stage.emulator.answer(course.prompt)
    if error is not None:
        course.expect(error.partial_text == answer[:3], f"{error.partial_text!r} are not the first two pieces")


def partial_and_code(course: Course) -> None:
    """Row 139: the vendor's own code as well."""
    partial(course)
    course.expect(course.seen.error is not None and course.seen.error.vendor_code, "the vendor's code is lost")


def idle_partial(course: Course) -> None:
    """Row 144: silence is named as the cause."""
    error = some_partial(course)
    course.expect(error is None or error.cause_kind == "idle_timeout", f"cause {error and error.cause_kind}")


def too_large(course: Course) -> None:
    """Row 145: the size is named as the cause."""
    error = course.seen.error
    cause = getattr(error, "cause_kind", None)
    course.expect(cause == "response_too_large", f"cause {cause}")


def prompt_deltas(course: Course) -> None:
    """Row 143: a delta arrives soon after it was sent, not with a later one."""
    arrived: list[float] = course.seen.arrived  # type: ignore[attr-defined]
    late = [at - number * 0.2 for number, at in enumerate(arrived)]
    course.expect(len(arrived) >= 5, f"only {len(arrived)} deltas")
    gaps = [after - before for before, after in itertools.pairwise(arrived[:6])]
    course.expect(all(0.05 < gap < 0.2 + 0.2 + 0.3 for gap in gaps), f"deltas came {[round(gap, 2) for gap in gaps]} s apart")
    course.expect(late[0] < 0.2 + 0.5, f"the first delta came after {late[0]:.2f} s")


def one_delta(course: Course) -> None:
    """Row 147: a whole answer is one delta."""
    texts = [each.text for each in course.seen.deltas if each.text]
    course.expect(texts == [course.stage.emulator.answer(course.prompt)], f"{len(texts)} deltas")


CHECKS: dict[str, Callable[[Course], Any]] = {
    check.__name__: check
    for check in (
        reset_early, alarm, one_request, nothing_raw, early_413, not_found, larger_only, two_requests, waited, one_hour, busy,
        short_text, one_line, code_4711, usage_unknown, usage_none, usage_int_or_unknown, exact_usage, marker_only, encodes,
        nul_kept, empty_text, nothing_handed_out, role_only, some_partial, partial, two_events, partial_and_code, idle_partial,
        too_large, prompt_deltas, one_delta,
    )
}  # fmt: skip

