//! [`Cause`]: the reasons why an endpoint did not take a request, and the cure of each, in one table.
//!
//! Every message about an endpoint (errors of a flush, [`Stats::last_error`], diagnostics) is formed here:
//! the event, then after a semicolon the cure, with the names of the variables.
//!
//! [`Stats::last_error`]: crate::Stats::last_error

use std::io;

use crate::text;
use crate::text::clean;

/// A cause, as far as the client can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The host's name has no address.
    UnknownHost,
    /// The look-up of the host's name has not ended.
    SlowLookUp,
    /// The connection was refused: no process listens at the port.
    ConnectionRefused,
    /// No answer to an attempt to connect.
    ConnectTimeout,
    /// Any other failure to connect.
    Unconnected,
    /// The socket of this machine takes no connection.
    Socket,
    /// The proxy takes no connection, or does not answer.
    ProxyUnreached,
    /// The proxy answered a `CONNECT` with this status.
    #[cfg_attr(
        not(any(feature = "grpc", feature = "http")),
        expect(dead_code, reason = "there is no proxy")
    )]
    Proxy(u16),
    /// `https`, and the endpoint does not speak TLS.
    NoTls,
    /// The certificate's authority is not trusted.
    UnknownAuthority,
    /// The certificate is for another name.
    WrongName,
    /// The certificate has expired, or is not valid yet.
    WrongTime,
    /// The endpoint requires a client certificate.
    ClientCertificate,
    /// TLS without the required application protocol (ALPN).
    NoApplicationProtocol,
    /// Any other failure of TLS.
    Tls,
    /// `http`, and the endpoint speaks TLS.
    SpeaksTls,
    /// gRPC to an endpoint that speaks HTTP/1.
    SpeaksHttp1,
    /// HTTP/1 to an endpoint that speaks HTTP/2.
    SpeaksHttp2,
    /// The endpoint speaks neither HTTP nor TLS.
    OtherProtocol,
    /// The endpoint accepts connections and closes them at once.
    ClosedAtOnce,
    /// The endpoint accepts connections and sends nothing on them.
    Mute,
    /// No answer in time, on a connection that worked.
    NoAnswer,
    /// The connection is there, and no request may begin on it.
    NoStream,
    /// An answer of gRPC that ends without a status.
    NoGrpcStatus,
    /// Pings on the connection got no answer.
    Silent,
    /// The connection broke before an answer came.
    Broken,
    /// The endpoint refused the stream or closed the connection before it processed the request.
    TurnedAway,
    /// This HTTP status.
    Http(u16),
    /// This HTTP status over gRPC, without a status of gRPC.
    HttpOverGrpc(u16),
    /// This gRPC code.
    Grpc(u32),
    /// It does not take logs (LOG-32).
    NoLogs,
    /// The request is larger than the endpoint takes.
    TooLarge,
    /// The answer is longer than the limit.
    LongAnswer,
    /// The answer is none of OTLP.
    NoReceiver,
    /// The header provider returned no headers.
    NoHeaders,
}

/// The message of an event and its cure. `what` may contain foreign text.
pub(super) fn tell(what: &str, cause: Cause) -> String {
    format!("{}; {}", clean(what.trim_end()), cause.cure())
}

/// The same for a list that may be long: each address of a host and its error.
pub(super) fn tell_long(what: &str, cause: Cause) -> String {
    format!(
        "{}; {}",
        text::line(what.trim_end(), 1000, false),
        cause.cure()
    )
}

