//! Replaces `signals` on systems without SIGTERM: Ctrl-C alone.

use std::io;

/// Waits for Ctrl-C.
pub(super) struct Signals {
    tell: Option<fn(&io::Error)>,
}

impl Signals {
    /// If the handler cannot be installed, `report` gets the reason, and [`next`](Self::next) never
    /// resolves.
    pub(super) fn listen(report: fn(&io::Error)) -> Self {
        Self { tell: Some(tell) }
    }

    /// Resolves at the next Ctrl-C.
    pub(super) async fn next(&mut self) {
        if let Err(error) = tokio::signal::ctrl_c().await {
            if let Some(tell) = self.tell.take() {
                report(&error);
            }
            std::future::pending().await
        }
    }
}
