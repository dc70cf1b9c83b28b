//! Settings that change while the pipeline runs: [`ConfigStore`].
//!
//! You need this module to change the sampler, the level of each target, or the filter of log records
//! without a restart, for example from an admin endpoint. Spans read the settings without a lock.

use std::any::TypeId;
use std::fmt;

use arc_swap::{ArcSwap, Guard};
use tracing_core::{Level, LevelFilter};
use tracing_subscriber::filter::Targets;

use crate::sampler::{ParentBased, Sampler};
use crate::sync::{Arc, AtomicBool, AtomicUsize, Mutex, Ordering, lock};

/// Settings that can change while the pipeline runs: the sampler, the filter of spans and their events,
/// and the filter of log records.
///
/// A change takes effect for the spans made after it, on every thread, and no span is lost. A trace that
/// has begun keeps its decision if the new sampler follows local parents, as [`ParentBased`], `AlwaysOn`,
/// `AlwaysOff` and `TraceIdRatio` do. Spans read the settings without a lock; with the default sampler
/// and every level they read only two flags. A clone is a handle to the same settings.
/// [`OtlpBuilder::with_config_store`](crate::OtlpBuilder::with_config_store) passes them to a pipeline.
///
/// ```
/// use tracing_otlp::ConfigStore;
/// use tracing_otlp::sampler::{ParentBased, TraceIdRatio};
///
/// let store = ConfigStore::default();
/// store.set_sampler(ParentBased::new(TraceIdRatio::new(0.1)));
/// store.set_span_filter("info,hyper=warn".parse()?);
/// assert!(store.sampler_description().contains("TraceIdRatioBased{0.1}"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ConfigStore(Arc<LiveSettings>);

struct LiveSettings {
    live: ArcSwap<Live>,
    /// Bits of [`SamplingFlags`], derived from `live`. A span reads them alone if they are zero, and loads
    /// `live` otherwise.
    sampling_flags: AtomicUsize,
    /// Whether [`shedding`](Self::shedding) was set by code.
    has_shedding: AtomicBool,
    shedding: AtomicBool,
    /// Held during a change, so that concurrent changes do not overwrite each other.
    changing: Mutex<()>,
}

/// The settings that a new span has to read beside its parent; none by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SamplingFlags(usize);

impl SamplingFlags {
    const SAMPLER: usize = 1;
    const CHILDREN: usize = 2;
    const SPANS: usize = 4;
    const LOGS: usize = 8;
    /// One of the queues that shed traces; the bits from here up are their number.
    const SHEDDING: usize = 16;
    /// The bits that do not depend on the sampler.
    const NOT_SAMPLER: usize = !(Self::SAMPLER | Self::CHILDREN);

    fn of<S: Sampler>(sampler: &S) -> Self {
        let bit = |is_set, bit| if is_set { bit } else { 0 };
        let asks = bit(!is_default(sampler), Self::SAMPLER);
        let for_children = bit(!sampler.follows_local_parent(), Self::CHILDREN);
        Self(asks | for_children)
    }

    /// Whether the sampler has to decide on roots and on children of remote parents. Else it is the
    /// specification's default (SMP-2): a child follows its parent, and every root is sampled.
    #[inline]
    pub(crate) fn asks_sampler(self) -> bool {
        self.0 & (Self::SAMPLER | !(Self::SHEDDING - 1)) != 0
    }

    /// Whether the sampler is the default, which keeps every root.
    pub(crate) fn is_default_sampler(self) -> bool {
        self.0 & Self::SAMPLER == 0
    }

    /// Whether traces are shed, in any pipeline with these settings.
    #[inline]
    pub(crate) fn are_traces_shed(self) -> bool {
        self.0 >= Self::SHEDDING
    }

    /// Whether the sampler has to decide on children of local parents; else they follow the parent.
    #[inline]
    pub(crate) fn asks_for_children(self) -> bool {
        self.0 & Self::CHILDREN != 0
    }

    /// Whether a span or event may be filtered, so that [`ConfigStore::admits`] has to decide.
    #[inline]
    pub(crate) fn has_span_filter(self) -> bool {
        self.0 & Self::SPANS != 0
    }

