//! Where spans go when they end: a processor, under an instrumentation scope that it knows.

use std::collections::HashMap;

use bytes::Bytes;

use crate::processor::{BatchProcessor, ScopeId};
use crate::sync::{Mutex, lock};
use crate::wire::request::encode_scope;

#[derive(Debug)]
pub(crate) struct Outlet {
    pub(super) processor: BatchProcessor,
    /// The scope of all spans.
    common: ScopeId,
    /// `None`: the common scope for all. Otherwise one for each target.
    by_target: Option<Mutex<HashMap<&'static str, ScopeId>>>,
    schema_url: &'static str,
}

impl Outlet {
    pub(crate) fn new(
        processor: BatchProcessor,
        name: &str,
        version: &str,
        per_target: bool,
        schema_url: &'static str,
    ) -> Self {
        Self {
            common: processor.register_scope(encode(name, version, schema_url)),
            processor,
            by_target: per_target.then(Mutex::default),
            schema_url,
        }
    }

    /// The scope of a span with this target.
    #[inline]
    pub(super) fn scope(&self, target: &'static str) -> ScopeId {
        match &self.by_target {
            None => self.common,
            Some(known) => self.scope_of_target(known, target),
        }
    }

    fn scope_of_target(
        &self,
        known: &Mutex<HashMap<&'static str, ScopeId>>,
        target: &'static str,
    ) -> ScopeId {
        if let Some(scope) = lock(known).get(target) {
            return *scope;
        }
        // Registered without our lock held. A target that two threads meet at once may get two
        // scopes that are alike.
        let scope = self
            .processor
            .register_scope(encode(target, "", self.schema_url));
        *lock(known).entry(target).or_insert(scope)
    }
}

fn encode(name: &str, version: &str, schema_url: &str) -> Bytes {
    let mut out = Vec::new();
    encode_scope(&mut out, name, version, schema_url);
    out.into()
}