impl Cause {
    /// The cure, for the user.
    pub(super) fn cure(self) -> &'static str {
        match self {
            Self::UnknownHost => {
                "its name has no address: check the host in OTEL_EXPORTER_OTLP_ENDPOINT, and the DNS"
            }
            Self::SlowLookUp => "the look-up goes on: check the DNS of this machine",
            Self::ConnectionRefused => {
                "nobody listens there: check OTEL_EXPORTER_OTLP_ENDPOINT and that it is up"
            }
            Self::ConnectTimeout | Self::Unconnected => {
                "check OTEL_EXPORTER_OTLP_ENDPOINT, that it is up, and firewalls on the way"
            }
            Self::Socket => {
                "check the path in OTEL_EXPORTER_OTLP_ENDPOINT, and that something listens there"
            }
            Self::Proxy(407) => PROXY_CREDENTIALS,
            Self::ProxyUnreached | Self::Proxy(_) => {
                "check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY, or name the endpoint's host in NO_PROXY to \
                 go without"
            }
            Self::NoTls => {
                "it speaks no TLS: use http:// in OTEL_EXPORTER_OTLP_ENDPOINT, or for gRPC without a \
                 scheme set OTEL_EXPORTER_OTLP_INSECURE=true"
            }
            Self::UnknownAuthority => {
                "its certificate is of an authority that is not trusted here: give that one in \
                 OTEL_EXPORTER_OTLP_CERTIFICATE"
            }
            Self::WrongName => {
                "its certificate is for another name: use that one in OTEL_EXPORTER_OTLP_ENDPOINT"
            }
            Self::WrongTime => {
                "its certificate is not valid now: renew it, or check this machine's clock"
            }
            Self::ClientCertificate => {
                "it wants to know the client: set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and \
                 OTEL_EXPORTER_OTLP_CLIENT_KEY to what it trusts"
            }
            Self::NoApplicationProtocol => {
                "its TLS speaks another protocol: set OTEL_EXPORTER_OTLP_PROTOCOL to grpc or \
                 http/protobuf, whichever it speaks"
            }
            Self::Tls => "check the TLS settings on both sides",
            Self::SpeaksTls => "it speaks TLS: use https:// in OTEL_EXPORTER_OTLP_ENDPOINT",
            Self::SpeaksHttp1 => {
                "it speaks HTTP/1: set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf (with_protocol), or give \
                 the port of gRPC (4317) in OTEL_EXPORTER_OTLP_ENDPOINT"
            }
            Self::SpeaksHttp2 => {
                "it speaks HTTP/2: gRPC? set OTEL_EXPORTER_OTLP_PROTOCOL=grpc (with_protocol), or give the \
                 port of HTTP (4318) in OTEL_EXPORTER_OTLP_ENDPOINT"
            }
            Self::OtherProtocol => {
                "no OTLP is spoken there: check host and port in OTEL_EXPORTER_OTLP_ENDPOINT"
            }
            Self::ClosedAtOnce => {
                "a proxy with nothing behind it, or another protocol? check what \
                 OTEL_EXPORTER_OTLP_ENDPOINT leads to, and OTEL_EXPORTER_OTLP_PROTOCOL"
            }
            Self::Mute => {
                "it takes connections and says nothing: check OTEL_EXPORTER_OTLP_ENDPOINT and that it \
                 is well"
            }
            Self::NoAnswer => {
                "it is slow or stuck: see its own log and load; OTEL_EXPORTER_OTLP_TIMEOUT gives it \
                 longer"
            }
            Self::NoStream => {
                "it takes no more requests at a time (MAX_CONCURRENT_STREAMS of HTTP/2): see its own log \
                 and load, and those of a proxy between"
            }
            Self::NoGrpcStatus => {
                "the end of the answer, its trailers, got lost: does a proxy between pass trailers of \
                 HTTP/2 on? if not, set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
            }
            Self::Silent => {
                "the way to it is cut, or it is gone: check the network and what is between"
            }
            Self::Broken => "see its own log, or that of a proxy between",
            Self::TurnedAway => "it is overloaded or restarts: see its own log and load",
            Self::Http(status) => of_status(status),
            Self::HttpOverGrpc(status @ (401 | 403 | 407 | 429 | 502..=504)) => of_status(status),
            Self::HttpOverGrpc(_) => {
                "it speaks HTTP and no gRPC: set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf, or give the \
                 port of gRPC (4317) in OTEL_EXPORTER_OTLP_ENDPOINT"
            }
            Self::Grpc(code) => of_code(code),
            Self::NoLogs => "it takes no logs there",
            Self::TooLarge => {
                "raise the largest message that it takes, or set OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT"
            }
            Self::NoHeaders => {
                "nothing can be sent without: check what with_header_provider asks, or the file of \
                 with_headers_file"
            }
            Self::NoReceiver => {
                "is that an OTLP endpoint, and does it have the spans? check OTEL_EXPORTER_OTLP_ENDPOINT"
            }
            Self::LongAnswer => "is that an OTLP endpoint? check OTEL_EXPORTER_OTLP_ENDPOINT",
        }
    }

    /// The cause of a failed connection.
    pub(super) fn of_connecting(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::ConnectionRefused,
            io::ErrorKind::TimedOut => Self::ConnectTimeout,
            _ => Self::Unconnected,
        }
    }
}

const CREDENTIALS: &str =
    "give the credentials that it wants in OTEL_EXPORTER_OTLP_HEADERS, as key=value,key=value";
const NOT_ALLOWED: &str =
    "the credentials in OTEL_EXPORTER_OTLP_HEADERS are not allowed to send traces there";

const PROXY_CREDENTIALS: &str = "the proxy wants credentials: give them as user:password@ in \
                                 HTTPS_PROXY, HTTP_PROXY or ALL_PROXY";

fn of_status(status: u16) -> &'static str {
    match status {
        300..=399 => "it leads elsewhere: give the last URL in OTEL_EXPORTER_OTLP_ENDPOINT",
        401 => CREDENTIALS,
        403 => NOT_ALLOWED,
        404 | 405 => {
            "nothing takes traces under that path: OTEL_EXPORTER_OTLP_ENDPOINT is a base URL, to which \
             v1/traces is added; OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is used as it is"
        }
        407 => PROXY_CREDENTIALS,
        413 => Cause::TooLarge.cure(),
        415 => {
            "it takes no protobuf, or not this compression: unset OTEL_EXPORTER_OTLP_COMPRESSION, and check that \
             OTEL_EXPORTER_OTLP_ENDPOINT is an OTLP endpoint"
        }
        429 => "it limits the rate: send less by OTEL_TRACES_SAMPLER, or raise its limit",
        502 | 504 => "a proxy finds nobody behind it: see the logs of both",
        503 => "it is overloaded or starting: see its own log and load",
        500..=599 => "it failed: see its own log",
        _ => "see its own log: it refuses what is sent",
    }
}