    /// Whether a log record may be filtered, so that [`ConfigStore::admits_log`] has to decide.
    #[inline]
    pub(crate) fn has_log_filter(self) -> bool {
        self.0 & Self::LOGS != 0
    }
}

/// A consistent snapshot of the settings.
pub(crate) struct Live {
    sampler: Arc<dyn Sampler>,
    span_filter: Targets,
    log_filter: Targets,
}

impl Live {
    pub(crate) fn sampler(&self) -> &dyn Sampler {
        &*self.sampler
    }
}

impl ConfigStore {
    /// With this sampler, and every level of every target.
    pub fn new(sampler: impl Sampler) -> Self {
        Self(Arc::new(LiveSettings {
            sampling_flags: AtomicUsize::new(SamplingFlags::of(&sampler).0),
            live: ArcSwap::from_pointee(Live {
                sampler: Arc::new(sampler),
                span_filter: everything(),
                log_filter: everything(),
            }),
            has_shedding: AtomicBool::new(false),
            shedding: AtomicBool::new(false),
            changing: Mutex::new(()),
        }))
    }

    /// Sets the sampler of spans from now on. Open spans keep their decision.
    pub fn set_sampler<S: Sampler>(&self, sampler: S) {
        let asks = SamplingFlags::of(&sampler).0;
        let sampler: Arc<dyn Sampler> = Arc::new(sampler);
        self.change(|live| {
            let others = self.sampling_flags().0 & SamplingFlags::NOT_SAMPLER;
            self.0
                .sampling_flags
                .store(asks | others, Ordering::Relaxed);
            Live {
                sampler,
                span_filter: live.span_filter.clone(),
                log_filter: live.log_filter.clone(),
            }
        });
    }

    /// Sets the filter of spans and their events from now on. Default: everything is recorded. Open spans
    /// are not affected, nor are other layers of the subscriber.
    ///
    /// A target applies to all targets that begin with it; of several the longest counts. A target without
    /// an entry has the level that stands alone, and none without such: `trace,hyper=warn` filters hyper
    /// alone. A span of the OpenTelemetry API has the name of its instrumentation scope as target, and the
    /// level INFO. The children and events of a filtered span belong to its nearest recorded ancestor.
    pub fn set_span_filter(&self, filter: Targets) {
        self.change(|live| {
            let others = self.sampling_flags().0 & !SamplingFlags::SPANS;
            let bit = usize::from(!is_everything(&filter)) * SamplingFlags::SPANS;
            self.0.sampling_flags.store(others | bit, Ordering::Relaxed);
            Live {
                sampler: Arc::clone(&live.sampler),
                span_filter: filter,
                log_filter: live.log_filter.clone(),
            }
        });
    }

