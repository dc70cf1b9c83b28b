//! [`Resource`]: the attributes that identify a process: detected, merged, encoded once.
//!
//! Every request begins with the resource. Attributes from code and variables win over detected ones.
//! Detection reads a few small files, never the network.

mod detect;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use crate::attribute::{KeyValue, Value};
use crate::config::ResourceConfig;
use crate::semconv;
use crate::text;
use crate::wire::value::put_key_value;
use crate::wire::varint::{self, LEN, tag};

/// `ResourceSpans.resource`
const RESOURCE: u8 = tag(1, LEN);
/// `ResourceSpans.schema_url`
const SCHEMA_URL: u8 = tag(3, LEN);
/// `Resource.attributes`
const ATTRIBUTES: u8 = tag(1, LEN);

/// The attributes of the producer of spans: the service, its process, its host. Immutable, each key
/// once, sorted by key.
///
/// ```
/// use tracing_otlp::{KeyValue, Resource, Value};
///
/// let fleet = Resource::new([
///     KeyValue::new("service.namespace", "shop"),
///     KeyValue::new("deployment.environment.name", "staging"),
/// ]);
/// let this = Resource::new([KeyValue::new("deployment.environment.name", "live")]);
/// let merged = fleet.merge(&this);
/// assert_eq!(merged.get("deployment.environment.name"), Some(&Value::from("live")));
/// assert_eq!(merged.iter().count(), 2);
/// ```
#[derive(Clone, PartialEq, Default)]
pub struct Resource {
    attributes: BTreeMap<Cow<'static, str>, Value>,
    schema_url: Cow<'static, str>,
}

impl fmt::Debug for Resource {
    /// Shows only the keys of attributes: a value, such as the arguments of the process, may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("attributes", &self.attributes.keys())
            .field("schema_url", &text::url(&self.schema_url))
            .finish()
    }
}

impl Resource {
    /// A resource with these attributes, without a schema URL. Of entries with the same key the last one
    /// wins; an entry with an empty key is left out.
    pub fn new(attributes: impl IntoIterator<Item = KeyValue>) -> Self {
        let attributes = attributes.into_iter();
        Self {
            attributes: attributes
                .filter(|a| !a.key.is_empty())
                .map(|a| (a.key, a.value))
                .collect(),
            schema_url: Cow::Borrowed(""),
        }
    }

    /// The detected attributes of this process: the groups that are on by default in [`ResourceConfig`],
    /// and `unknown_service:<executable>` for `service.name`.
    ///
    /// `service.instance.id` is the same in each call of a process. An attribute that cannot be detected is left out.
    pub fn detect() -> Self {
        Self::resolve(&ResourceConfig::default())
    }

    /// The detected attributes, overlaid with those of `config`.
    ///
    /// `service.name` is never missing and never empty.
    pub fn resolve(config: &ResourceConfig) -> Self {
        let given =
            Self::new(config.attributes.iter().cloned()).with_schema_url(config.schema_url.clone());
        let found = Self::new(detect::detect(config)).with_schema_url(semconv::SCHEMA_URL);
        let mut merged = found.merge(&given);
        if merged.get(semconv::SERVICE_NAME) == Some(&Value::from("")) {
            merged
                .attributes
                .insert(semconv::SERVICE_NAME.into(), detect::unknown_service());
        }
        merged
    }

    /// With the URL of the schema that the attributes follow, or none if it is empty.
    #[must_use]
    pub fn with_schema_url(mut self, schema_url: impl Into<Cow<'static, str>>) -> Self {
        self.schema_url = schema_url.into();
        self
    }

    /// Merges both; for a key of both, `updating` wins, also with an empty value.
    ///
    /// If one schema URL is empty, the other counts. If the two differ, the result has all attributes and
    /// no schema URL.
    #[must_use]
    pub fn merge(&self, updating: &Self) -> Self {
        let mut attributes = self.attributes.clone();
        attributes.extend(updating.attributes.clone());
        let schema_url = match (&*self.schema_url, &*updating.schema_url) {
            (_, "") => self.schema_url.clone(),
            ("", _) => updating.schema_url.clone(),
            (a, b) if a == b => self.schema_url.clone(),
            _ => Cow::Borrowed(""),
        };
        Self {
            attributes,
            schema_url,
        }
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.attributes.get(key)
    }

    /// All attributes, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.attributes.iter().map(|(k, v)| (k.as_ref(), v))
    }

    /// The URL of the schema that the attributes follow; empty if there is none.
    pub fn schema_url(&self) -> &str {
        &self.schema_url
    }

    /// The encoded fields of `ResourceSpans` other than `scope_spans`.
    pub(crate) fn encode(&self) -> Bytes {
        let mut resource = Vec::new();
        for (key, value) in &self.attributes {
            put_key_value(&mut resource, ATTRIBUTES, key, value);
        }
        let mut out = Vec::with_capacity(resource.len() + self.schema_url.len() + 16);
        varint::put_bytes(&mut out, RESOURCE, &resource);
        if !self.schema_url.is_empty() {
            varint::put_bytes(&mut out, SCHEMA_URL, self.schema_url.as_bytes());
        }
        out.into()
    }
}
