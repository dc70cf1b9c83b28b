//! [`ParentBased`]: follows the parent's decision.

use std::any::TypeId;

use super::always::{AlwaysOff, AlwaysOn};
use super::input::SamplingInput;
use super::{Sampler, SamplingResult};

/// Follows the parent's decision; another sampler decides on roots.
///
/// A parent is remote or local, sampled or not; each of the four cases can have a sampler of its own.
/// Default: [`AlwaysOn`] below a sampled parent, [`AlwaysOff`] below any other. The default of a
/// pipeline is `ParentBased::new(AlwaysOn)`.
///
/// ```
/// use tracing_otlp::sampler::{ParentBased, ProbabilitySampler};
///
/// // A tenth of what begins here, and a tenth of what callers outside claim to have sampled.
/// let tenth = ProbabilitySampler::new(0.1);
/// let sampler = ParentBased::new(tenth.clone()).with_remote_parent_sampled(tenth);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ParentBased<
    Root = AlwaysOn,
    RemoteSampled = AlwaysOn,
    RemoteNotSampled = AlwaysOff,
    LocalSampled = AlwaysOn,
    LocalNotSampled = AlwaysOff,
> {
    root: Root,
    remote_sampled: RemoteSampled,
    remote_not_sampled: RemoteNotSampled,
    local_sampled: LocalSampled,
    local_not_sampled: LocalNotSampled,
}

impl Default for ParentBased {
    /// Keeps every root.
    fn default() -> Self {
        Self::new(AlwaysOn)
    }
}

impl<Root: Sampler> ParentBased<Root> {
    /// `root` decides on spans without a parent.
    pub fn new(root: Root) -> Self {
        Self {
            root,
            remote_sampled: AlwaysOn,
            remote_not_sampled: AlwaysOff,
            local_sampled: AlwaysOn,
            local_not_sampled: AlwaysOff,
        }
    }
}

impl<Root, RemoteSampled, RemoteNotSampled, LocalSampled, LocalNotSampled>
    ParentBased<Root, RemoteSampled, RemoteNotSampled, LocalSampled, LocalNotSampled>
{
    /// The sampler of children of a sampled remote parent. Default [`AlwaysOn`].
    #[must_use]
    pub fn with_remote_parent_sampled<S: Sampler>(
        self,
        sampler: S,
    ) -> ParentBased<Root, S, RemoteNotSampled, LocalSampled, LocalNotSampled> {
        ParentBased {
            root: self.root,
            remote_sampled: sampler,
            remote_not_sampled: self.remote_not_sampled,
            local_sampled: self.local_sampled,
            local_not_sampled: self.local_not_sampled,
        }
    }

    /// The sampler of children of an unsampled remote parent. Default [`AlwaysOff`].
    #[must_use]
    pub fn with_remote_parent_not_sampled<S: Sampler>(
        self,
        sampler: S,
    ) -> ParentBased<Root, RemoteSampled, S, LocalSampled, LocalNotSampled> {
        ParentBased {
            root: self.root,
            remote_sampled: self.remote_sampled,
            remote_not_sampled: sampler,
            local_sampled: self.local_sampled,
            local_not_sampled: self.local_not_sampled,
        }
    }

    /// The sampler of children of a sampled local parent. Default [`AlwaysOn`].
    #[must_use]
    pub fn with_local_parent_sampled<S: Sampler>(
        self,
        sampler: S,
    ) -> ParentBased<Root, RemoteSampled, RemoteNotSampled, S, LocalNotSampled> {
        ParentBased {
            root: self.root,
            remote_sampled: self.remote_sampled,
            remote_not_sampled: self.remote_not_sampled,
            local_sampled: sampler,
            local_not_sampled: self.local_not_sampled,
        }
    }

    /// The sampler of children of an unsampled local parent. Default [`AlwaysOff`].
    #[must_use]
    pub fn with_local_parent_not_sampled<S: Sampler>(
        self,
        sampler: S,
    ) -> ParentBased<Root, RemoteSampled, RemoteNotSampled, LocalSampled, S> {
        ParentBased {
            root: self.root,
            remote_sampled: self.remote_sampled,
            remote_not_sampled: self.remote_not_sampled,
            local_sampled: self.local_sampled,
            local_not_sampled: sampler,
        }
    }
}

/// Below a sampled parent, [`AlwaysOn`] follows the parent, so the parent's threshold stays valid
/// (SMP-9).
fn below_sampled<S: Sampler>(sampler: &S, input: &SamplingInput<'_>) -> SamplingResult {
    if TypeId::of::<S>() == TypeId::of::<AlwaysOn>() {
        return SamplingResult::RECORD_AND_SAMPLE;
    }
    sampler.should_sample(input)
}

impl<Root, RemoteSampled, RemoteNotSampled, LocalSampled, LocalNotSampled> Sampler
    for ParentBased<Root, RemoteSampled, RemoteNotSampled, LocalSampled, LocalNotSampled>
