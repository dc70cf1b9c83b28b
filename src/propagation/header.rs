//! The header names of all formats, as constants: no parsing, no allocation.

use http::HeaderName;

macro_rules! headers {
    ($($name:ident $key:literal $lowercase:literal;)*) => {
        $(pub(super) const $name: &str = $key;)*

        /// The header of one of the names above, written as it is above.
        #[inline]
        pub(super) fn known(key: &str) -> Option<&'static HeaderName> {
            match key {
                $($name => {
                    static HEADER: HeaderName = HeaderName::from_static($lowercase);
                    Some(&HEADER)
                })*
                _ => None,
            }
        }

        #[cfg(test)]
        const ALL: &[&str] = &[$($name),*];
    };
}

headers! {
    TRACEPARENT "traceparent" "traceparent";
    TRACESTATE "tracestate" "tracestate";
    BAGGAGE "baggage" "baggage";
    B3 "b3" "b3";
    B3_TRACE_ID "X-B3-TraceId" "x-b3-traceid";
    B3_SPAN_ID "X-B3-SpanId" "x-b3-spanid";
    B3_PARENT_SPAN_ID "X-B3-ParentSpanId" "x-b3-parentspanid";
    B3_SAMPLED "X-B3-Sampled" "x-b3-sampled";
    B3_FLAGS "X-B3-Flags" "x-b3-flags";
    UBER_TRACE_ID "uber-trace-id" "uber-trace-id";
    X_AMZN_TRACE_ID "X-Amzn-Trace-Id" "x-amzn-trace-id";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_its_header() {
        for key in ALL {
            let header = known(key).map(HeaderName::as_str);
            assert_eq!(header, Some(&*key.to_lowercase()));
        }
        assert_eq!(known("Traceparent"), None);
    }
}
