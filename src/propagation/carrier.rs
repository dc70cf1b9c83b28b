//! [`Extractor`] and [`Injector`]: read and write access to a request for propagators.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::BuildHasher;

use http::header::{GetAll, Iter, ValueIter};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::header;

/// Reads the names and values of a request, such as its headers.
///
/// The implementations here ignore the case of names, as HTTP does.
///
/// ```
/// use tracing_otlp::propagation::Extractor;
///
/// let carrier = vec![("Baggage".to_owned(), "a=1".to_owned())];
/// assert_eq!(carrier.get("baggage"), Some("a=1"));
/// assert_eq!(carrier.get_all("baggage").count(), 1);
/// ```
pub trait Extractor {
    /// The first value of a name.
    fn get(&self, key: &str) -> Option<&str>;

    /// All values of a name, in their order. By default the value of [`get`](Self::get).
    fn get_all(&self, key: &str) -> Values<'_> {
        Values::from(self.get(key))
    }

    /// All names.
    fn keys(&self) -> Vec<&str>;
}

/// Writes names and values into a request, such as its headers.
pub trait Injector {
    /// Sets a name to a single value, in place of all others. A value that the carrier cannot hold is
    /// left out.
    fn set(&mut self, key: &str, value: &str);

    /// Removes a name, so that a reused carrier does not pass on values of another request. Default: does
    /// nothing, for carriers that begin empty.
    fn remove(&mut self, key: &str) {
        let _ = key;
    }
}

/// The values of a name, in their order, from [`Extractor::get_all`].
///
/// ```
/// use tracing_otlp::propagation::Values;
///
/// assert_eq!(Values::from(Some("a")).collect::<Vec<_>>(), ["a"]);
/// assert_eq!(Values::from(vec!["a", "b"]).collect::<Vec<_>>(), ["a", "b"]);
/// ```
pub struct Values<'a>(CarrierSource<'a>);

impl fmt::Debug for Values<'_> {
    /// Shows no value: a header may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Values").finish_non_exhaustive()
    }
}

enum CarrierSource<'a> {
    One(std::option::IntoIter<&'a str>),
    Many(std::vec::IntoIter<&'a str>),
    Headers(ValueIter<'a, HeaderValue>),
    /// Those of a name among all headers.
    Among(Iter<'a, HeaderValue>, &'static HeaderName),
}

impl<'a> From<Option<&'a str>> for Values<'a> {
    fn from(value: Option<&'a str>) -> Self {
        Self(CarrierSource::One(value.into_iter()))
    }
}

impl<'a> From<Vec<&'a str>> for Values<'a> {
    fn from(values: Vec<&'a str>) -> Self {
        Self(CarrierSource::Many(values.into_iter()))
    }
}

impl<'a> From<GetAll<'a, HeaderValue>> for Values<'a> {
    fn from(values: GetAll<'a, HeaderValue>) -> Self {
        Self(CarrierSource::Headers(values.iter()))
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        match &mut self.0 {
            CarrierSource::One(values) => values.next(),
            CarrierSource::Many(values) => values.next(),
            CarrierSource::Headers(values) => values.next().map(text),
            CarrierSource::Among(all, name) => {
                let name: &HeaderName = name;
                all.find(|(n, _)| *n == name).map(|(_, value)| text(value))
            }
        }
    }
}

/// A value that is no text becomes a text that no format accepts: present, but invalid.
fn text(value: &HeaderValue) -> &str {
    std::str::from_utf8(value.as_bytes()).unwrap_or("\u{fffd}")
}

/// The most headers that are walked through: a walk then costs less than the hash of a name.
const FEW: usize = 5;

impl Extractor for HeaderMap {
    fn get(&self, key: &str) -> Option<&str> {
        // A name of this crate is looked up without parsing it.
        let value = match header::known(key) {
            Some(name) => HeaderMap::get(self, name),
            None => HeaderMap::get(self, key),
        };
        value.map(text)
    }

    fn get_all(&self, key: &str) -> Values<'_> {
        match header::known(key) {
            Some(name) if self.len() <= FEW => Values(CarrierSource::Among(self.iter(), name)),
            Some(name) => HeaderMap::get_all(self, name).into(),
            None => HeaderMap::get_all(self, key).into(),
        }
    }

    fn keys(&self) -> Vec<&str> {
        HeaderMap::keys(self).map(HeaderName::as_str).collect()
    }
}

impl Injector for HeaderMap {
    /// Does nothing if the name or the value is invalid in HTTP.
    fn set(&mut self, key: &str, value: &str) {
        let name = match header::known(key) {
            Some(name) => Some(name.clone()),
            None => HeaderName::from_bytes(key.as_bytes()).ok(),
        };
        if let (Some(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            // A full map stays unchanged.
            let _ = self.try_insert(name, value);
        }
    }

    fn remove(&mut self, key: &str) {
        match header::known(key) {
            Some(name) => HeaderMap::remove(self, name),
            None => HeaderMap::remove(self, key),
        };
    }
}

macro_rules! map {
    ($map:ty $(, $hasher:ident)?) => {
        impl$(<$hasher: BuildHasher>)? Extractor for $map {
            fn get(&self, key: &str) -> Option<&str> {
                let exact = <$map>::get(self, key);
                exact.map(String::as_str).or_else(|| self.get_all(key).next())
            }

            fn get_all(&self, key: &str) -> Values<'_> {
                let with_key = self.iter().filter(|(k, _)| k.eq_ignore_ascii_case(key));
                with_key.map(|(_, v)| v.as_str()).collect::<Vec<_>>().into()
            }

            fn keys(&self) -> Vec<&str> {
                <$map>::keys(self).map(String::as_str).collect()
            }
        }

        impl$(<$hasher: BuildHasher>)? Injector for $map {
            fn set(&mut self, key: &str, value: &str) {
                Injector::remove(self, key);
                self.insert(key.to_owned(), value.to_owned());
            }

            fn remove(&mut self, key: &str) {
                self.retain(|k, _| !k.eq_ignore_ascii_case(key));
            }
        }
    };
}

map!(HashMap<String, String, S>, S);
map!(BTreeMap<String, String>);

impl Extractor for Vec<(String, String)> {
    fn get(&self, key: &str) -> Option<&str> {
        let mut all = self.iter();
        let found = all.find(|(k, _)| k.eq_ignore_ascii_case(key))?;
        Some(&found.1)
    }

    fn get_all(&self, key: &str) -> Values<'_> {
        let with_key = self.iter().filter(|(k, _)| k.eq_ignore_ascii_case(key));
        with_key.map(|(_, v)| v.as_str()).collect::<Vec<_>>().into()
    }

    fn keys(&self) -> Vec<&str> {
        self.iter().map(|(key, _)| key.as_str()).collect()
    }
}

impl Injector for Vec<(String, String)> {
    fn set(&mut self, key: &str, value: &str) {
        Injector::remove(self, key);
        self.push((key.to_owned(), value.to_owned()));
    }

    fn remove(&mut self, key: &str) {
        self.retain(|(k, _)| !k.eq_ignore_ascii_case(key));
    }
}
