//! Several endpoints as one setting: a list of URLs, or a name whose addresses are members (`dns:`).

use super::{DEFAULT_GRPC, DEFAULT_HTTP, Endpoint, ExportSignal, Given};
use crate::config::{ConnectionConfig, Protocol};
use crate::error::Error;

/// One item of the setting.
#[derive(Debug, Clone)]
pub(crate) struct EndpointEntry {
    pub(crate) endpoint: Endpoint,
    /// Each address of the host is a member of its own.
    pub(crate) is_name: bool,
}

impl Endpoint {
    /// The first endpoint of the settings.
    #[cfg(any(test, all(fuzzing, feature = "testing")))]
    pub(crate) fn resolve(config: &ConnectionConfig, signal: ExportSignal) -> Result<Self, Error> {
        let first = Self::entries(config, signal)?.into_iter().next();
        let none = || Error::config("endpoint", "", "give an endpoint");
        first.map(|entry| entry.endpoint).ok_or_else(none)
    }

    /// The endpoints of the settings, in order; at least one.
    pub(crate) fn entries(
        config: &ConnectionConfig,
        signal: ExportSignal,
    ) -> Result<Vec<EndpointEntry>, Error> {
        let (setting, given, is_signal) = match signal.url(config) {
            (setting, Some(url)) => (setting, Some(url), true),
            (_, None) => ("endpoint", config.endpoint.as_deref(), false),
        };
        let given = given.map(str::trim).filter(|url| !url.is_empty());
        let url = given.unwrap_or(match config.protocol {
            Some(Protocol::Grpc) => DEFAULT_GRPC,
            _ => DEFAULT_HTTP,
        });
        entries(&Given {
            setting,
            url,
            is_signal,
            signal,
            protocol: config.protocol,
            insecure: config.insecure,
        })
    }
}

/// The entries of a setting, in order; at least one.
fn entries(given: &Given<'_>) -> Result<Vec<EndpointEntry>, Error> {
    let items = items(given.url);
    let count = items.len();
    let mut entries = Vec::<EndpointEntry>::with_capacity(count);
    for (index, item) in items.iter().copied().enumerate() {
        if item.is_empty() {
            let cure = match count {
                _ if given.url.split(',').all(|item| item.trim().is_empty()) => {
                    "the list has no endpoint: give URLs with commas between them".to_owned()
                }
                _ => format!(
                    "item {} of the list is empty: leave out its comma",
                    index + 1
                ),
            };
            return Err(given.error(given.url, cure));
        }
        let (is_name, url) =
            name_of(item, given.insecure).map_err(|cure| given.error(item, cure))?;
        let endpoint = Endpoint::parse(&Given {
            url: &url,
            ..*given
        })?;
        entries.push(EndpointEntry { endpoint, is_name });
    }
    agree(&entries, &items, given)?;
    Ok(entries)
}

/// All members take the same requests, so they have one protocol and one scheme. `items`: the entries as they were
/// written.
fn agree(entries: &[EndpointEntry], items: &[&str], given: &Given<'_>) -> Result<(), Error> {
    let Some(EndpointEntry {
        endpoint: first, ..
    }) = entries.first()
    else {
        return Ok(());
    };
    for (EndpointEntry { endpoint, .. }, item) in entries.iter().zip(items) {
        if endpoint.tls != first.tls {
            let cure = "all endpoints of a list need one scheme: http or https";
            return Err(given.error(item, cure));
        }
        if endpoint.protocol != first.protocol {
            let cure = "the ports of the list belong to two protocols: set OTEL_EXPORTER_OTLP_PROTOCOL \
                        (with_protocol)";
            return Err(given.error(item, cure));
        }
    }
    Ok(())
}

/// Whether the item is a name whose addresses are members, and its URL. `dns:///host:port` is gRPC's form;
/// `dns+http://` and `dns+https://` also name the scheme.
fn name_of(item: &str, insecure: bool) -> Result<(bool, String), String> {
    let Some((scheme, rest)) = item.split_once(':') else {
        return Ok((false, item.to_owned()));
    };
    let url = match scheme.to_ascii_lowercase().as_str() {
        "dns" => {
            let name = match rest.strip_prefix("//") {
                Some(rest) => rest.strip_prefix('/').ok_or(
                    "no DNS server can be named: write dns:///host:port, with three slashes",
                )?,
                None => rest,
            };
            let scheme = if insecure { "http" } else { "https" };
            format!("{scheme}://{name}")
        }
        "dns+http" => format!("http:{rest}"),
        "dns+https" => format!("https:{rest}"),
        _ => return Ok((false, item.to_owned())),
    };
    let authority = url.split("://").nth(1).unwrap_or_default();
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    if scheme.eq_ignore_ascii_case("dns") && super::port_of(authority).is_none() {
        return Err("give the port, such as dns:///collector:4317".to_owned());
    }
    Ok((true, url))
}

/// The items of a list. A comma inside a URL's path, user or password is a part of it, unless another URL
/// follows.
fn items(list: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let mut start = 0;
    for (comma, _) in list.match_indices(',') {
        let (item, rest) = (&list[start..comma], &list[comma + 1..]);
        if separates(item.trim(), rest.trim_start()) {
            items.push(item.trim());
            start = comma + 1;
        }
    }
    items.push(list[start..].trim());
    items
}

