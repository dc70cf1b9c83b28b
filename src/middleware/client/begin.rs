//! Makes the span of an outgoing request and writes the context into its headers.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::HOST;

use super::super::address::Host;
use super::super::call::Call;
use super::super::call_status::{CallProtocol, Role};
use super::super::head::RequestHead;
use super::super::late::CallSpan;
use super::super::meter::Labels;
use super::super::method::OTHER;
use super::super::spans::{Endpoints, GrpcSpan, HttpClient, SpanName};
use super::super::{from_tonic, grpc, text};
use super::{ClientLayer, Resends, UrlTemplate};
use crate::context;
use crate::span_ext::{self, SpanExt as _};

/// The server of a request.
#[derive(Clone, Copy)]
struct ServerAddress<'a> {
    address: Option<&'a str>,
    port: Option<u16>,
}

impl ClientLayer {
    /// `None` for a request that the filter excludes: it only carries the [context](Self::inject).
    pub(super) fn begin(&self, head: &RequestHead<'_>) -> Option<Call> {
        let settings = &self.settings.role;
        if !settings.request.is_wanted(head) {
            return None;
        }
        let protocol = match grpc::is_grpc(head.method, head.headers) {
            true => CallProtocol::Grpc,
            false => CallProtocol::Http,
        };
        let server = self.server(head);
        let layer = self.settings.clone();
        let mut call = Call::new(layer, Role::Client, protocol, head);
        if from_tonic::is_generated(head.extensions) {
            call.trust_method();
        }
        let labels = || self.labels(head, protocol, server);
        let span = || self.span(head, protocol, server);
        settings
            .request
            .begin(&mut call, head, protocol, labels, span);
        Some(call)
    }

    /// Writes the context of the call's span into the headers, or the current context if no layer
    /// records that span (HTTP-9).
    pub(super) fn inject(&self, call: Option<&Call>, headers: &mut HeaderMap) {
        let context = match call.map(Call::span) {
            Some(span) if span_ext::is_known(span) => span.trace_context(),
            _ => context::current(),
        };
        self.settings
            .role
            .request
            .with_propagator(|p| p.inject(&context, headers));
    }

    fn server<'a>(&'a self, head: &RequestHead<'a>) -> ServerAddress<'a> {
        if let Some(target) = &self.settings.role.target {
            return ServerAddress {
                address: Some(&target.address),
                port: target.port,
            };
        }
        let host = Host::of_request(head.uri, head.headers);
        let scheme = head.uri.scheme_str().unwrap_or("http");
        ServerAddress {
            address: host.map(|host| host.address),
            port: host.and_then(|host| host.port_or_default(scheme)),
        }
    }

    /// The authority for a request whose URI has no host.
    fn authority<'a>(&'a self, head: &RequestHead<'a>) -> Option<Cow<'a, str>> {
        let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
        let target = self.settings.role.target.as_ref();
        let target = || target?.authority().map(Cow::Owned);
        host.map(Cow::Borrowed).or_else(target)
    }

    fn span(
        &self,
        head: &RequestHead<'_>,
        protocol: CallProtocol,
        server: ServerAddress<'_>,
    ) -> CallSpan {
        let settings = &self.settings.role;
        let ends = Endpoints {
            server: server.address.map(text::cut),
            server_port: server.port,
            peer: None,
            peer_port: None,
        };
        if protocol == CallProtocol::Grpc {
            let method = grpc::method(head.uri.path());
            let grpc = GrpcSpan {
                kind: "client",
                method: method.map(text::cut),
                method_original: method.is_none().then(|| text::cut(head.uri.path())),
                ends,
                client: None,
                version: None,
            };
            return grpc.called(settings.request.level);
        }
        let method = settings.request.method(head.method);
        let template = head.extensions.get().map(UrlTemplate::as_str);
        let url = settings
            .request
            .secret_keys
            .url(head.uri, self.authority(head).as_deref());
        let resends = head.extensions.get().map_or(0, Resends::next);
        let http = HttpClient {
            name: SpanName {
                method: method.in_name,
                target: template,
            },
            method: method.method,
            method_original: method.original,
            url: text::cut(&url),
            template,
            ends,
            resend_count: (resends > 0).then_some(resends),
            request_size: self.settings.role.request.request_size(head),
        };
        http.span(settings.request.level)
    }

    fn labels(
        &self,
        head: &RequestHead<'_>,
        protocol: CallProtocol,
        server: ServerAddress<'_>,
    ) -> Labels {
        let rpc_method = match protocol {
            CallProtocol::Grpc => grpc::method(head.uri.path()),
            CallProtocol::Http => None,
        };
        Labels {
            role: Role::Client,
            protocol,
            method: self.settings.role.request.known_methods.label(head.method),
            // Only a server's metrics have it.
            scheme: "",
            route: None,
            rpc_method: rpc_method.map(str::to_owned),
            version: None,
            server: server
                .address
                .map(|address| match self.may_name(head, address, server.port) {
                    true => (address.to_owned(), server.port),
                    false => (OTHER.to_owned(), None),
                }),
            request_size: self.settings.role.request.request_size(head),
        }
    }

    /// Whether a label may name the server.
    fn may_name(&self, head: &RequestHead<'_>, address: &str, port: Option<u16>) -> bool {
        let resends = head.extensions.get();
        let is_resent = resends.is_some_and(Resends::is_begun);
        let has_target = self.settings.role.target.is_some();
        has_target || self.options().may_name_server(address, port, is_resent)
    }
}
