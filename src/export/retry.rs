//! [`Backoff`]: the waits between attempts, exponential with jitter, never shorter than the endpoint asks
//! for (OTLP-8).

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;

use crate::config::RetryConfig;

/// The longest wait between two probes of an endpoint that is down.
const PROBE_WITHIN: Duration = Duration::from_secs(2);

/// The waits of one request.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    next: Duration,
    max: Duration,
    multiplier: f64,
}

impl Backoff {
    pub(crate) fn new(config: &RetryConfig) -> Self {
        Self {
            next: config.initial_backoff,
            max: config.max_backoff.max(config.initial_backoff),
            multiplier: if config.multiplier.is_finite() {
                config.multiplier.max(1.0)
            } else {
                1.0
            },
        }
    }

    /// Waits between probes of an endpoint that answers "retry later": the first as between attempts, none
    /// longer than [`PROBE_WITHIN`], so that the end of an outage is noticed soon.
    pub(crate) fn probe(config: &RetryConfig) -> Self {
        Self::new(&RetryConfig {
            initial_backoff: config.initial_backoff.min(PROBE_WITHIN),
            max_backoff: config.max_backoff.min(PROBE_WITHIN),
            ..config.clone()
        })
    }

    /// Waits between attempts to connect.
    pub(crate) fn reconnect(config: &RetryConfig) -> Self {
        Self::probe(&RetryConfig {
            initial_backoff: Duration::from_millis(100),
            multiplier: 2.0,
            ..config.clone()
        })
    }

    /// The next wait: between half and all of a growing step, and at least `asked`, from which the steps
    /// continue. `jitter` is a random number between 0 and 1, so that processes spread their retries in time.
    pub(crate) fn wait(&mut self, asked: Option<Duration>, jitter: f64) -> Duration {
        let step = self.next.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0));
        let wait = step.max(asked.unwrap_or_default());
        self.next = Duration::try_from_secs_f64(self.next.as_secs_f64() * self.multiplier)
            .unwrap_or(self.max)
            .min(self.max);
        wait
    }
}

/// The shortest wait that a response asks for.
pub(crate) fn asked_by(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    retry_after(value, SystemTime::now())
}

/// `Retry-After`: seconds, or a date.
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn steps_grow_to_their_limit_and_jitter_halves_them_otlp_8() {
        let config = RetryConfig {
            initial_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(3),
            multiplier: 2.0,
            max_attempts: 9,
        };
        let waits = |jitter| {
            let mut backoff = Backoff::new(&config);
            [(); 4].map(|()| backoff.wait(None, jitter).as_millis())
        };
        assert_eq!(waits(1.0), [1000, 2000, 3000, 3000]);
        assert_eq!(waits(0.0), [500, 1000, 1500, 1500]);
    }

    #[test]
    fn what_the_endpoint_asks_is_the_least_and_the_steps_go_on() {
        let mut backoff = Backoff::new(&RetryConfig::default());
        assert_eq!(
            backoff.wait(Some(Duration::from_secs(7)), 1.0),
            Duration::from_secs(7)
        );
        assert_eq!(backoff.wait(None, 1.0), Duration::from_millis(750));
        assert_eq!(
            backoff.wait(Some(Duration::ZERO), 1.0),
            Duration::from_millis(1125)
        );
    }

    #[test]
    fn an_endpoint_that_is_down_is_probed_within_two_seconds() {
        let config = RetryConfig {
            max_backoff: Duration::from_secs(60),
            ..RetryConfig::default()
        };
        for mut backoff in [Backoff::probe(&config), Backoff::reconnect(&config)] {
            assert!((0..50).all(|_| backoff.wait(None, 1.0) <= PROBE_WITHIN));
        }
    }

    #[test]
    fn absurd_settings_do_not_panic() {
        for multiplier in [f64::NAN, f64::INFINITY, -3.0, 1e300] {
            let mut backoff = Backoff::new(&RetryConfig {
                initial_backoff: Duration::from_secs(1),
                max_backoff: Duration::from_secs(u64::MAX),
                multiplier,
                max_attempts: 1,
            });
            for _ in 0..5 {
                backoff.wait(None, 0.5);
            }
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777 - 90);
        assert_eq!(retry_after(" 120 ", now), Some(Duration::from_secs(120)));
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(retry_after(date, now), Some(Duration::from_secs(90)));
        assert_eq!(retry_after(date, SystemTime::now()), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-1", now), None);
    }
}
