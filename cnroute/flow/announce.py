"""What observers and the log are told of a call, made only where somebody listens."""

from __future__ import annotations

from decimal import Decimal

from cnroute.chat import ChatCompletion, ChatRequest
from cnroute.errors import CallError
from cnroute.flow.answer import clean_id
from cnroute.flow.attempt import Run
from cnroute.flow.bill import bill_of
from cnroute.flow.running import Call
from cnroute.money import plain
from cnroute.notices import AttemptFinished, AttemptSkipped, AttemptStarted, BudgetOverrun, CallFinished, CallStarted
from cnroute.routing.health import Refusal
from cnroute.routing.walk import Step


def call_started(call: Call) -> None:
    """The call begins."""
    if call.audience.hears(CallStarted):
        call.audience.notify(
            CallStarted(
                call_id=call.id, route=call.walk.course.name, stream=call.stream, metadata=call.request.metadata,
                messages=call.request.messages if call.log_content else None,
            )
        )


def call_finished(call: Call, outcome: str, completion: ChatCompletion | None, error: CallError | None) -> None:
    """The call has ended; exactly one of these per call."""
    if not call.audience.hears(CallFinished):
        return
    last = call.attempts[-1] if call.attempts else None
    seconds = call.clock.monotonic() - call.started
    call.audience.notify(
        CallFinished(
            call_id=call.id, route=call.walk.course.name, stream=call.stream, outcome=outcome,
            seconds=seconds, attempts=tuple(call.attempts), started=call.clock.time() - seconds,
            deployment=last.deployment if last else None, provider=last.provider if last else None,
            model=completion.model if completion else None,
            finish_reason=completion.finish_reason if completion else None,
            usage=completion.usage if completion else last.usage if last else None,
            cost=completion.cost if completion else None,
            bill=completion.bill if completion else bill_of(call.attempts, call.currency), error=error,
            plan=call.walk.plan, metadata=call.request.metadata, first_content=call.first_content, **_content(call, completion),
        )
    )


def _content(call: Call, completion: ChatCompletion | None) -> dict[str, str]:
    """Prompt and answer for the log, only where the host asked for them."""
    if not call.log_content:
        return {}
    return {"prompt": call.request.messages[-1].text, "text": completion.text if completion else ""}


def attempt_started(call: Call, step: Step) -> None:
    """A deployment was admitted and is about to be asked."""
    if call.audience.hears(AttemptStarted):
        deployment = step.place.deployment
        call.audience.notify(
            AttemptStarted(
                call_id=call.id, route=call.walk.course.name, deployment=deployment.name, provider=deployment.provider,
                model=deployment.model, number=len(call.attempts) + 1, stream=call.stream, metadata=call.request.metadata,
                base_url=deployment.base_url or "", parameters=_parameters(step.request),
            )
        )


_PARAMETERS = ("temperature", "top_p", "max_tokens", "seed")


def _parameters(request: ChatRequest | None) -> dict[str, float]:
    given = ((name, getattr(request, name, None)) for name in _PARAMETERS)
    return {name: value for name, value in given if value is not None}


def attempt_finished(
    call: Call, step: Step, decision: str, run: Run | None, started: float, completion: ChatCompletion | None = None
) -> None:
    """The last attempt, begun at `started`, has ended; `decision` is what follows."""
    if run is not None and run.committed_at is not None:
        call.first_content = run.committed_at - call.started
    if call.attempts[-1].failure is not None or call.audience.hears(AttemptFinished):
        call.audience.notify(
            AttemptFinished(
                call_id=call.id, route=call.walk.course.name, model=step.place.deployment.model, stream=call.stream,
                attempt=call.attempts[-1], decision=decision, metadata=call.request.metadata,
                first_content=run.first_content_seconds(started) if run is not None else None,
                deltas=len(run.reading.given) if run is not None and run.reading is not None else 0,
                **_vendor_facts(step, completion),
            )
        )


def _vendor_facts(step: Step, completion: ChatCompletion | None) -> dict[str, str | None]:
    if completion is None:
        return {}
    return {
        "finish_reason": completion.finish_reason, "response_model": completion.model,
        "response_id": clean_id(completion.id, step.place),
    }


def candidate_skipped(call: Call, step: Step, refusal: Refusal) -> None:
    """A candidate was refused before anything was sent."""
    if call.audience.hears(AttemptSkipped):
        deployment = step.place.deployment
        call.audience.notify(
            AttemptSkipped(
                call_id=call.id, route=call.walk.course.name, deployment=deployment.name, provider=deployment.provider,
                reason=refusal.reason, detail=refusal.detail, metadata=call.request.metadata,
            )
        )


def budget_overrun(call: Call, step: Step, reserved: Decimal, spent: Decimal) -> None:
    """A vendor charged more than was thought possible."""
    if call.audience.hears(BudgetOverrun):
        deployment = step.place.deployment
        call.audience.notify(
            BudgetOverrun(
                call_id=call.id, route=call.walk.course.name, deployment=deployment.name, provider=deployment.provider,
                reserved=plain(reserved), spent=plain(spent), currency=call.currency, metadata=call.request.metadata,
            )
        )