where
    Root: Sampler,
    RemoteSampled: Sampler,
    RemoteNotSampled: Sampler,
    LocalSampled: Sampler,
    LocalNotSampled: Sampler,
{
    fn should_sample(&self, input: &SamplingInput<'_>) -> SamplingResult {
        let Some(parent) = input.parent else {
            return self.root.should_sample(input);
        };
        match (parent.is_remote(), parent.is_sampled()) {
            (true, true) => below_sampled(&self.remote_sampled, input),
            (true, false) => self.remote_not_sampled.should_sample(input),
            (false, true) => below_sampled(&self.local_sampled, input),
            (false, false) => self.local_not_sampled.should_sample(input),
        }
    }

    fn follows_local_parent(&self) -> bool {
        // Types without fields, so the type alone identifies the sampler.
        TypeId::of::<LocalSampled>() == TypeId::of::<AlwaysOn>()
            && TypeId::of::<LocalNotSampled>() == TypeId::of::<AlwaysOff>()
    }

    fn description(&self) -> String {
        format!(
            "ParentBased{{root:{},remoteParentSampled:{},remoteParentNotSampled:{},\
             localParentSampled:{},localParentNotSampled:{}}}",
            self.root.description(),
            self.remote_sampled.description(),
            self.remote_not_sampled.description(),
            self.local_sampled.description(),
            self.local_not_sampled.description(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribute::KeyValue;
    use crate::context::{SpanId, TraceContext, TraceFlags, TraceId};
    use crate::sampler::{SamplingDecision, TraceIdRatio};

    /// Says its name.
    #[derive(Debug, Clone, Copy)]
    struct Named(&'static str);

    impl Sampler for Named {
        fn should_sample(&self, _: &SamplingInput<'_>) -> SamplingResult {
            SamplingResult {
                attributes: vec![KeyValue::new(self.0, true)],
                ..SamplingDecision::RecordOnly.into()
            }
        }

        fn description(&self) -> String {
            self.0.to_owned()
        }
    }

    fn parent(is_remote: bool, flags: TraceFlags) -> TraceContext {
        let (trace, span) = (TraceId::from_bytes([1; 16]), SpanId::from_bytes([2; 8]));
        TraceContext::new(trace, span, flags).with_remote(is_remote)
    }

    const NOT_SAMPLED: TraceFlags = TraceFlags::RANDOM;
    const SAMPLED: TraceFlags = TraceFlags::SAMPLED;

    #[test]
    fn each_of_five_branches_asks_its_own_sampler_smp_3() {
        let sampler = ParentBased::new(Named("root"))
            .with_remote_parent_sampled(Named("remote sampled"))
            .with_remote_parent_not_sampled(Named("remote not"))
            .with_local_parent_sampled(Named("local sampled"))
            .with_local_parent_not_sampled(Named("local not"));
        let cases = [
            (None, "root"),
            (Some(parent(true, SAMPLED)), "remote sampled"),
            (Some(parent(true, NOT_SAMPLED)), "remote not"),
            (Some(parent(false, SAMPLED)), "local sampled"),
            (Some(parent(false, NOT_SAMPLED)), "local not"),
        ];
        for (parent, expected) in &cases {
            let mut input = SamplingInput::new(TraceId::from_bytes([1; 16]), "s");
            input.parent = parent.as_ref();
            let said = sampler.should_sample(&input).attributes;
            assert_eq!(said, [KeyValue::new(*expected, true)]);
        }
        assert_eq!(
            sampler.description(),
            "ParentBased{root:root,remoteParentSampled:remote sampled,\
             remoteParentNotSampled:remote not,localParentSampled:local sampled,\
             localParentNotSampled:local not}"
        );
    }

    #[test]
    fn by_default_a_child_follows_its_parent_whatever_the_root_sampler_says_smp_3() {
        let roots: [(bool, Box<dyn Sampler>); 2] = [
            (true, Box::new(ParentBased::new(AlwaysOn))),
            (false, Box::new(ParentBased::new(AlwaysOff))),
        ];
        for (root, sampler) in roots {
            let input = SamplingInput::new(TraceId::from_bytes([1; 16]), "s");
            assert_eq!(sampler.should_sample(&input).is_sampled(), root);
            for is_remote in [true, false] {
                for flags in [SAMPLED, NOT_SAMPLED] {
                    let parent = parent(is_remote, flags);
                    let input = input.with_parent(&parent);
                    let sampled = sampler.should_sample(&input).is_sampled();
                    assert_eq!(sampled, flags.is_sampled());
                }
            }
        }
    }

    #[test]
    fn it_is_as_cheap_as_its_parts() {
        fn is_copy(_: impl Copy) {}
        is_copy(ParentBased::new(TraceIdRatio::new(0.5)));
        assert_eq!(size_of::<ParentBased>(), 0);
    }
}
