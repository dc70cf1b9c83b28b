//! The processor as a whole, against exporters of every temper.

pub(crate) mod fake;

mod ending;
mod lanes;
mod sending;

use std::time::Duration;

use super::ScopeId;

const SCOPE: ScopeId = ScopeId(0);
/// Long enough for a loaded machine; a test that passes never waits for it.
const LONG: Duration = Duration::from_secs(120);
/// How late the end of a deadline may be noticed there.
const SLACK: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(100);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
