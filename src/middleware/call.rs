//! [`Call`]: one request from its headers to its end, with its span and its measures.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Response, StatusCode, Version};
use http_body::Body;
use tracing::Span;

use super::call_status::{
    CallFacts, CallProtocol, Ending, Role, call_status, exception_of, kind_of,
};
use super::end::CallEnd;
use super::from_tonic;
use super::grpc::{self, Code};
use super::head::{RequestHead, ResponseHead, content_length, version_text};
use super::in_flight::{InFlight, InFlightToken};
use super::late::CallSpan;
use super::meter::{Labels, Measured};
use super::options::{CallOptions, SharedSettings};
use super::text::Causes;
use crate::attribute::KeyValue;
use crate::context::layer_registry::Exception;
use crate::context::{TraceContext, stack};
use crate::error::panic_text;
use crate::semconv;
use crate::span_ext::{self, SpanExt as _};

/// A request that a server serves or a client sends. Its drop ends the span and takes the measures,
/// unless [`end`](Self::end) did before: no way out of a call skips them.
pub(super) struct Call {
    settings: SharedSettings,
    /// Disabled if the filter excludes the request, or its level is off.
    span: CallSpan,
    /// The caller's context, if the request has no span that continues it.
    scope: Option<Box<TraceContext>>,
    role: Role,
    protocol: CallProtocol,
    /// The path of a gRPC request. Its method may not exist.
    path: Option<PathAndQuery>,
    /// Whether the method exists for certain: generated code or a whole route names it.
    is_method_certain: bool,
    /// A response to HEAD has no body, although its headers announce one.
    is_head: bool,
    /// After a successful CONNECT the connection carries another protocol.
    is_connect: bool,
    is_over: bool,
    /// `None` if [`CallOptions::is_timed`] is false: that saves reading the clock.
    began: Option<Instant>,
    to_first_byte: Option<Duration>,
    /// The caller's `grpc-timeout`.
    timeout: Option<Duration>,
    status: Option<StatusCode>,
    code: Option<Code>,
    message: Option<Box<str>>,
    /// Whether the response has a content type of gRPC.
    is_grpc_answer: bool,
    /// Bytes of the response's body.
    passed: u64,
    announced: Option<u64>,
    /// The version of a server's response.
    version: Option<Version>,
    labels: Option<Box<Labels>>,
    /// Held until the end, so that a shutdown waits for the call.
    in_flight: Option<InFlightToken>,
}

impl Call {
    pub(super) fn new(
        settings: SharedSettings,
        role: Role,
        protocol: CallProtocol,
        head: &RequestHead<'_>,
    ) -> Self {
        let timeout = match (protocol, role) {
            (CallProtocol::Grpc, Role::Client) => grpc::timeout(head.headers),
            (CallProtocol::Grpc, Role::Server) => grpc::timeout(head.headers).map(grpc::late_after),
            (CallProtocol::Http, _) => None,
        };
        let path = head.uri.path_and_query();
        let path = path.filter(|_| protocol == CallProtocol::Grpc);
        let options = &settings.call;
        let is_timed = options.is_timed() || timeout.is_some();
        Self {
            in_flight: options.in_flight.as_ref().map(InFlight::token),
            settings,
            span: CallSpan::none(),
            scope: None,
            role,
            protocol,
            path: path.cloned(),
            is_method_certain: false,
            is_head: *head.method == Method::HEAD,
            is_connect: *head.method == Method::CONNECT,
            is_over: false,
            began: is_timed.then(Instant::now),
            to_first_byte: None,
            timeout,
            status: None,
            code: None,
            message: None,
            is_grpc_answer: false,
            passed: 0,
            announced: None,
            version: None,
            labels: None,
        }
    }

    /// Makes the caller's context current for a request without a span.
    pub(super) fn put_in_scope(&mut self, remote: TraceContext) {
        self.scope = Some(Box::new(remote));
    }

    pub(super) fn put_in_span(&mut self, span: CallSpan) {
        self.span = span;
    }

    /// The application's code names the gRPC method, so it exists.
    pub(super) fn trust_method(&mut self) {
        self.is_method_certain = true;
    }

    fn options(&self) -> &CallOptions {
        &self.settings.call
    }

    fn has_span(&self) -> bool {
        !self.span().is_disabled()
    }

    pub(super) fn span(&self) -> &Span {
        &self.span.span
    }

