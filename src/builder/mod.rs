//! temporary
#![allow(missing_docs)]
mod assemble;
use crate::config::*;
pub struct OtlpBuilder {
    edits: Vec<Box<dyn FnOnce(&mut OtlpConfig) + Send>>,
    parts: assemble::Parts,
}
pub fn builder() -> OtlpBuilder {
    OtlpBuilder {
        edits: vec![],
        parts: Default::default(),
    }
}
macro_rules! cap { ($($n:ident $f:ident),*) => { $(pub fn $n(self, on: bool) -> Self { self.edit(move |c| c.capture.$f = on) })* } }
impl OtlpBuilder {
    fn edit(mut self, f: impl FnOnce(&mut OtlpConfig) + Send + 'static) -> Self {
        self.edits.push(Box::new(f));
        self
    }
    pub fn without_env(self) -> Self {
        self
    }
    pub fn with_limits(self, l: SpanLimits) -> Self {
        self.edit(move |c| c.limits = l)
    }
    pub fn with_max_memory(self, l: usize) -> Self {
        self.edit(move |c| c.batch.max_memory = l)
    }
    pub fn with_max_queue_size(self, l: usize) -> Self {
        self.edit(move |c| c.batch.max_queue_size = l)
    }
    cap!(with_location location, with_target target, with_threads threads, with_level level, with_tracked_inactivity tracked_inactivity, with_error_fields_to_exceptions error_fields_to_exceptions, with_error_events_to_status error_events_to_status, with_error_events_to_exceptions error_events_to_exceptions, with_error_records_to_exceptions error_records_to_exceptions, with_end_on_close end_on_close, with_scope_per_target scope_per_target);
    pub fn with_exporter(mut self, e: impl crate::Exporter) -> Self {
        self.parts.exporter = Some(assemble::start_on(e));
        self
    }
    pub fn with_sampler(mut self, e: impl crate::sampler::Sampler) -> Self {
        self.parts.sampler = Some(Box::new(e));
        self
    }
    pub fn with_id_generator(mut self, e: impl crate::IdGenerator) -> Self {
        self.parts.ids = Some(Box::new(e));
        self
    }
    pub fn build(self) -> Result<(crate::OtlpLayer, crate::ShutdownGuard), crate::Error> {
        let mut c = OtlpConfig::default();
        for e in self.edits {
            e(&mut c)
        }
        assemble::assemble(&c, bytes::Bytes::new(), self.parts)
    }
}
