use proptest::prelude::*;

use super::*;
use crate::context::{SpanId, TraceContext, TraceFlags, TraceId};
use crate::sampler::{
    AlwaysOff, AlwaysOn, Annotating, ParentThreshold, ProbabilitySampler, RuleBased, When,
};

fn trace(randomness: u64) -> TraceId {
    TraceId::from_bytes((1u128 << 64 | u128::from(randomness)).to_be_bytes())
}

fn parent(randomness: u64, is_sampled: bool, state: &str) -> TraceContext {
    let flags = TraceFlags::from_bits(u8::from(is_sampled));
    TraceContext::new(trace(randomness), SpanId::from_bytes([2; 8]), flags)
        .with_trace_state(TraceState::parse(state).unwrap())
}

/// The decision on a span with this parent, and its trace state (SMP-1).
fn decide(sampler: &dyn Sampler, parent: &TraceContext) -> (bool, String) {
    let input = SamplingInput::new(parent.trace_id(), "s").with_parent(parent);
    let result = sampler.should_sample(&input);
    let state = result.trace_state.as_ref();
    let state = state.unwrap_or(parent.trace_state()).as_str().to_owned();
    (result.is_sampled(), state)
}

const HALF: u64 = 1 << 55;

#[test]
fn thresholds_of_the_built_in_samplers_smp_10() {
    let half = || ProbabilitySampler::new(0.5);
    let on = CompositeSampler::new(AlwaysOn);
    let off = CompositeSampler::new(AlwaysOff);
    let probability = CompositeSampler::new(half());
    let rules = CompositeSampler::new(
        RuleBased::new()
            .with_rule(When::name("t"), AlwaysOn)
            .with_rule(!When::root(), half())
            .with_rule(When::any(), AlwaysOn),
    );
    let no_rule = CompositeSampler::new(RuleBased::new());
    let cases: [(&dyn Sampler, u64, &str, bool, &str); 11] = [
        (&on, 0, "", true, "ot=th:0"),
        (&on, 0, "a=1,ot=th:8;x:y", true, "ot=th:0;x:y,a=1"),
        (&off, HALF, "", false, ""),
        (&off, HALF, "a=1,ot=th:8;x:y", false, "ot=x:y,a=1"),
        (&probability, HALF, "", true, "ot=th:8"),
        (&probability, HALF - 1, "ot=th:4", false, ""),
        (
            &probability,
            0,
            "ot=rv:80000000000000",
            true,
            "ot=th:8;rv:80000000000000",
        ),
        (&rules, HALF, "", true, "ot=th:8"),
        (&rules, HALF - 1, "", false, ""),
        (&no_rule, HALF, "", false, ""),
        (&no_rule, HALF, "ot=th:0", false, ""),
    ];
    for (sampler, randomness, before, sampled, after) in cases {
        let parent = parent(randomness, true, before);
        let expected = (sampled, after.to_owned());
        assert_eq!(
            decide(sampler, &parent),
            expected,
            "{} {before}",
            sampler.description()
        );
    }
    let root = SamplingInput::new(trace(1), "s");
    assert!(rules.should_sample(&root).is_sampled());
}

#[test]
fn a_parent_s_threshold_is_kept_unless_it_contradicts_its_decision_smp_9_smp_10() {
    let sampler = CompositeSampler::new(ParentThreshold::new(ProbabilitySampler::new(0.5)));
    for (randomness, is_sampled, before, after) in [
        (HALF, true, "ot=th:8", "ot=th:8"),
        (HALF, true, "a=1,ot=th:4", "a=1,ot=th:4"),
        // Unknown stays unknown.
        (0, true, "", ""),
        (0, true, "ot=rv:00000000000001", "ot=rv:00000000000001"),
        (HALF, false, "", ""),
        // Contradictions: the decision is followed, the threshold erased.
        (HALF - 1, true, "ot=th:8", ""),
        (
            HALF,
            true,
            "ot=th:8;rv:00000000000001",
            "ot=rv:00000000000001",
        ),
        (HALF, false, "a=1,ot=th:8", "a=1"),
    ] {
        let parent = parent(randomness, is_sampled, before);
        let expected = (is_sampled, after.to_owned());
        assert_eq!(decide(&sampler, &parent), expected, "{parent:?}");
    }
    for (randomness, state) in [(HALF, Some("ot=th:8")), (HALF - 1, None)] {
        let result = sampler.should_sample(&SamplingInput::new(trace(randomness), "s"));
        assert_eq!(result.trace_state.as_ref().map(TraceState::as_str), state);
        assert_eq!(result.is_sampled(), state.is_some());
    }
}

/// Keeps half of all spans, whatever their trace.
struct Unreliable;