    /// Reports the call's begin to the meter.
    pub(super) fn measure(&mut self, labels: impl FnOnce() -> Labels) {
        if let Some(meter) = &self.options().meter {
            let labels = labels();
            meter.began(&labels);
            self.labels = Some(Box::new(labels));
        }
    }

    /// Runs `f` within the call: in its span, or in its caller's context.
    #[inline]
    pub(super) fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        let _scope = self.scope.as_deref().map(|cx| stack::open(cx.clone()));
        let _entered = self.span().enter();
        f()
    }

    /// Takes the headers of the response. Returns whether the call ends with them.
    pub(super) fn responded<B: Body>(&mut self, response: &mut Response<B>) -> bool {
        self.options()
            .write_response_headers(self.span(), response.headers_mut());
        if self.answered(&ResponseHead::of(response), None) || response.body().is_end_stream() {
            return true;
        }
        let exact = response.body().size_hint().exact();
        self.announced = exact.or_else(|| content_length(response.headers()));
        false
    }

    /// As [`responded`](Self::responded), of a head alone. `peer` is the server's address if no setting
    /// finds another.
    pub(super) fn answered(&mut self, head: &ResponseHead<'_>, peer: Option<SocketAddr>) -> bool {
        self.to_first_byte = self.began.map(|began| began.elapsed());
        let (status, headers) = (head.status, head.headers);
        self.status = Some(status);
        if self.protocol == CallProtocol::Grpc {
            self.is_grpc_answer = grpc::has_content_type(headers);
            self.take_code(headers);
        }
        if self.role == Role::Client {
            self.version = Some(head.version);
        }
        let options = self.options();
        if self.role == Role::Client {
            options.record_peer(self.span(), head.extensions, peer);
        }
        options
            .response_headers
            .put_response(self.span(), headers, self.protocol);
        if let Some(hook) = options.on_response.as_ref().filter(|_| self.has_span()) {
            hook(head, self.span());
        }
        let has_no_body = self.is_head
            || (self.is_connect && status.is_success())
            || status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let is_unawaited = options.ends_with_headers && self.protocol == CallProtocol::Http;
        has_no_body || is_unawaited
    }

    /// Whether the gRPC method may become a name or a label. The caller chooses the path, so the method
    /// must be known to exist: only a method itself answers `OK` or a message, while an error code may
    /// come from a layer before it, such as an authentication or a limiter.
    fn is_method_known(&self) -> bool {
        let path = self.path.as_ref().map_or("", PathAndQuery::path);
        let Some(method) = grpc::method(path) else {
            return false;
        };
        let methods = &self.options().methods;
        let has_answered =
            self.code.is_some_and(Code::is_ok) || (self.is_grpc_answer && self.passed > 0);
        self.is_method_certain
            || (has_answered && methods.learn(method))
            || methods.has(method)
            // A client's own code chooses the method. A proxy's callers choose, hence the bound.
            || (self.role == Role::Client && self.options().called.learn(method))
    }

    /// Removes the name of a method that may not exist from span and labels (RPC-2).
    #[cold]
    fn mark_unknown_method(&mut self) {
        if let Some(labels) = &mut self.labels {
            labels.rpc_method = None;
        }
        let path = self.path.as_ref().map_or("", PathAndQuery::path);
        self.options().mark_unknown_method(self.span(), path);
    }

    /// Counts bytes of the response's body.
    #[inline]
    pub(super) fn data(&mut self, bytes: usize) {
        self.passed = self.passed.saturating_add(bytes as u64);
    }

    pub(super) fn trailers(&mut self, trailers: &HeaderMap) {
        if self.protocol == CallProtocol::Grpc {
            self.take_code(trailers);
        }
    }

    fn take_code(&mut self, headers: &HeaderMap) {
        let Some(code) = Code::find(headers) else {
            return;
        };
        self.code = Some(code);
        if !code.is_ok() {
            self.message = grpc::message(headers).map(|m| super::text::cut(&m).into());
        }
    }

    /// Code that ran for the call panicked.
    #[cold]
    pub(super) fn panicked(&mut self, payload: &(dyn Any + Send)) {
        let message = super::text::cut(panic_text(payload).unwrap_or_default());
        let exception = [
            KeyValue::new(semconv::EXCEPTION_TYPE, super::call_status::PANIC),
            KeyValue::new(semconv::EXCEPTION_MESSAGE, message.to_owned()),
        ];
        let (name, severity) = exception_of(self.role, self.protocol);
        let exception = Exception {
            name,
            target: module_path!(),
            severity,
            message,
            attributes: &exception,
        };
        span_ext::record_exception(self.span(), &exception);
        self.end(Ending::Panicked { message });
    }

    /// The service, or the body of its response, returned an error.
    pub(super) fn failed<E: fmt::Display + 'static>(&mut self, error: &E) {
        let kind = kind_of::<E>();
        let known = match self.protocol {
            CallProtocol::Grpc => from_tonic::failure(error),
            CallProtocol::Http => None,
        };
        if let Some((code, message)) = known {
            self.code = self.code.or_else(|| Some(Code::of(code)));
            let message = &message;
            return self.end(Ending::Failed { kind, message });
        }
        // What stacks of layers return: its causes say more than it does.
        let boxed = (error as &dyn Any).downcast_ref::<Box<dyn Error + Send + Sync>>();
        match boxed.map(|error| Causes(&**error)) {
            Some(causes) => self.end(Ending::Failed {
                kind,
                message: &causes,
            }),
            None => self.end(Ending::Failed {
                kind,
                message: error,
            }),
        }
    }

    /// Ends the span and takes the measures, once.
    pub(super) fn end(&mut self, ending: Ending<'_>) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let duration = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        let facts = CallFacts {
            role: self.role,
            protocol: self.protocol,
            status: self.status,
            code: self.code,
            is_late: self.timeout.is_some_and(|timeout| duration >= timeout),
        };
        let call_status = call_status(&facts, ending);
        let error_type = call_status.error_type.as_deref();
        if self.protocol == CallProtocol::Grpc && !self.is_method_known() {
            self.mark_unknown_method();
        }
        if let (Some(labels), Some(meter)) = (self.labels.take(), &self.settings.call.meter) {
            let measured = Measured {
                duration,
                status: self.status.map(|s| s.as_u16()),
                code: call_status.code,
                error_type,
                version: self.version.and_then(version_text),
                response_size: self.response_size(),
            };
            meter.ended(*labels, &measured);
        }
        if self.has_span() {
            self.record(ending, error_type, call_status.code);
            if let Some(hook) = &self.options().on_end {
                let end = CallEnd {
                    duration,
                    time_to_first_byte: self.to_first_byte,
                    status: self.status,
                    body_size: self.passed,
                    error_type,
                    is_complete: matches!(ending, Ending::Complete),
                };
                hook(&end, self.span());
            }
            self.span().end();
        }
        self.in_flight = None;
        if let Some(after) = &self.options().after {
            after();
        }
    }

    /// Bytes of an HTTP response's body, if a setting asks for them.
    fn response_size(&self) -> Option<u64> {
        let is_there = self.protocol == CallProtocol::Http && self.status.is_some();
        (self.options().body_size && is_there).then_some(self.passed)
    }

    /// Records the end in the late fields of the span.
    fn record(&self, ending: Ending<'_>, error_type: Option<&str>, code: Option<Code>) {
        let is_error = error_type.map(|_| "error");
        let text;
        let message = match ending {
            _ if error_type.is_none() => None,
            Ending::Panicked { message } => Some(message),
            Ending::Failed { message, .. } => {
                text = super::text::bounded(format_args!("{message}"));
                Some(text.as_str())
            }
            Ending::Complete | Ending::Cancelled => self.message.as_deref(),
        };
        let number = self.status.map(|status| status.as_u16());
        let code = code.map(Code::name);
        let passed = self.response_size();
        let waited = self
            .to_first_byte
            .filter(|_| self.options().time_to_first_byte);
        let waited = waited.map(|waited| waited.as_secs_f64());
        // In the order of `late::LATE`.
        self.span.record_late([
            &is_error,
            &message,
            &error_type,
            &number,
            &code,
            &passed,
            &waited,
            &self.version.and_then(version_text),
        ]);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let is_all = self.announced.is_some_and(|all| self.passed >= all);
        self.end(match () {
            // On a client, a panic of the caller cancels the call.
            () if self.role == Role::Server && std::thread::panicking() => {
                Ending::Panicked { message: "" }
            }
            // A server stops reading the body after `content-length` bytes, without its end.
            () if is_all && self.protocol == CallProtocol::Http => Ending::Complete,
            () => Ending::Cancelled,
        });
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("role", &self.role)
            .field("protocol", &self.protocol)
            .field("span", self.span())
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}
