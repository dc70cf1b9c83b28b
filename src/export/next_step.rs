//! [`next_step`]: what follows from the answer to an attempt. Reads no clock, waits for nothing, and knows
//! no connection.

use std::time::Duration;

use super::attempt::{AttemptResult, SendFailure};
use super::endpoint::ExportSignal;
use super::size::Said;
use super::status::Retryability;
use crate::stats::DropReason;

/// After this many cut connections, a large request counts as too large: some endpoints close the
/// connection instead of an answer.
const CUTS: u32 = 2;

/// If a single-span request below this size is refused as too large, the refusal is not about size.
pub(super) const SMALL: usize = 64 << 10;

/// Stands for the reason of a partial success that gives none.
const UNEXPLAINED: &str = "it does not say why: see its own log";

/// The request as far as its next step depends on it, and what its attempts came to.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    pub(super) signal: ExportSignal,
    /// The length before compression.
    pub(super) plain_len: usize,
    pub(super) max_attempts: u32,
    /// The end of the request may have been written by the last attempt.
    pub(super) is_whole: bool,
    pub(super) history: History,
}

/// What the attempts of a request came to. A request that moves to another member keeps it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct History {
    /// Attempts that count: of the others the endpoint certainly saw nothing, or they were probes.
    pub(super) attempts: u32,
    /// Attempts that ended with a cut connection.
    pub(super) cuts: u32,
    /// An earlier attempt may have been taken.
    pub(super) ambiguous: bool,
    /// The request was sent again with new credentials.
    pub(super) has_new_credentials: bool,
}

impl History {
    /// For a part of a request: a new one, which an earlier attempt may have brought.
    pub(super) fn of_part(ambiguous: bool) -> Self {
        Self {
            ambiguous,
            ..Self::default()
        }
    }
}

/// The end of the attempts of one request.
#[derive(Debug, PartialEq)]
pub(super) enum DeliveryEnd {
    Taken {
        rejected: u64,
        message: String,
        /// An earlier attempt may have been taken, too.
        maybe_twice: bool,
    },
    /// `maybe`: an earlier attempt may have been taken.
    TooLarge {
        message: String,
        maybe: bool,
        /// Whether the endpoint answered so; `false`: by our own limit or a cut connection.
        is_said: bool,
    },
    Dropped {
        reason: DropReason,
        message: String,
    },
    /// The member that had it is down, or silent: others have its traces now.
    Moved {
        from: u64,
        history: History,
    },
}

/// What an attempt shows about the endpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Evidence {
    /// It handled the request, with success or a final refusal.
    Handled,
    /// It is there and asks for a later request, with its shortest wait.
    Later(Option<Duration>),
    /// No connection can be made.
    Unreached,
    /// No answer: it may be up or down.
    Unanswered,
    Nothing,
}

/// What follows from an attempt.
#[derive(Debug, PartialEq)]
pub(super) enum NextStep {
    End(DeliveryEnd),
    /// The request, or a part of it, was too large; the client learns the size.
    Learn(Said, DeliveryEnd),
    /// The credentials were refused: another attempt follows at once if there are newer ones, else this end.
    Authenticate(String, DeliveryEnd),
    /// The time left was too short for this attempt.
    OutOfTime,
    /// Another attempt, after a wait. `is_blank`: the endpoint certainly saw nothing, so the attempt uses up
    /// no time.
    Again {
        message: String,
        is_blank: bool,
    },
}