impl ComposableSampler for Unreliable {
    fn intent<'a>(&'a self, _: &'a SamplingInput<'_>) -> SamplingIntent<'a> {
        let half = Threshold::from_probability(0.5).unwrap();
        SamplingIntent::sample(half).unreliable()
    }

    fn describe(&self) -> String {
        "Unreliable".to_owned()
    }
}

#[test]
fn without_a_reliable_count_each_span_draws_for_itself_and_no_threshold_is_written_smp_10() {
    let sampler = CompositeSampler::new(Unreliable);
    let parent = parent(HALF, true, "ot=th:8");
    let decisions: Vec<_> = (0..2000).map(|_| decide(&sampler, &parent)).collect();
    let kept = decisions.iter().filter(|(sampled, _)| *sampled).count();
    // Beyond nine standard deviations.
    assert!((800..1200).contains(&kept), "{kept}");
    assert!(decisions.iter().all(|(_, state)| state.is_empty()));
}

/// Writes what it must not, and what it may.
struct Meddler<S>(S);

impl<S: ComposableSampler> ComposableSampler for Meddler<S> {
    fn intent<'a>(&'a self, input: &'a SamplingInput<'_>) -> SamplingIntent<'a> {
        let intent = self.0.intent(input);
        intent.with_trace_state(|state| {
            let state = state.with("mine", "1").unwrap();
            state.with("ot", "th:1;rv:11111111111111").unwrap()
        })
    }

    fn describe(&self) -> String {
        "Meddler".to_owned()
    }
}

#[test]
fn what_others_write_into_ot_does_not_count_smp_7_smp_10() {
    let sampler = CompositeSampler::new(Meddler(ProbabilitySampler::new(0.5)));
    for (before, sampled, after) in [
        ("", true, "ot=th:8,mine=1"),
        ("ot=x:y", true, "ot=th:8;x:y,mine=1"),
        ("ot=rv:00000000000001", false, "ot=rv:00000000000001"),
    ] {
        let parent = parent(HALF, true, before);
        assert_eq!(decide(&sampler, &parent), (sampled, after.to_owned()));
    }
}

#[test]
fn what_is_kept_is_annotated_and_what_is_dropped_is_not_smp_10() {
    let inner = Annotating::new(ProbabilitySampler::new(0.5), [KeyValue::new("a", 1)]);
    let sampler = CompositeSampler::new(Annotating::new(inner, [KeyValue::new("b", 2)]));
    let decide = |randomness| {
        let input = SamplingInput::new(trace(randomness), "s");
        sampler.should_sample(&input).attributes
    };
    assert_eq!(decide(HALF), [KeyValue::new("a", 1), KeyValue::new("b", 2)]);
    assert_eq!(decide(HALF - 1), []);
}

#[test]
fn descriptions_name_the_parts() {
    let rules = RuleBased::new()
        .with_rule(When::name("s"), AlwaysOff)
        .with_rule(
            When::any(),
            Annotating::new(AlwaysOn, [KeyValue::new("a", 1)]),
        );
    let sampler = CompositeSampler::new(ParentThreshold::new(rules));
    assert_eq!(
        sampler.description(),
        "CompositeSampler{ParentThreshold{root:RuleBased{name=\"s\":AlwaysOff,\
         any:Annotating{AlwaysOn,attributes:[a]}}}}"
    );
}

proptest! {
    #[test]
    fn whatever_a_parent_says_a_written_threshold_is_true_smp_9(
        randomness in 0..RANGE,
        is_sampled: bool,
        ot in "(th:[0-9a-f]{1,14})?(;rv:[0-9a-f]{14})?(;[a-z]{1,3}:[a-z0-9.]{0,9})?",
        probability in 0f64..=1.0,
    ) {
        let ot = ot.trim_start_matches(';');
        let state = if ot.is_empty() { String::new() } else { format!("ot={ot}") };
        let parent = parent(randomness, is_sampled, &state);
        let randomness = OtelState::parse(ot).randomness.unwrap_or(randomness);
        let root = ProbabilitySampler::new(probability);
        let samplers: [Box<dyn Sampler>; 3] = [
            Box::new(root.clone()),
            Box::new(CompositeSampler::new(root.clone())),
            Box::new(CompositeSampler::new(ParentThreshold::new(root))),
        ];
        let decisions = samplers.map(|sampler| decide(&sampler, &parent));
        for (sampled, state) in &decisions {
            let state = TraceState::parse(state).unwrap();
            let written = OtelState::of(&state);
            if let Some(threshold) = written.threshold {
                prop_assert!(*sampled == threshold.admits(randomness));
            }
        }
        prop_assert_eq!(&decisions[0], &decisions[1]);
        prop_assert_eq!(decisions[2].0, is_sampled);
    }
}
