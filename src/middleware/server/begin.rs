//! Makes the span of an incoming request.

use std::borrow::Cow;
use std::net::IpAddr;

use http::Request;
use http::header::USER_AGENT;

use super::super::address::{Forwarded, Host, IpText};
use super::super::call::Call;
use super::super::call_status::{CallProtocol, Role};
use super::super::head::{RequestHead, version_text};
use super::super::late::CallSpan;
use super::super::meter::Labels;
use super::super::method::OTHER;
use super::super::spans::{Endpoints, GrpcSpan, HttpServer, SpanName};
use super::super::{from_axum, from_tonic, grpc, text};
use super::ServerLayer;
use crate::context::{self, TraceContext, stack};
use crate::span_ext::{self, SpanExt as _};

/// The context that a request brings, if the current one does not have it already: an outer layer, such as
/// that around a nested router, has read the same headers.
///
/// Baggage without a trace goes into the trace that is current: a scope without one would separate spans from
/// their parent.
fn brought(remote: TraceContext) -> Option<TraceContext> {
    if !remote.is_valid() && remote.baggage().is_empty() {
        return None;
    }
    let current = context::current();
    if remote.is_valid() {
        return (current.trace_id() != remote.trace_id()).then_some(remote);
    }
    if remote.baggage() == current.baggage() {
        return None;
    }
    Some(match current.is_valid() {
        true => current.with_baggage(remote.baggage().clone()),
        false => remote,
    })
}

/// The facts of a request that its span and its labels record.
struct RequestFacts<'a> {
    head: RequestHead<'a>,
    protocol: CallProtocol,
    route: Option<Cow<'a, str>>,
    scheme: &'a str,
    server: Option<Host<'a>>,
    client: Option<Host<'a>>,
}

impl ServerLayer {
    /// `None` for a request that needs neither span, context nor count.
    pub(super) fn begin<B>(&self, request: &Request<B>) -> Option<Call> {
        let settings = &self.settings.role;
        let mut head = RequestHead::of(request);
        head.peer = self.peer(&head);
        if let Some(uri) = from_axum::original_uri(head.extensions) {
            head.uri = uri;
        }
        let remote = settings
            .request
            .with_propagator(|p| p.extract(TraceContext::default(), head.headers));
        // A public server takes a link from its callers, and no baggage.
        let is_public = settings.is_public;
        let remote = Some(remote).filter(|remote| !is_public || remote.is_valid());
        let remote = remote.and_then(brought);
        let route = from_axum::matched_path(head.extensions);
        let is_grpc = grpc::is_grpc(head.method, head.headers) && route.is_none_or(grpc::may_serve);
        let protocol = match is_grpc {
            true => CallProtocol::Grpc,
            false => CallProtocol::Http,
        };
        let call = || {
            let settings = self.settings.clone();
            Call::new(settings, Role::Server, protocol, &head)
        };
        if !settings.request.is_wanted(&head) {
            let passed_on = remote.filter(|_| !is_public);
            let options = self.options();
            let is_waited_for = options.in_flight.is_some() || options.after.is_some();
            if passed_on.is_none() && !is_waited_for {
                return None;
            }
            let mut call = call();
            if let Some(remote) = passed_on {
                call.put_in_scope(remote);
            }
            return Some(call);
        }
        let is_routed_whole = route.is_some_and(|route| grpc::is_whole(route, head.uri.path()));
        let facts = self.facts(head, protocol, route);
        let mut call = call();
        if is_routed_whole {
            call.trust_method();
        }
        let labels = || self.labels(&facts);
        let span = || self.span(&facts, remote.as_ref());
        settings
            .request
            .begin(&mut call, &head, protocol, labels, span);
        let passed_on = remote.filter(|_| !is_public && !span_ext::is_known(call.span()));
        if let Some(remote) = passed_on {
            call.put_in_scope(remote);
        }
        Some(call)
    }

    fn peer(&self, head: &RequestHead<'_>) -> Option<std::net::SocketAddr> {
        match &self.settings.role.peer {
            Some(peer) => peer(head.extensions),
            None => from_axum::peer(head.extensions).or_else(|| from_tonic::peer(head.extensions)),
        }
    }