/// What follows from `answer`. `is_probe`: the attempt asked an endpoint that is down.
pub(super) fn next_step(
    answer: AttemptResult,
    is_probe: bool,
    so_far: &mut Progress,
) -> (Evidence, NextStep) {
    let (shown, message, is_blank) = match answer {
        AttemptResult::Taken { rejected, message } => {
            let maybe_twice = so_far.history.ambiguous;
            let is_unexplained = rejected > 0 && message.is_empty();
            let message = match is_unexplained {
                true => UNEXPLAINED.to_owned(),
                false => message,
            };
            let end = DeliveryEnd::Taken {
                rejected,
                message,
                maybe_twice,
            };
            return (Evidence::Handled, NextStep::End(end));
        }
        AttemptResult::Unclear { message } => {
            return (Evidence::Handled, NextStep::End(unsent(true, message)));
        }
        AttemptResult::NotTaken {
            retryability,
            message,
            wait,
            size,
            ..
        } => match retryability {
            Retryability::Retry { maybe_taken } => {
                so_far.history.ambiguous |= maybe_taken;
                (Evidence::Later(wait), message, false)
            }
            _ => {
                return (
                    Evidence::Handled,
                    refused(retryability, message, size, so_far),
                );
            }
        },
        AttemptResult::None { message, lost } => {
            let shown = match lost {
                SendFailure::NoTime => return (Evidence::Nothing, NextStep::OutOfTime),
                SendFailure::Unreached => Evidence::Unreached,
                SendFailure::Unread => Evidence::Later(None),
                SendFailure::Unknown | SendFailure::Cut => {
                    so_far.history.ambiguous |= so_far.is_whole;
                    Evidence::Unanswered
                }
            };
            so_far.history.cuts += u32::from(lost == SendFailure::Cut);
            if so_far.history.cuts >= CUTS && so_far.plain_len > SMALL {
                let end = DeliveryEnd::TooLarge {
                    message,
                    maybe: so_far.history.ambiguous,
                    is_said: false,
                };
                return (shown, NextStep::Learn(Said::TooLarge, end));
            }
            let is_blank = matches!(lost, SendFailure::Unreached | SendFailure::Unread);
            (shown, message, is_blank)
        }
    };
    let counts = !is_blank && !is_probe;
    so_far.history.attempts += u32::from(counts);
    if counts && so_far.history.attempts >= so_far.max_attempts.max(1) {
        let message = format!(
            "gave up after {} attempts: {message}",
            so_far.history.attempts
        );
        return (
            shown,
            NextStep::End(unsent(so_far.history.ambiguous, message)),
        );
    }
    (shown, NextStep::Again { message, is_blank })
}

/// What follows from an answer after which the same request is not sent again.
fn refused(retryability: Retryability, message: String, size: Said, so_far: &Progress) -> NextStep {
    if retryability == Retryability::Split {
        let end = DeliveryEnd::TooLarge {
            message,
            maybe: so_far.history.ambiguous,
            is_said: true,
        };
        return NextStep::Learn(size, end);
    }
    let reason = match (retryability, so_far.signal) {
        (Retryability::Unknown, ExportSignal::Logs) => DropReason::Unsupported,
        _ => DropReason::Refused,
    };
    let end = lost(so_far.history.ambiguous, reason, message.clone());
    match retryability {
        Retryability::Unauthenticated if !so_far.history.has_new_credentials => {
            NextStep::Authenticate(message, end)
        }
        _ => NextStep::End(end),
    }
}

/// The end of a request lost for `reason`; if `ambiguous`, the endpoint may have it, so the reason is
/// `Unconfirmed`.
pub(super) fn lost(ambiguous: bool, reason: DropReason, message: String) -> DeliveryEnd {
    let reason = match ambiguous {
        true => DropReason::Unconfirmed,
        false => reason,
    };
    DeliveryEnd::Dropped { reason, message }
}

