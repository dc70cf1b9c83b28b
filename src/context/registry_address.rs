//! Which registry a subscriber has.

use tracing_core::dispatcher::Dispatch;
use tracing_subscriber::Registry;

use crate::registry::OtlpRegistry;

/// Identifies the registry of a subscriber, by its address; zero if the subscriber has none that is known.
pub(crate) fn registry_of(subscriber: &Dispatch) -> usize {
    if let Some(registry) = subscriber.downcast_ref::<OtlpRegistry>() {
        return std::ptr::from_ref(registry) as usize;
    }
    let registry = subscriber.downcast_ref::<Registry>();
    registry.map_or(0, |registry| std::ptr::from_ref(registry) as usize)
}