    fn facts<'a>(
        &'a self,
        head: RequestHead<'a>,
        protocol: CallProtocol,
        matched: Option<&'a str>,
    ) -> RequestFacts<'a> {
        let settings = &self.settings.role;
        let forwarded = match (&settings.is_trusted, head.peer) {
            (Some(is_trusted), Some(peer)) if is_trusted(peer.ip().to_canonical()) => {
                Forwarded::read(&head, |ip: IpAddr| is_trusted(ip))
            }
            _ => Forwarded::default(),
        };
        let route = match (&settings.route, protocol) {
            (_, CallProtocol::Grpc) => None,
            (Some(route), _) => route(&head),
            (None, _) => matched.map(Cow::Borrowed),
        };
        let scheme = forwarded.scheme.or(head.uri.scheme_str());
        RequestFacts {
            head,
            protocol,
            route,
            scheme: scheme.unwrap_or(&settings.scheme),
            server: forwarded
                .host
                .or_else(|| Host::of_request(head.uri, head.headers)),
            client: forwarded.client,
        }
    }

    fn span(&self, facts: &RequestFacts<'_>, remote: Option<&TraceContext>) -> CallSpan {
        if !self.settings.role.is_public {
            let _scope = remote.map(|remote| stack::open(remote.clone()));
            return self.new_span(facts);
        }
        // An empty scope, so that neither the current context nor the caller's becomes the parent (W3C-10).
        let _scope = stack::open(TraceContext::default());
        let span = self.new_span(facts);
        if let Some(remote) = remote.filter(|remote| remote.is_valid()) {
            span.span.add_link(remote.clone());
        }
        span
    }

    fn new_span(&self, facts: &RequestFacts<'_>) -> CallSpan {
        let settings = &self.settings.role;
        let head = &facts.head;
        let peer_text = head.peer.map(IpText::of);
        let peer = peer_text.as_ref().and_then(IpText::as_str);
        let ends = Endpoints {
            server: facts.server.map(|host| text::cut(host.address)),
            server_port: facts
                .server
                .and_then(|host| host.port_or_default(facts.scheme)),
            peer,
            peer_port: head.peer.map(|peer| peer.port()),
        };
        let client = facts.client.map(|host| text::cut(host.address)).or(peer);
        let version = version_text(head.version);
        if facts.protocol == CallProtocol::Grpc {
            let method = grpc::method(head.uri.path());
            let grpc = GrpcSpan {
                kind: "server",
                method: method.map(text::cut),
                method_original: method.is_none().then(|| text::cut(head.uri.path())),
                ends,
                client,
                version,
            };
            return grpc.served(settings.request.level);
        }
        let method = settings.request.method(head.method);
        let query = head.uri.query().filter(|q| !q.is_empty());
        let query = query.map(|query| settings.request.secret_keys.query(query));
        let user_agent = head.headers.get(USER_AGENT).map(text::of_header);
        let http = HttpServer {
            name: SpanName {
                method: method.in_name,
                target: facts.route.as_deref(),
            },
            method: method.method,
            method_original: method.original,
            route: facts.route.as_deref(),
            scheme: facts.scheme,
            path: text::cut(head.uri.path()),
            query: query.as_deref().map(text::cut),
            ends,
            client,
            user_agent: user_agent.as_deref(),
            version,
            request_size: self.settings.role.request.request_size(head),
        };
        http.span(settings.request.level)
    }

    fn labels(&self, facts: &RequestFacts<'_>) -> Labels {
        let head = &facts.head;
        let rpc_method = match facts.protocol {
            CallProtocol::Grpc => grpc::method(head.uri.path()),
            CallProtocol::Http => None,
        };
        Labels {
            role: Role::Server,
            protocol: facts.protocol,
            method: self.settings.role.request.known_methods.label(head.method),
            scheme: match facts.scheme {
                "http" => "http",
                "https" => "https",
                // The caller chooses it.
                _ => OTHER,
            },
            route: facts.route.as_deref().map(str::to_owned),
            rpc_method: rpc_method.map(str::to_owned),
            version: version_text(head.version),
            server: None,
            request_size: self.settings.role.request.request_size(head),
        }
    }
}
