//! The bytes of a request, and one exchange of them with a member.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::Delivery;
use crate::config::Protocol;
use crate::export::attempt::{AttemptResult, Request, SendFailure, Sent, no_stream};
use crate::export::cause::{Cause, tell};
use crate::export::credentials::Credentials;
use crate::export::members::{EndpointMember, MemberRoute};
use crate::export::{compress, json};

/// The bytes of a request, for any number of attempts.
pub(super) struct Encoded {
    frames: Vec<Bytes>,
    len: usize,
    pub(super) plain_len: usize,
}

impl Delivery<'_> {
    pub(super) fn encode(&self, frames: Vec<Bytes>, plain_len: usize) -> Result<Encoded, String> {
        let config = &self.client.config;
        let (frames, written_len) = match config.protocol {
            Some(Protocol::HttpJson) if !self.is_encoded => {
                let body = json::encode(self.client.signal, &frames);
                let body = body.map_err(|e| format!("JSON: {e}"))?;
                (vec![body.clone()], body.len())
            }
            _ => (frames, plain_len),
        };
        let body = compress::compress(config.compression, &frames)
            .map_err(|e| format!("the compression failed: {e}"))?;
        let (frames, len) = match body {
            None => (frames, written_len),
            Some(body) => (vec![body.clone()], body.len()),
        };
        Ok(Encoded {
            frames,
            len,
            plain_len,
        })
    }

    pub(super) fn request(
        &self,
        encoded: &Encoded,
        route: &MemberRoute,
        credentials: &Credentials,
        sent: &Sent,
    ) -> Request {
        Request {
            signal: self.client.signal,
            target: route.member.target.clone(),
            frames: encoded.frames.clone(),
            len: encoded.len,
            plain_len: encoded.plain_len,
            encoding: compress::encoding(self.client.config.compression),
            credentials: credentials.clone(),
            sent: sent.clone(),
        }
    }

    /// One attempt within the time left; `None` if a shutdown cancelled it. `others`: another member could take
    /// the request, so half of the time is left for it.
    pub(super) async fn attempt(
        &self,
        request: &Request,
        member: &EndpointMember,
        others: bool,
    ) -> Option<AttemptResult> {
        let left = self.deadline.left();
        let left = left.map(|left| if others { left / 2 } else { left });
        let attempt = self.uncertain_attempt(request, member, left);
        let answer = self.client.cancel.run_until_cancelled(attempt).await;
        // The head of the answer has reported success: another attempt would duplicate the spans.
        let is_certain = matches!(
            &answer,
            Some(AttemptResult::Taken { .. } | AttemptResult::Unclear { .. })
        );
        match request.sent.is_taken() && !is_certain {
            true => Some(AttemptResult::taken_without_words(
                &member.transport.address(),
            )),
            false => answer,
        }
    }

    async fn uncertain_attempt(
        &self,
        request: &Request,
        member: &EndpointMember,
        left: Option<Duration>,
    ) -> AttemptResult {
        let transport = &member.transport;
        let exchange = transport.exchange(request, left);
        let Some(left) = left else {
            return exchange.await;
        };
        let connect = self.client.config.connect_timeout;
        match timeout(left, exchange).await {
            Ok(answer) => answer,
            // Earlier attempts used up the time: this failure says nothing about the endpoint.
            Err(_) if !request.sent.maybe() && !self.deadline.is_fair(connect) => {
                let message = format!("{left:.1?} were left for it");
                let lost = SendFailure::NoTime;
                AttemptResult::None { message, lost }
            }
            Err(_) => {
                let is_held_back = transport.holds_requests_back();
                // The connection may be dead.
                transport.disconnect();
                let address = transport.address();
                let (lost, message) = match request.sent.maybe() {
                    true => (SendFailure::Unknown, request.unanswered(&address, left)),
                    false if is_held_back => (SendFailure::Unreached, no_stream(&address, left)),
                    false => {
                        transport.mark_down();
                        let what = format!("no connection from {address} within {left:.1?}");
                        (SendFailure::Unreached, tell(&what, Cause::ConnectTimeout))
                    }
                };
                AttemptResult::None { message, lost }
            }
        }
    }
}
