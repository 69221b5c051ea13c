//! Faults, scripted by count.
//!
//! "Second start: throttle; third PUT: cut after 1 MiB; fourth complete: done, but lose the reply." Requests are
//! counted per operation, from 1, after their signature was accepted and before throttling; [`set_faults`]
//! starts the counts anew. The first fault of the list that matches a request is applied to it.
//!
//! [`set_faults`]: crate::Sandbox::set_faults

use std::collections::HashMap;
use std::time::Duration;

use crate::op::Op;

/// One scripted fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Operation it is for.
    pub op: Op,
    /// Which of its requests.
    pub nth: Nth,
    /// What happens.
    pub kind: FaultKind,
    /// At most this many times; `None` is no limit.
    pub limit: Option<u64>,
}

impl Fault {
    /// The `number`-th request (from 1) of `op`.
    pub fn nth(op: Op, number: u64, kind: FaultKind) -> Self {
        Self { op, nth: Nth::Number(number), kind, limit: None }
    }

    /// Every request of `op`.
    pub fn all(op: Op, kind: FaultKind) -> Self {
        Self { op, nth: Nth::All, kind, limit: None }
    }

    /// The first `count` requests of `op`.
    pub fn first(op: Op, count: u64, kind: FaultKind) -> Self {
        Self { limit: Some(count), ..Self::all(op, kind) }
    }
}

/// Which requests of an operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Nth {
    /// The one with this number, from 1.
    Number(u64),
    /// Each whose number is a multiple.
    Every(u64),
    /// All.
    All,
    /// This share of them (0 to 1), chosen by number and seed alone: the same seed gives the same choice.
    Fraction {
        /// Share, 0 to 1.
        share: f64,
        /// Seed of the choice.
        seed: u64,
    },
}

impl Nth {
    fn matches(self, number: u64) -> bool {
        match self {
            Self::Number(wanted) => number == wanted,
            Self::Every(step) => step != 0 && number.is_multiple_of(step),
            Self::All => true,
            Self::Fraction { share, seed } => {
                // The top 32 bits as a number in 0..1; 32 bits fit an f64 exactly.
                let high = u32::try_from(mix(seed ^ mix(number)) >> 32).unwrap_or(u32::MAX);
                f64::from(high) / (f64::from(u32::MAX) + 1.0) < share
            }
        }
    }
}

/// SplitMix64's finaliser: spreads neighbouring numbers over all 64 bits.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What a fault does. "S3" is the presigned PUT or GET, "API" everything else.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultKind {
    /// API: 429 ThrottlingException, S3: 503 SlowDown; nothing done. With a `Retry-After` header if given.
    Throttle {
        /// Value of the header, sent as it is (seconds, a date, or nonsense).
        retry_after: Option<String>,
    },
    /// 500, nothing done.
    ServerErrorBefore,
    /// 500, but the effect is done.
    ServerErrorAfter,
    /// The effect is done; the connection ends without an answer.
    LostReply,
    /// Reads this many bytes of the body, then ends the connection; nothing done.
    CutAfter(u64),
    /// 503 SlowDown (API: 503 ServiceUnavailable), nothing done.
    SlowDown,
    /// S3: 403 AccessDenied "Request has expired"; API: as [`FaultKind::ExpiredToken`]. Nothing done.
    Expired,
    /// The effect is done, the answer comes this much later.
    Hang(Duration),
    /// Nothing is done and no answer comes until the client gives up or the sandbox stops.
    HangForever,
    /// 403 AccessDeniedException (S3: AccessDenied), nothing done.
    AccessDenied,
    /// 403 ExpiredTokenException (S3: ExpiredToken), nothing done.
    ExpiredToken,
    /// The effect is done; the body of the answer is cut in half (an empty one becomes `{`).
    Malformed,
    /// The effect is done; every FileStatus in the answer is `CASEDROP_SANDBOX_UNKNOWN`.
    UnknownStatus,
    /// This answer, nothing done.
    Status {
        /// HTTP status code.
        code: u16,
        /// Error type (S3: code).
        error: String,
        /// Message.
        message: String,
    },
}

impl FaultKind {
    /// Short name, as in the log and in script files.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Throttle { .. } => "throttle",
            Self::ServerErrorBefore => "server-error-before",
            Self::ServerErrorAfter => "server-error-after",
            Self::LostReply => "lost-reply",
            Self::CutAfter(_) => "cut-after",
            Self::SlowDown => "slow-down",
            Self::Expired => "expired",
            Self::Hang(_) => "hang",
            Self::HangForever => "hang-forever",
            Self::AccessDenied => "access-denied",
            Self::ExpiredToken => "expired-token",
            Self::Malformed => "malformed",
            Self::UnknownStatus => "unknown-status",
            Self::Status { .. } => "status",
        }
    }
}

/// The list in force with its counts.
#[derive(Debug, Default)]
pub(crate) struct FaultBook {
    faults: Vec<(Fault, u64)>,
    seen: HashMap<Op, u64>,
    applied: usize,
}

impl FaultBook {
    pub(crate) fn new(faults: Vec<Fault>) -> Self {
        Self { faults: faults.into_iter().map(|fault| (fault, 0)).collect(), seen: HashMap::new(), applied: 0 }
    }

    /// Counts one request and says what befalls it.
    pub(crate) fn next(&mut self, op: Op) -> Option<FaultKind> {
        let seen = self.seen.entry(op).or_default();
        *seen += 1;
        let number = *seen;
        let (fault, used) = self.faults.iter_mut().find(|(fault, used)| {
            fault.op == op && fault.nth.matches(number) && fault.limit.is_none_or(|limit| *used < limit)
        })?;
        *used += 1;
        self.applied += 1;
        Some(fault.kind.clone())
    }

    pub(crate) fn applied(&self) -> usize {
        self.applied
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(fault: Fault, requests: u64) -> Vec<u64> {
        let op = fault.op;
        let mut book = FaultBook::new(vec![fault]);
        (1..=requests).filter(|_| book.next(op).is_some()).collect()
    }

    #[test]
    fn counting_is_per_operation_and_limited() {
        let op = Op::StartAttachedFileUpload;
        assert_eq!(hits(Fault::nth(op, 3, FaultKind::LostReply), 9), [3]);
        assert_eq!(hits(Fault::first(op, 2, FaultKind::LostReply), 9), [1, 2]);
        let every = Fault { nth: Nth::Every(4), ..Fault::all(op, FaultKind::LostReply) };
        assert_eq!(hits(every, 9), [4, 8]);
        let mut book = FaultBook::new(vec![Fault::nth(op, 1, FaultKind::LostReply)]);
        assert_eq!(book.next(Op::PutObject), None);
        assert_eq!(book.next(op), Some(FaultKind::LostReply));
        assert_eq!(book.applied(), 1);
    }

    #[test]
    fn a_fraction_is_a_share_and_repeats_by_seed() {
        let with =
            |seed| Fault { nth: Nth::Fraction { share: 0.25, seed }, ..Fault::all(Op::PutObject, FaultKind::SlowDown) };
        let one = hits(with(1), 4000);
        assert!((800..1200).contains(&one.len()), "{}", one.len());
        assert_eq!(one, hits(with(1), 4000));
        assert_ne!(one, hits(with(2), 4000));
    }
}
