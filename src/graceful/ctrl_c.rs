//! In place of `signals` where there is no SIGTERM: Ctrl-C.

use std::io;

/// Ctrl-C.
pub(super) struct Signals {
    tell: Option<fn(&io::Error)>,
}

impl Signals {
    /// Where it cannot be listened to, `tell` is told why, and none comes.
    pub(super) fn listen(tell: fn(&io::Error)) -> Self {
        Self { tell: Some(tell) }
    }

    /// The next one; never where it is not listened to.
    pub(super) async fn next(&mut self) {
        if let Err(error) = tokio::signal::ctrl_c().await {
            if let Some(tell) = self.tell.take() {
                tell(&error);
            }
            std::future::pending().await
        }
    }
}