fn separates(item: &str, rest: &str) -> bool {
    let Some((_, after_scheme)) = item.split_once(':').filter(|(s, _)| is_scheme(s)) else {
        return true;
    };
    let next = rest.split(',').next().unwrap_or_default();
    let begins_a_url = next.split_once(':').is_some_and(|(s, _)| is_scheme(s));
    let is_in_path = after_scheme.trim_start_matches('/').contains(['/', '?']);
    let is_in_user = next
        .split('/')
        .next()
        .is_some_and(|host| host.contains('@'));
    begins_a_url || rest.trim().is_empty() || next.trim().is_empty() || !(is_in_path || is_in_user)
}

fn is_scheme(text: &str) -> bool {
    ["http", "https", "unix", "dns", "dns+http", "dns+https"]
        .iter()
        .any(|scheme| text.trim().eq_ignore_ascii_case(scheme))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::config::{ConnectionConfig, Protocol};
    use crate::export::endpoint::ExportSignal;

    fn config(list: &str, protocol: Option<Protocol>) -> ConnectionConfig {
        ConnectionConfig {
            endpoint: Some(list.to_owned()),
            protocol,
            ..ConnectionConfig::default()
        }
    }

    fn uris(config: &ConnectionConfig) -> Vec<(bool, String)> {
        let entries = Endpoint::entries(config, ExportSignal::Traces).unwrap();
        let shown = |e: EndpointEntry| (e.is_name, e.endpoint.uri.to_string());
        entries.into_iter().map(shown).collect()
    }

    #[test]
    fn commas_separate_urls_and_are_kept_inside_of_them() {
        for (list, expected) in [
            ("http://a", &["http://a"][..]),
            ("http://a, https://b ", &["http://a", "https://b"]),
            ("a:1,b:2,c:3", &["a:1", "b:2", "c:3"]),
            ("http://a:1,b:2", &["http://a:1", "b:2"]),
            ("http://a/x,y", &["http://a/x,y"]),
            ("http://a/x,y,http://b", &["http://a/x,y", "http://b"]),
            ("http://u:p,q@a", &["http://u:p,q@a"]),
            (
                "http://u:p@a,http://u:p@b",
                &["http://u:p@a", "http://u:p@b"],
            ),
            ("unix:/a,unix:/b", &["unix:/a", "unix:/b"]),
            ("http://a,", &["http://a", ""]),
            (" , ", &["", ""]),
        ] {
            assert_eq!(items(list), expected, "{list}");
        }
    }

    #[test]
    fn names_and_lists_become_endpoints() {
        let http = |list| uris(&config(list, Some(Protocol::HttpProtobuf)));
        let both = [
            (false, "http://a:1/x/v1/traces".to_owned()),
            (true, "http://b:2/v1/traces".to_owned()),
        ];
        assert_eq!(http("http://a:1/x,dns+http://b:2"), both);
        let entries =
            Endpoint::entries(&config("dns:///c:4317", None), ExportSignal::Traces).unwrap();
        let [entry] = &entries[..] else {
            panic!("{entries:?}");
        };
        let endpoint = &entry.endpoint;
        assert!(entry.is_name && endpoint.tls && endpoint.protocol == Protocol::Grpc);
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("c", 4317));
        let insecure = ConnectionConfig {
            insecure: true,
            ..config("DNS:c:4317", None)
        };
        let entries = Endpoint::entries(&insecure, ExportSignal::Traces).unwrap();
        assert!(!entries[0].endpoint.tls);
    }

    #[test]
    fn what_is_no_list_is_named_with_the_cure() {
        for (list, cure) in [
            (",", "has no endpoint"),
            (" , ,", "has no endpoint"),
            ("http://a:4317,", "item 2 of the list is empty"),
            (
                "http://a:4317,,http://b:4317",
                "item 2 of the list is empty",
            ),
            ("http://a:4317,https://b:4317", "one scheme"),
            ("http://a:4317,http://b:4318", "two protocols"),
            ("http://a:4317,ftp://b:4317", "http, https or unix"),
            ("http://a:4318,b:4318", "scheme"),
            ("http://a:4317,http://b:port", "port"),
            ("http://a:4317,http://b:0", "can't be 0"),
            ("dns:///c", "give the port"),
            ("dns://8.8.8.8/c:4317", "three slashes"),
            ("dns+http:///c:4317", "host"),
        ] {
            let error =
                Endpoint::entries(&config(list, None), ExportSignal::Traces).expect_err(list);
            let text = error.to_string();
            assert!(error.is_config() && text.contains(cure), "{list}: {text}");
            assert!(text.contains("endpoint"), "{text}");
        }
    }

    #[test]
    fn the_item_that_differs_is_named_as_it_was_written() {
        for (list, item) in [
            ("http://a:4317,https://b:4317", "https://b:4317"),
            ("http://a:4317,http://b:4318", "http://b:4318"),
            ("http://a:4317,dns+http://b:4318", "dns+http://b:4318"),
            ("http://a:4317,unix:/run/b.sock", "unix:/run/b.sock"),
        ] {
            let error =
                Endpoint::entries(&config(list, None), ExportSignal::Traces).expect_err(list);
            let text = error.to_string();
            assert!(text.contains(&format!("endpoint = \"{item}\"")), "{text}");
        }
    }
}
