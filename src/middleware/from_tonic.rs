//! Reads tonic's connection info and errors; contexts in its metadata.

use std::any::Any;
use std::error::Error;
use std::net::SocketAddr;

use http::{Extensions, HeaderMap};
use tonic::metadata::MetadataMap;
use tonic::transport::server::TcpConnectInfo;
use tonic::{Code, ConnectError, GrpcMethod, Status, TimeoutExpired};

use crate::propagation::{Extractor, Injector, Values};

/// The peer's address.
pub(super) fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get().and_then(TcpConnectInfo::remote_addr)
}

/// Whether generated code made the request: its method is a constant of the program.
pub(super) fn is_generated(extensions: &Extensions) -> bool {
    extensions.get::<GrpcMethod<'static>>().is_some()
}

/// The code that tonic sends to the caller for an error, and the error's text with its causes.
pub(super) fn failure(error: &(dyn Any + 'static)) -> Option<(u8, String)> {
    type Boxed = Box<dyn Error + Send + Sync>;
    let error: &(dyn Error + 'static) = match (
        error.downcast_ref::<tonic::transport::Error>(),
        error.downcast_ref::<Status>(),
        error.downcast_ref::<Boxed>(),
    ) {
        (Some(error), ..) => error,
        (_, Some(status), _) => {
            return Some((
                number(status.code()),
                super::text::cut(status.message()).to_owned(),
            ));
        }
        (_, _, Some(boxed)) => &**boxed,
        _ => return None,
    };
    let code = crate::error::chain(error).find_map(code_of);
    // tonic answers UNKNOWN for an error without a status.
    let code = number(code.unwrap_or(Code::Unknown));
    Some((
        code,
        super::text::bounded(format_args!("{}", super::text::Causes(error))),
    ))
}

fn number(code: Code) -> u8 {
    u8::try_from(i32::from(code)).unwrap_or(u8::MAX)
}

fn code_of(error: &(dyn Error + 'static)) -> Option<Code> {
    if let Some(status) = error.downcast_ref::<Status>() {
        return Some(status.code());
    }
    if error.is::<TimeoutExpired>() {
        return Some(Code::DeadlineExceeded);
    }
    if error.is::<ConnectError>() {
        return Some(Code::Unavailable);
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return match () {
            () if error.is_timeout() => Some(Code::Unavailable),
            () if error.is_canceled() => Some(Code::Cancelled),
            () => None,
        };
    }
    let reason = error.downcast_ref::<h2::Error>()?.reason()?;
    // The mapping of "gRPC over HTTP2".
    Some(match reason {
        h2::Reason::REFUSED_STREAM => Code::Unavailable,
        h2::Reason::CANCEL => Code::Cancelled,
        h2::Reason::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
        h2::Reason::INADEQUATE_SECURITY => Code::PermissionDenied,
        h2::Reason::STREAM_CLOSED | h2::Reason::HTTP_1_1_REQUIRED => Code::Unknown,
        _ => Code::Internal,
    })
}

fn headers(metadata: &MetadataMap) -> &HeaderMap {
    metadata.as_ref()
}

/// Metadata are headers; values of `-bin` keys are not read.
impl Extractor for MetadataMap {
    fn get(&self, key: &str) -> Option<&str> {
        Extractor::get(headers(self), key)
    }

    fn get_all(&self, key: &str) -> Values<'_> {
        Extractor::get_all(headers(self), key)
    }

    fn keys(&self) -> Vec<&str> {
        Extractor::keys(headers(self))
    }
}

impl Injector for MetadataMap {
    fn set(&mut self, key: &str, value: &str) {
        let headers: &mut HeaderMap = self.as_mut();
        Injector::set(headers, key, value);
    }

    fn remove(&mut self, key: &str) {
        let headers: &mut HeaderMap = self.as_mut();
        Injector::remove(headers, key);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::context::TraceContext;
    use crate::propagation::{Propagator as _, TraceContextPropagator};
    use tonic::metadata::{AsciiMetadataValue, MetadataValue};

    const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn contexts_travel_in_metadata_prop_1() {
        let w3c = TraceContextPropagator;
        let cx = TraceContext::from_traceparent(CALLER).unwrap();
        let mut metadata = MetadataMap::new();
        metadata.insert_bin("key-bin", MetadataValue::from_bytes(&[0, 255]));
        w3c.inject(&cx, &mut metadata);
        assert_eq!(metadata.get("traceparent").unwrap(), CALLER);
        let read = w3c.extract(TraceContext::default(), &metadata);
        assert_eq!(read.to_traceparent().as_str(), CALLER);
        assert!(read.is_remote());
        assert_eq!(
            metadata.get_bin("key-bin").unwrap().to_bytes().unwrap()[..],
            [0, 255]
        );
        let mut names = Extractor::keys(&metadata);
        names.sort_unstable();
        assert_eq!(names, ["key-bin", "traceparent"]);
        Injector::remove(&mut metadata, "traceparent");
        assert!(metadata.get("traceparent").is_none());
    }

    #[test]
    fn hostile_metadata_do_no_harm_prop_1() {
        let w3c = TraceContextPropagator;
        for bytes in [&b"\xff\xfe"[..], b"", b"00-", &[b'0'; 9000]] {
            let mut metadata = MetadataMap::new();
            let value = AsciiMetadataValue::try_from(bytes).unwrap();
            metadata.insert("traceparent", value.clone());
            metadata.append("tracestate", value);
            metadata.insert_bin("traceparent-bin", MetadataValue::from_bytes(bytes));
            let read = w3c.extract(TraceContext::default(), &metadata);
            assert!(!read.is_valid());
        }
        let mut metadata = MetadataMap::new();
        // What no header can hold is left out.
        Injector::set(&mut metadata, "a key", "value");
        Injector::set(&mut metadata, "key", "a\nb");
        Injector::set(&mut metadata, "", "");
        assert!(metadata.is_empty());
        // Of a key for bytes, text stays what the caller made of it.
        Injector::set(&mut metadata, "key-bin", "AAH/");
        assert_eq!(Extractor::get(&metadata, "key-bin"), Some("AAH/"));
    }

    fn told(error: impl Any) -> Option<(u8, String)> {
        failure(&error)
    }

    #[test]
    fn errors_of_tonic_have_the_code_that_the_caller_sees_rpc_3() {
        type Boxed = Box<dyn Error + Send + Sync>;
        let status = || Status::new(Code::DataLoss, "lost");
        let nested: Boxed = Box::new(ConnectError("refused".into()));
        let reset: Boxed = Box::new(h2::Error::from(h2::Reason::REFUSED_STREAM));
        let late: Boxed = Box::new(TimeoutExpired(()));
        assert_eq!(told(status()), Some((15, "lost".to_owned())));
        assert_eq!(told(Boxed::from(status())).unwrap().0, 15);
        assert_eq!(told(nested).unwrap().0, 14);
        assert_eq!(told(reset).unwrap().0, 14);
        assert_eq!(told(late).unwrap().0, 4);
        let strange: Boxed = "strange".into();
        assert_eq!(told(strange), Some((2, "strange".to_owned())));
        assert_eq!(told(std::fmt::Error), None);
    }
}