pub(super) fn unsent(ambiguous: bool, message: String) -> DeliveryEnd {
    lost(ambiguous, DropReason::Unsent, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = 1 << 20;
    const LATER: Retryability = Retryability::Retry { maybe_taken: false };

    fn begin(signal: ExportSignal) -> Progress {
        Progress {
            signal,
            plain_len: LARGE,
            max_attempts: 3,
            is_whole: true,
            history: History::default(),
        }
    }

    fn not_taken(retryability: Retryability, size: Said) -> AttemptResult {
        AttemptResult::NotTaken {
            retryability,
            message: "no".to_owned(),
            wait: Some(Duration::from_secs(7)),
            size,
            location: None,
        }
    }

    fn none(lost: SendFailure) -> AttemptResult {
        AttemptResult::None {
            message: "no".to_owned(),
            lost,
        }
    }

    fn dropped(reason: DropReason) -> NextStep {
        NextStep::End(ended(reason))
    }

    fn ended(reason: DropReason) -> DeliveryEnd {
        DeliveryEnd::Dropped {
            reason,
            message: "no".to_owned(),
        }
    }

    fn again(is_blank: bool) -> NextStep {
        NextStep::Again {
            message: "no".to_owned(),
            is_blank,
        }
    }

    fn too_large(maybe: bool, is_said: bool) -> DeliveryEnd {
        DeliveryEnd::TooLarge {
            message: "no".to_owned(),
            maybe,
            is_said,
        }
    }

    /// A first attempt of spans, and what follows.
    #[test]
    fn each_answer_has_its_next_step() {
        let taken = AttemptResult::Taken {
            rejected: 2,
            message: String::new(),
        };
        let whole = AttemptResult::Taken {
            rejected: 0,
            message: String::new(),
        };
        let unclear = AttemptResult::Unclear {
            message: "no".to_owned(),
        };
        let is_taken = |rejected, message: &str| {
            NextStep::End(DeliveryEnd::Taken {
                rejected,
                message: message.to_owned(),
                maybe_twice: false,
            })
        };
        let limit = Said::Limit(9);
        let asked = Evidence::Later(Some(Duration::from_secs(7)));
        let authenticate = NextStep::Authenticate("no".to_owned(), ended(DropReason::Refused));
        use DropReason::{Refused, Unconfirmed};
        use Retryability::{Refused as Final, Split, Unauthenticated, Unknown};
        for (answer, shown, step) in [
            (taken, Evidence::Handled, is_taken(2, UNEXPLAINED)),
            (whole, Evidence::Handled, is_taken(0, "")),
            (unclear, Evidence::Handled, dropped(Unconfirmed)),
            (not_taken(LATER, Said::Nothing), asked, again(false)),
            (
                not_taken(Split, limit),
                Evidence::Handled,
                NextStep::Learn(limit, too_large(false, true)),
            ),
            (
                not_taken(Final, Said::Nothing),
                Evidence::Handled,
                dropped(Refused),
            ),
            (
                not_taken(Unknown, Said::Nothing),
                Evidence::Handled,
                dropped(Refused),
            ),
            (
                not_taken(Unauthenticated, Said::Nothing),
                Evidence::Handled,
                authenticate,
            ),
            (
                none(SendFailure::NoTime),
                Evidence::Nothing,
                NextStep::OutOfTime,
            ),
            (
                none(SendFailure::Unreached),
                Evidence::Unreached,
                again(true),
            ),
            (
                none(SendFailure::Unread),
                Evidence::Later(None),
                again(true),
            ),
            (
                none(SendFailure::Unknown),
                Evidence::Unanswered,
                again(false),
            ),
            (none(SendFailure::Cut), Evidence::Unanswered, again(false)),
        ] {
            let what = format!("{answer:?}");
            let mut so_far = begin(ExportSignal::Traces);
            let got = next_step(answer, false, &mut so_far);
            assert_eq!(got, (shown, step), "{what}");
        }
    }

    #[test]
    fn attempts_are_counted_unless_nobody_saw_them_or_they_probe() {
        let mut so_far = begin(ExportSignal::Traces);
        for _ in 0..9 {
            next_step(none(SendFailure::Unreached), false, &mut so_far);
            next_step(none(SendFailure::Unknown), true, &mut so_far);
        }
        assert_eq!(
            (so_far.history.attempts, so_far.history.ambiguous),
            (0, true)
        );
        let later = || not_taken(LATER, Said::Nothing);
        let mut so_far = begin(ExportSignal::Traces);
        for _ in 0..2 {
            let (_, step) = next_step(later(), false, &mut so_far);
            assert_eq!(step, again(false));
        }
        let (_, step) = next_step(later(), false, &mut so_far);
        let end = unsent(false, "gave up after 3 attempts: no".to_owned());
        assert_eq!(step, NextStep::End(end));
    }

    #[test]
    fn what_a_gateway_gave_up_may_have_been_taken() {
        let gave_up = Retryability::Retry { maybe_taken: true };
        let mut so_far = begin(ExportSignal::Traces);
        let (shown, step) = next_step(not_taken(gave_up, Said::Nothing), false, &mut so_far);
        assert!(matches!(shown, Evidence::Later(Some(_))));
        assert_eq!(step, again(false));
        let taken = AttemptResult::Taken {
            rejected: 0,
            message: String::new(),
        };
        let (_, step) = next_step(taken, false, &mut so_far.clone());
        let NextStep::End(DeliveryEnd::Taken { maybe_twice, .. }) = step else {
            panic!("{step:?}");
        };
        assert!(maybe_twice);
        let later = || not_taken(LATER, Said::Nothing);
        next_step(later(), false, &mut so_far);
        let (_, step) = next_step(later(), false, &mut so_far);
        let end = unsent(true, "gave up after 3 attempts: no".to_owned());
        assert_eq!(step, NextStep::End(end));
    }

    #[test]
    fn what_an_earlier_attempt_may_have_brought_is_unconfirmed() {
        let mut so_far = begin(ExportSignal::Traces);
        next_step(none(SendFailure::Unknown), false, &mut so_far);
        let refused = || not_taken(Retryability::Refused, Said::Nothing);
        let (_, step) = next_step(refused(), false, &mut so_far);
        assert_eq!(step, dropped(DropReason::Unconfirmed));
        let mut so_far = begin(ExportSignal::Logs);
        let unknown = not_taken(Retryability::Unknown, Said::Nothing);
        let (_, step) = next_step(unknown, false, &mut so_far);
        assert_eq!(
            step,
            dropped(DropReason::Unsupported),
            "only logs may be unknown"
        );
    }

    #[test]
    fn a_large_request_is_split_after_two_cuts_and_a_small_one_is_not() {
        let cut = || none(SendFailure::Cut);
        let mut so_far = begin(ExportSignal::Traces);
        next_step(cut(), false, &mut so_far);
        let (_, step) = next_step(cut(), false, &mut so_far);
        let end = too_large(true, false);
        assert_eq!(step, NextStep::Learn(Said::TooLarge, end));
        so_far = begin(ExportSignal::Traces);
        so_far.plain_len = SMALL;
        next_step(cut(), false, &mut so_far);
        let (_, step) = next_step(cut(), false, &mut so_far);
        assert_eq!(step, again(false));
    }

    #[test]
    fn a_part_of_a_request_is_not_taken() {
        for lost in [SendFailure::Unknown, SendFailure::Cut] {
            let mut so_far = begin(ExportSignal::Traces);
            so_far.is_whole = false;
            next_step(none(lost), false, &mut so_far);
            assert_eq!(
                (so_far.history.attempts, so_far.history.ambiguous),
                (1, false)
            );
            so_far.is_whole = true;
            next_step(none(lost), false, &mut so_far);
            assert!(so_far.history.ambiguous);
        }
    }

    #[test]
    fn credentials_are_renewed_once() {
        let mut so_far = begin(ExportSignal::Traces);
        so_far.history.has_new_credentials = true;
        let answer = not_taken(Retryability::Unauthenticated, Said::Nothing);
        let (_, step) = next_step(answer, false, &mut so_far);
        assert_eq!(step, dropped(DropReason::Refused));
    }
}