    /// Sets the filter of log records from now on. Default: all events become records.
    ///
    /// It does not affect spans and their events, and [`set_span_filter`](Self::set_span_filter) does not affect log
    /// records. [`OtlpBuilder::with_logs`](crate::OtlpBuilder::with_logs) turns logs on.
    ///
    /// ```
    /// # let store = tracing_otlp::ConfigStore::default();
    /// store.set_log_filter("warn,shop=info".parse()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_log_filter(&self, filter: Targets) {
        self.change(|live| {
            let others = self.sampling_flags().0 & !SamplingFlags::LOGS;
            let bit = usize::from(!is_everything(&filter)) * SamplingFlags::LOGS;
            self.0.sampling_flags.store(others | bit, Ordering::Relaxed);
            Live {
                sampler: Arc::clone(&live.sampler),
                span_filter: live.span_filter.clone(),
                log_filter: filter,
            }
        });
    }

    /// Turns shedding on or off from now on, in place of
    /// [`BatchConfig::shedding`](crate::config::BatchConfig::shedding), for all destinations of the pipelines
    /// with these settings. The worker notes it within a second if spans are being sent.
    pub fn set_shedding(&self, on: bool) {
        self.0.shedding.store(on, Ordering::Relaxed);
        // Release: who sees that it was set sees to what.
        self.0.has_shedding.store(true, Ordering::Release);
    }

    /// Whether shedding is on; `None`: as the settings of each destination say.
    pub fn shedding(&self) -> Option<bool> {
        let is_set = self.0.has_shedding.load(Ordering::Acquire);
        is_set.then(|| self.0.shedding.load(Ordering::Relaxed))
    }

    /// Notes that one more queue sheds traces, or one less.
    pub(crate) fn count_shedding(&self, is_active: bool) {
        let _changing = lock(&self.0.changing);
        let flags = self.sampling_flags().0;
        let flags = match is_active {
            true => flags + SamplingFlags::SHEDDING,
            false => flags.saturating_sub(SamplingFlags::SHEDDING),
        };
        self.0.sampling_flags.store(flags, Ordering::Relaxed);
    }

    /// The description of the sampler.
    pub fn sampler_description(&self) -> String {
        self.load().sampler.description()
    }

    /// The filter of log records.
    pub fn log_filter(&self) -> Targets {
        self.load().log_filter.clone()
    }

    /// The filter of spans and their events.
    pub fn span_filter(&self) -> Targets {
        self.load().span_filter.clone()
    }

    /// The current flags.
    #[inline]
    pub(crate) fn sampling_flags(&self) -> SamplingFlags {
        SamplingFlags(self.0.sampling_flags.load(Ordering::Relaxed))
    }

    /// Whether spans and events of a target and level are recorded.
    pub(crate) fn admits(&self, target: &str, level: Level) -> bool {
        !self.sampling_flags().has_span_filter()
            || self.load().span_filter.would_enable(target, &level)
    }

    /// Whether events of a target and level become log records.
    pub(crate) fn admits_log(&self, target: &str, level: Level) -> bool {
        !self.sampling_flags().has_log_filter()
            || self.load().log_filter.would_enable(target, &level)
    }

    /// The current settings; never waits for a change.
    pub(crate) fn load(&self) -> Guard<Arc<Live>> {
        self.0.live.load()
    }

    fn change(&self, change: impl FnOnce(&Live) -> Live) {
        let changing = lock(&self.0.changing);
        let new = Arc::new(change(&self.load()));
        let old = self.0.live.swap(new);
        // Dropping the old sampler runs foreign code, so it happens outside of the lock.
        drop(changing);
        drop(old);
    }
}

impl Default for ConfigStore {
    /// With the specification's default sampler, and every level of every target.
    fn default() -> Self {
        Self::new(ParentBased::default())
    }
}

impl fmt::Debug for ConfigStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigStore")
            .field("sampler", &self.sampler_description())
            .field("span_filter", &self.span_filter())
            .field("log_filter", &self.log_filter())
            .finish()
    }
}

/// The filter that admits every level of every target; without an entry, [`Targets`] admits none.
fn everything() -> Targets {
    Targets::new().with_default(LevelFilter::TRACE)
}

fn is_everything(filter: &Targets) -> bool {
    filter.default_level() == Some(LevelFilter::TRACE)
        && filter.iter().all(|(_, level)| level == LevelFilter::TRACE)
}

/// All parts of the default sampler are types without fields, so its type identifies it.
fn is_default<S: Sampler>(_: &S) -> bool {
    TypeId::of::<S>() == TypeId::of::<ParentBased>()
}

