//! The processor as a whole, against exporters of every temper.

pub(crate) mod fake;

mod ending;
mod lanes;
mod sending;

use std::time::Duration;

use super::ScopeId;

const SCOPE: ScopeId = ScopeId(0);
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(100);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
