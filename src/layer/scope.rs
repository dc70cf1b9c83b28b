//! Instrumentation scopes: one for all spans, or one for each target.

use std::collections::HashMap;

use bytes::Bytes;

use crate::processor::{BatchProcessor, ScopeId};
use crate::sync::{Mutex, lock};
use crate::wire::request::encode_scope;

#[derive(Debug)]
pub(crate) struct Scopes {
    /// The scope of all spans, as name and version.
    common: ScopeId,
    /// `None`: the common scope for all.
    by_target: Option<Mutex<HashMap<&'static str, ScopeId>>>,
    schema_url: &'static str,
}

impl Scopes {
    pub(crate) fn new(
        processor: &BatchProcessor,
        name: &str,
        version: &str,
        per_target: bool,
        schema_url: &'static str,
    ) -> Self {
        Self {
            common: processor.register_scope(encode(name, version, schema_url)),
            by_target: per_target.then(Mutex::default),
            schema_url,
        }
    }

    #[inline]
    pub(crate) fn of(&self, processor: &BatchProcessor, target: &'static str) -> ScopeId {
        match &self.by_target {
            None => self.common,
            Some(known) => self.of_target(known, processor, target),
        }
    }

    fn of_target(
        &self,
        known: &Mutex<HashMap<&'static str, ScopeId>>,
        processor: &BatchProcessor,
        target: &'static str,
    ) -> ScopeId {
        if let Some(scope) = lock(known).get(target) {
            return *scope;
        }
        // Registered without our lock held. A target that two threads meet at once may get two
        // scopes that are alike.
        let scope = processor.register_scope(encode(target, "", self.schema_url));
        *lock(known).entry(target).or_insert(scope)
    }
}

fn encode(name: &str, version: &str, schema_url: &str) -> Bytes {
    let mut out = Vec::new();
    encode_scope(&mut out, name, version, schema_url);
    out.into()
}
