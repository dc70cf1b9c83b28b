//! [`Origin`]: the resource and scope that spans and log records come from.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::text;
use crate::wire::decode::{DecodedResource, DecodedValue};

/// What an allocation takes beyond its contents.
const ALLOCATION: usize = 24;

/// Where spans and log records come from: a resource and a scope, encoded.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) resource: Box<[u8]>,
    pub(super) scope: Box<[u8]>,
    /// The resource's `service.name`.
    pub(super) service: Arc<str>,
}

impl Origin {
    pub(super) fn new(resource: &[u8], scope: &[u8]) -> Self {
        let decoded = DecodedResource::decode(resource).unwrap_or_default();
        let names = decoded.attributes.iter().rev();
        let mut names = names.filter(|(key, _)| *key == crate::semconv::SERVICE_NAME);
        let service = match names.next() {
            Some((_, DecodedValue::String(name))) => *name,
            _ => "",
        };
        Self {
            resource: resource.into(),
            scope: scope.into(),
            service: cut(service).into(),
        }
    }

    pub(super) fn cost(&self) -> usize {
        let contents = self.resource.len() + self.scope.len() + self.service.len();
        contents + size_of::<Self>() + 3 * ALLOCATION + 64
    }
}

impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        self.resource == other.resource && self.scope == other.scope
    }
}

impl Eq for Origin {}

impl Hash for Origin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.resource.hash(state);
        self.scope.hash(state);
    }
}

/// The part of a name that a list shows.
pub(super) fn cut(name: &str) -> &str {
    text::beginning(name, 200)
}