fn of_code(code: u32) -> &'static str {
    match code {
        // CANCELLED, DEADLINE_EXCEEDED, ABORTED, UNAVAILABLE
        1 | 4 | 10 | 14 => "it is overloaded or starting: see its own log and load",
        7 => NOT_ALLOWED,
        8 => "it limits rate or size: send less by OTEL_TRACES_SAMPLER, or raise its limits",
        // NOT_FOUND, UNIMPLEMENTED
        5 | 12 => {
            "it takes no traces there: check that OTEL_EXPORTER_OTLP_ENDPOINT is a receiver of OTLP \
             traces"
        }
        16 => CREDENTIALS,
        // UNKNOWN, INTERNAL, DATA_LOSS
        2 | 13 | 15 => "it failed: see its own log",
        _ => "see its own log: it refuses what is sent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each cause has a cure that names what to set or where to look.
    #[test]
    fn every_cause_has_its_cure() {
        for (cause, parts) in [
            (Cause::UnknownHost, &["host", "ENDPOINT", "DNS"][..]),
            (Cause::SlowLookUp, &["DNS"]),
            (Cause::Socket, &["path", "ENDPOINT"]),
            (Cause::ProxyUnreached, &["HTTPS_PROXY", "NO_PROXY"]),
            (Cause::Proxy(403), &["HTTPS_PROXY", "NO_PROXY"]),
            (Cause::Proxy(407), &["credentials", "HTTPS_PROXY"]),
            (Cause::Http(407), &["credentials", "HTTP_PROXY"]),
            (Cause::ConnectionRefused, &["nobody listens", "ENDPOINT"]),
            (Cause::ConnectTimeout, &["ENDPOINT", "firewall"]),
            (Cause::NoTls, &["http://", "OTEL_EXPORTER_OTLP_INSECURE"]),
            (Cause::UnknownAuthority, &["OTEL_EXPORTER_OTLP_CERTIFICATE"]),
            (Cause::WrongName, &["another name", "ENDPOINT"]),
            (Cause::WrongTime, &["renew", "clock"]),
            (
                Cause::ClientCertificate,
                &["OTLP_CLIENT_CERTIFICATE", "OTLP_CLIENT_KEY"],
            ),
            (Cause::SpeaksTls, &["https://"]),
            (Cause::SpeaksHttp1, &["PROTOCOL=http/protobuf", "4317"]),
            (Cause::SpeaksHttp2, &["gRPC?", "PROTOCOL=grpc", "4318"]),
            (Cause::ClosedAtOnce, &["proxy"]),
            (Cause::NoAnswer, &["OTEL_EXPORTER_OTLP_TIMEOUT"]),
            (Cause::NoStream, &["MAX_CONCURRENT_STREAMS"]),
            (Cause::NoGrpcStatus, &["trailers", "proxy"]),
            (Cause::Http(401), &["OTEL_EXPORTER_OTLP_HEADERS"]),
            (Cause::Http(403), &["OTEL_EXPORTER_OTLP_HEADERS"]),
            (Cause::Http(404), &["v1/traces", "TRACES_ENDPOINT"]),
            (Cause::Http(405), &["v1/traces", "TRACES_ENDPOINT"]),
            (Cause::Http(413), &["largest message"]),
            (Cause::Http(415), &["OTEL_EXPORTER_OTLP_COMPRESSION"]),
            (Cause::Http(429), &["OTEL_TRACES_SAMPLER"]),
            (Cause::Http(500), &["log"]),
            (Cause::Http(503), &["overloaded"]),
            (Cause::HttpOverGrpc(404), &["PROTOCOL=http/protobuf"]),
            (Cause::HttpOverGrpc(503), &["overloaded"]),
            (Cause::NoHeaders, &["with_header_provider"]),
            (Cause::NoReceiver, &["OTLP endpoint", "ENDPOINT"]),
            (Cause::Grpc(12), &["receiver", "ENDPOINT"]),
            (Cause::Grpc(14), &["overloaded"]),
            (Cause::Grpc(16), &["OTEL_EXPORTER_OTLP_HEADERS"]),
            (Cause::Grpc(7), &["OTEL_EXPORTER_OTLP_HEADERS"]),
        ] {
            let text = tell("it happened\n ", cause);
            assert!(text.starts_with("it happened; "), "{text}");
            for part in parts {
                assert!(text.contains(part), "{cause:?}: {part}: {text}");
            }
        }
        for status in 300..600 {
            let of = [Cause::Http(status), Cause::HttpOverGrpc(status)];
            assert!(of.iter().all(|cause| cause.cure().len() > 10));
            // An endpoint that has answered is not called silent.
            assert!(of.iter().all(|cause| !cause.cure().contains("not answer")));
        }
    }
}
