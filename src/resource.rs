//! Who is speaking: detected, merged, encoded once.

/// Who is speaking.
#[derive(Debug, Clone, Default)]
pub struct Resource {}
