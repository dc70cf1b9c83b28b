//! A crypto provider for a process whose rustls has none: rustls implements TLS, *ring* the cryptography.
//!
//! `rustls/ring` does the same. But a feature of rustls applies to every user of rustls in the application,
//! and an application that also enables aws-lc-rs must then choose a default, or panics. This provider is no
//! feature of rustls, so only this crate sees it.
//!
//! This module computes nothing itself: each function passes its bytes to *ring* in the format of the TLS
//! RFCs.

mod exchange;
mod hash;
mod sign;
mod tls12;
mod tls13;

use std::sync::Arc;

use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::Error;
use rustls::SignatureScheme as Scheme;
use rustls::SupportedCipherSuite;
use rustls::crypto::{
    CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, WebPkiSupportedAlgorithms,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;
use webpki::ring as verify;

/// The suites, groups and signatures that `rustls::crypto::ring` has too, in the same order.
pub(super) fn provider() -> CryptoProvider {
    let tls13 = tls13::SUITES.iter().map(SupportedCipherSuite::Tls13);
    let tls12 = tls12::SUITES.iter().map(SupportedCipherSuite::Tls12);
    CryptoProvider {
        cipher_suites: tls13.chain(tls12).collect(),
        kx_groups: exchange::GROUPS.to_vec(),
        signature_verification_algorithms: SIGNATURES,
        secure_random: &Ring,
        key_provider: &Ring,
    }
}

#[derive(Debug)]
struct Ring;

impl SecureRandom for Ring {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
        SystemRandom::new()
            .fill(buffer)
            .map_err(|_| GetRandomFailed)
    }
}

impl KeyProvider for Ring {
    fn load_private_key(&self, key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        sign::load(&key)
    }
}

/// In TLS 1.3 a scheme fixes its curve; in 1.2 it does not, so a scheme maps to several algorithms, first
/// the one of 1.3.
static SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        verify::ECDSA_P256_SHA256,
        verify::ECDSA_P256_SHA384,
        verify::ECDSA_P384_SHA256,
        verify::ECDSA_P384_SHA384,
        verify::ED25519,
        verify::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        verify::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
        verify::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
        verify::RSA_PKCS1_2048_8192_SHA256,
        verify::RSA_PKCS1_2048_8192_SHA384,
        verify::RSA_PKCS1_2048_8192_SHA512,
        verify::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
        verify::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
        verify::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    ],
    mapping: &[
        (
            Scheme::ECDSA_NISTP384_SHA384,
            &[verify::ECDSA_P384_SHA384, verify::ECDSA_P256_SHA384],
        ),
        (
            Scheme::ECDSA_NISTP256_SHA256,
            &[verify::ECDSA_P256_SHA256, verify::ECDSA_P384_SHA256],
        ),
        (Scheme::ED25519, &[verify::ED25519]),
        (
            Scheme::RSA_PSS_SHA512,
            &[verify::RSA_PSS_2048_8192_SHA512_LEGACY_KEY],
        ),
        (
            Scheme::RSA_PSS_SHA384,
            &[verify::RSA_PSS_2048_8192_SHA384_LEGACY_KEY],
        ),
        (
            Scheme::RSA_PSS_SHA256,
            &[verify::RSA_PSS_2048_8192_SHA256_LEGACY_KEY],
        ),
        (
            Scheme::RSA_PKCS1_SHA512,
            &[verify::RSA_PKCS1_2048_8192_SHA512],
        ),
        (
            Scheme::RSA_PKCS1_SHA384,
            &[verify::RSA_PKCS1_2048_8192_SHA384],
        ),
        (
            Scheme::RSA_PKCS1_SHA256,
            &[verify::RSA_PKCS1_2048_8192_SHA256],
        ),
    ],
};