const _: fn() = || {
    fn promised<T: Send + Sync + 'static>() {}
    promised::<ConfigStore>();
};

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::context::TraceId;
    use crate::sampler::{AlwaysOff, AlwaysOn, SamplingInput, SamplingResult, TraceIdRatio};
    use std::thread;

    fn keeps(store: &ConfigStore) -> bool {
        let input = SamplingInput::new(TraceId::from_bytes([1; 16]), "s");
        store.load().sampler().should_sample(&input).is_sampled()
    }

    #[test]
    fn a_change_is_seen_by_every_handle() {
        let store = ConfigStore::default();
        let other = store.clone();
        assert!(
            !store.sampling_flags().asks_sampler()
                && !store.sampling_flags().has_span_filter()
                && keeps(&store)
        );
        store.set_sampler(AlwaysOff);
        assert!(other.sampling_flags().asks_sampler() && !keeps(&other));
        assert_eq!(other.sampler_description(), "AlwaysOffSampler");
        store.set_span_filter("warn,shop=trace".parse().unwrap());
        assert!(other.sampling_flags().has_span_filter());
        assert!(!other.admits("hyper", Level::INFO) && other.admits("shop", Level::TRACE));
        assert_eq!(
            other.sampler_description(),
            "AlwaysOffSampler",
            "it is as it was"
        );
        other.set_sampler(ParentBased::new(AlwaysOn));
        assert!(!store.sampling_flags().asks_sampler() && keeps(&store));
        assert_eq!(store.span_filter(), "warn,shop=trace".parse().unwrap());
        other.set_span_filter(everything());
        assert!(!store.sampling_flags().has_span_filter() && store.admits("hyper", Level::TRACE));
    }

    #[test]
    fn only_the_default_sampler_needs_no_call_smp_2() {
        let root = ParentBased::new(TraceIdRatio::new(1.0));
        assert!(ConfigStore::new(root).sampling_flags().asks_sampler());
        let boxed: Box<dyn Sampler> = Box::new(ParentBased::default());
        assert!(ConfigStore::new(boxed).sampling_flags().asks_sampler());
        assert!(!ConfigStore::new(root).sampling_flags().asks_for_children());
        assert!(
            !ConfigStore::new(AlwaysOn)
                .sampling_flags()
                .asks_for_children()
        );
        let checks = ParentBased::default().with_local_parent_sampled(TraceIdRatio::new(0.5));
        assert!(
            ConfigStore::new(checks)
                .sampling_flags()
                .asks_for_children()
        );
        let distrusts = ParentBased::default().with_remote_parent_sampled(AlwaysOff);
        assert!(ConfigStore::new(distrusts).sampling_flags().asks_sampler());
        assert!(ConfigStore::new(AlwaysOn).sampling_flags().asks_sampler());
        assert!(
            !ConfigStore::new(ParentBased::default())
                .sampling_flags()
                .asks_sampler()
        );
    }

    #[test]
    fn only_a_filter_that_may_filter_is_read() {
        for (text, may_filter) in [
            ("trace", false),
            ("trace,shop=trace", false),
            ("trace,shop=debug", true),
            ("debug,shop=trace", true),
            ("shop=trace", true),
            ("off", true),
        ] {
            let store = ConfigStore::default();
            store.set_span_filter(text.parse().unwrap());
            assert_eq!(
                store.sampling_flags().has_span_filter(),
                may_filter,
                "{text}"
            );
            store.set_log_filter(text.parse().unwrap());
            assert_eq!(
                store.sampling_flags().has_log_filter(),
                may_filter,
                "{text}"
            );
        }
    }

    #[test]
    fn changes_at_once_from_many_threads_undo_none_of_each_other() {
        let store = ConfigStore::default();
        thread::scope(|s| {
            s.spawn(|| {
                (0..=1000).for_each(|i| {
                    let ratio = f64::from(i) / 1000.0;
                    store.set_sampler(TraceIdRatio::new(ratio));
                })
            });
            s.spawn(|| {
                (0..=1000).for_each(|i| {
                    store.set_span_filter(
                        Targets::new()
                            .with_default(LevelFilter::WARN)
                            .with_target(format!("t{i}"), LevelFilter::TRACE),
                    );
                })
            });
            s.spawn(|| {
                while store.sampler_description() != "TraceIdRatioBased{1}" {
                    assert!(store.admits("any", Level::ERROR));
                }
            });
        });
        assert_eq!(store.sampler_description(), "TraceIdRatioBased{1}");
        assert_eq!(store.span_filter(), "warn,t1000=trace".parse().unwrap());
    }

    #[test]
    fn a_sampler_may_change_the_settings_that_it_is_part_of() {
        struct Once(ConfigStore);

        impl Sampler for Once {
            fn should_sample(&self, _: &SamplingInput<'_>) -> SamplingResult {
                self.0.set_sampler(AlwaysOff);
                SamplingResult::RECORD_AND_SAMPLE
            }

            fn description(&self) -> String {
                "Once".to_owned()
            }
        }

        let store = ConfigStore::default();
        store.set_sampler(Once(store.clone()));
        assert_eq!((keeps(&store), keeps(&store)), (true, false));
    }
}
