"""What observers and the log are told of a call, made only where somebody listens."""

from __future__ import annotations

from cnroute.chat import ChatCompletion
from cnroute.errors import CallError
from cnroute.flow.bill import bill_of
from cnroute.flow.running import Call
from cnroute.notices import AttemptFinished, AttemptSkipped, AttemptStarted, CallFinished
from cnroute.routing.plan import Step


def call_finished(call: Call, outcome: str, completion: ChatCompletion | None, error: CallError | None) -> None:
    """The call has ended; exactly one of these per call."""
    if call.notify is None:
        return
    last = call.attempts[-1] if call.attempts else None
    call.notify(
        CallFinished(
            call_id=call.id, route=call.walk.course.name, stream=call.stream, outcome=outcome,
            seconds=call.clock.monotonic() - call.started, attempts=tuple(call.attempts),
            deployment=last.deployment if last else None, provider=last.provider if last else None,
            model=completion.model if completion else None,
            finish_reason=completion.finish_reason if completion else None,
            usage=completion.usage if completion else last.usage if last else None,
            cost=completion.cost if completion else None,
            bill=completion.bill if completion else bill_of(call.attempts, call.currency), error=error,
            plan=call.walk.plan, metadata=call.request.metadata, **_content(call, completion),
        )
    )


def _content(call: Call, completion: ChatCompletion | None) -> dict[str, str]:
    """Prompt and answer for the log, only where the host asked for them."""
    if not call.log_content:
        return {}
    return {"prompt": call.request.messages[-1].text, "text": completion.text if completion else ""}


def attempt_started(call: Call, step: Step) -> None:
    """A deployment was admitted and is about to be asked."""
    if call.notify is not None:
        deployment = step.place.deployment
        call.notify(
            AttemptStarted(
                call_id=call.id, route=call.walk.course.name, deployment=deployment.name, provider=deployment.provider,
                model=deployment.model, number=len(call.attempts) + 1, stream=call.stream, metadata=call.request.metadata,
            )
        )


def attempt_finished(call: Call, step: Step, decision: str) -> None:
    """The last attempt has ended; `decision` is what follows."""
    if call.notify is not None:
        call.notify(
            AttemptFinished(
                call_id=call.id, route=call.walk.course.name, model=step.place.deployment.model, stream=call.stream,
                attempt=call.attempts[-1], decision=decision, metadata=call.request.metadata,
            )
        )


def candidate_skipped(call: Call, step: Step, reason: str, detail: str) -> None:
    """A candidate was refused before anything was sent."""
    if call.notify is not None:
        deployment = step.place.deployment
        call.notify(
            AttemptSkipped(
                call_id=call.id, route=call.walk.course.name, deployment=deployment.name, provider=deployment.provider,
                reason=reason, detail=detail, metadata=call.request.metadata,
            )
        )
