//! The crypto provider of TLS: the process's default, else that of the application's rustls, else this
//! crate's own.
//!
//! Installs no default for the process, and enables no feature of rustls unless `tls-ring` or `tls-aws-lc`
//! is enabled.

#[cfg(feature = "tls-builtin")]
mod builtin;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The cure if there is no provider.
pub(crate) const NONE: &str = "rustls has no provider of cryptography here: enable the feature `tls-ring` \
     or `tls-aws-lc` of tracing-otlp, or call `CryptoProvider::install_default` before the pipeline is built";

/// The provider that the process has installed; else that of `tls-aws-lc` or `tls-ring`; else the one
/// that the application's rustls was compiled with; else the one of `tls-builtin`.
pub(crate) fn provider() -> Option<Arc<CryptoProvider>> {
    if let Some(installed) = CryptoProvider::get_default() {
        return Some(Arc::clone(installed));
    }
    // Both may be compiled in although only one feature is on: the other is the application's.
    let compiled: [fn() -> Option<CryptoProvider>; 2] =
        match cfg!(feature = "tls-ring") && !cfg!(feature = "tls-aws-lc") {
            true => [compiled::ring_of_rustls, compiled::aws_lc_rs_of_rustls],
            false => [compiled::aws_lc_rs_of_rustls, compiled::ring_of_rustls],
        };
    let compiled = compiled.into_iter().find_map(|provider| provider());
    compiled.or_else(builtin).map(Arc::new)
}

#[cfg(feature = "tls-builtin")]
fn builtin() -> Option<CryptoProvider> {
    Some(builtin::provider())
}

#[cfg(not(feature = "tls-builtin"))]
fn builtin() -> Option<CryptoProvider> {
    None
}

/// The providers that rustls was compiled with, by any crate of the build. The features of rustls are
/// visible only inside rustls, and `ClientConfig::builder()` panics if they are ambiguous, or installs a
/// default. The trick here: a glob import in a function shadows the names of the module around it. So a
/// provider that rustls has comes from rustls, and a missing one from the stub in this module.
#[allow(
    dead_code,
    unused_imports,
    reason = "either rustls has the module, or this stands for it"
)]
mod compiled {
    use rustls::crypto::CryptoProvider;

    /// Of a provider that is there, or is not.
    trait Found {
        fn found(self) -> Option<CryptoProvider>;
    }

    impl Found for CryptoProvider {
        fn found(self) -> Option<CryptoProvider> {
            Some(self)
        }
    }

    impl Found for Option<CryptoProvider> {
        fn found(self) -> Option<CryptoProvider> {
            self
        }
    }

    mod ring {
        pub(super) fn default_provider() -> Option<rustls::crypto::CryptoProvider> {
            None
        }
    }

    mod aws_lc_rs {
        pub(super) use super::ring::default_provider;
    }

    pub(super) fn ring_of_rustls() -> Option<CryptoProvider> {
        use rustls::crypto::*;
        Found::found(ring::default_provider())
    }

    pub(super) fn aws_lc_rs_of_rustls() -> Option<CryptoProvider> {
        use rustls::crypto::*;
        Found::found(aws_lc_rs::default_provider())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
mod tests;
