//! The look-ups of the names of an endpoint, beside its requests.

use std::net::SocketAddr;

use super::MemberList;
use crate::sync::Arc;

/// The most members of one name.
const MOST: usize = 1000;

/// A look-up; ends as failed where its task does not end it.
struct NameLookUp {
    members: Arc<MemberList>,
    entry: usize,
    is_over: bool,
}

impl NameLookUp {
    async fn run(mut self) {
        let error = match self.members.look_up(self.entry).await {
            Ok(addresses) => {
                self.members.update(self.entry, &addresses);
                None
            }
            Err(error) => Some(error),
        };
        self.end(error);
        self.is_over = true;
    }

    fn end(&self, error: Option<String>) {
        let MemberList { names, random, .. } = &*self.members;
        names.end(self.entry, error, random.unit());
    }
}

impl Drop for NameLookUp {
    fn drop(&mut self) {
        if !self.is_over {
            let error = "the look-up was cancelled".to_owned();
            self.end(Some(error));
        }
        self.members.changed.notify_waiters();
    }
}

impl MemberList {
    /// Starts the look-ups that are due.
    pub(super) fn look_up_names(self: &Arc<Self>) {
        for entry in self.names.begin() {
            let running = NameLookUp {
                members: Arc::clone(self),
                entry,
                is_over: false,
            };
            tokio::spawn(running.run());
        }
    }

    pub(super) async fn look_up(&self, entry: usize) -> Result<Vec<SocketAddr>, String> {
        let Some((_, template)) = self.entries.get(entry) else {
            return Ok(Vec::new());
        };
        let mut addresses = template.look_up().await?;
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(MOST);
        Ok(addresses)
    }

    /// A member was lost.
    pub(in crate::export) fn note_loss(&self) {
        self.names.look_up_soon();
    }
}
