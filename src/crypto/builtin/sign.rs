//! Signatures with the client's key, for an endpoint that requires a client certificate.

use std::fmt;
use std::sync::Arc;

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
    RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use rustls::pki_types::{AlgorithmIdentifier, PrivateKeyDer, SubjectPublicKeyInfoDer, alg_id};
use rustls::sign::{Signer, SigningKey, public_key_to_spki};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};

/// RSA in PKCS#1 or PKCS#8, ECDSA with P-256 or P-384 in SEC 1 or PKCS#8, Ed25519 in PKCS#8.
pub(super) fn load(key: &PrivateKeyDer<'_>) -> Result<Arc<dyn SigningKey>, Error> {
    let key = match key {
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der())
            .ok()
            .map(|key| SigningPair::Rsa(key.into())),
        PrivateKeyDer::Sec1(der) => [Curve::P256, Curve::P384].into_iter().find_map(|curve| {
            let pkcs8 = curve.pkcs8(der.secret_sec1_der());
            Some(SigningPair::Ecdsa(curve, curve.load(&pkcs8)?))
        }),
        PrivateKeyDer::Pkcs8(der) => of_pkcs8(der.secret_pkcs8_der()),
        _ => None,
    };
    let what = "the key is none of RSA, ECDSA (P-256, P-384) and Ed25519";
    let key = key.ok_or_else(|| Error::General(what.to_owned()))?;
    Ok(Arc::new(key))
}

fn of_pkcs8(der: &[u8]) -> Option<SigningPair> {
    let rsa = || Some(SigningPair::Rsa(RsaKeyPair::from_pkcs8(der).ok()?.into()));
    let ecdsa = |curve: Curve| Some(SigningPair::Ecdsa(curve, curve.load(der)?));
    let ed25519 = || {
        let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()?;
        Some(SigningPair::Ed25519(key.into()))
    };
    rsa()
        .or_else(|| ecdsa(Curve::P256))
        .or_else(|| ecdsa(Curve::P384))
        .or_else(ed25519)
}

#[derive(Clone)]
enum SigningPair {
    Rsa(Arc<RsaKeyPair>),
    Ecdsa(Curve, Arc<EcdsaKeyPair>),
    Ed25519(Arc<Ed25519KeyPair>),
}

#[derive(Clone, Copy)]
enum Curve {
    P256,
    P384,
}

impl Curve {
    fn load(self, pkcs8: &[u8]) -> Option<Arc<EcdsaKeyPair>> {
        let algorithm: &'static EcdsaSigningAlgorithm = match self {
            Self::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
            Self::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
        };
        let key = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8, &SystemRandom::new());
        Some(Arc::new(key.ok()?))
    }

    fn id(self) -> AlgorithmIdentifier {
        match self {
            Self::P256 => alg_id::ECDSA_P256,
            Self::P384 => alg_id::ECDSA_P384,
        }
    }

    /// A key of SEC 1 within PKCS#8, which is what *ring* reads: `SEQUENCE { INTEGER 0, SEQUENCE
    /// { algorithm }, OCTET STRING { key } }`.
    fn pkcs8(self, sec1: &[u8]) -> Vec<u8> {
        let mut parts = vec![0x02, 0x01, 0x00];
        parts.extend(der(0x30, self.id().as_ref()));
        parts.extend(der(0x04, sec1));
        der(0x30, &parts)
    }
}

/// A value of DER with its tag and length. No key of a curve is longer than 64 KiB.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let [high, low] = u16::try_from(content.len())
        .unwrap_or(u16::MAX)
        .to_be_bytes();
    match (high, low) {
        (0, 0..0x80) => out.push(low),
        (0, _) => out.extend([0x81, low]),
        _ => out.extend([0x82, high, low]),
    }
    out.extend(content);
    out
}

/// The schemes of RSA, in order of preference.
static OF_RSA: &[(SignatureScheme, &dyn RsaEncoding)] = &[
    (SignatureScheme::RSA_PSS_SHA512, &RSA_PSS_SHA512),
    (SignatureScheme::RSA_PSS_SHA384, &RSA_PSS_SHA384),
    (SignatureScheme::RSA_PSS_SHA256, &RSA_PSS_SHA256),
    (SignatureScheme::RSA_PKCS1_SHA512, &RSA_PKCS1_SHA512),
    (SignatureScheme::RSA_PKCS1_SHA384, &RSA_PKCS1_SHA384),
    (SignatureScheme::RSA_PKCS1_SHA256, &RSA_PKCS1_SHA256),
];

impl SigningKey for SigningPair {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let mut encoding = None;
        let scheme = match self {
            Self::Rsa(_) => {
                let (scheme, best) = OF_RSA.iter().find(|(s, _)| offered.contains(s))?;
                encoding = Some(*best);
                *scheme
            }
            Self::Ecdsa(Curve::P256, _) => SignatureScheme::ECDSA_NISTP256_SHA256,
            Self::Ecdsa(Curve::P384, _) => SignatureScheme::ECDSA_NISTP384_SHA384,
            Self::Ed25519(_) => SignatureScheme::ED25519,
        };
        offered.contains(&scheme).then(|| -> Box<dyn Signer> {
            Box::new(WithScheme {
                key: self.clone(),
                scheme,
                encoding,
            })
        })
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(match self {
            Self::Rsa(key) => public_key_to_spki(&alg_id::RSA_ENCRYPTION, key.public_key()),
            Self::Ecdsa(curve, key) => public_key_to_spki(&curve.id(), key.public_key()),
            Self::Ed25519(key) => public_key_to_spki(&alg_id::ED25519, key.public_key()),
        })
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self {
            Self::Rsa(_) => SignatureAlgorithm::RSA,
            Self::Ecdsa(..) => SignatureAlgorithm::ECDSA,
            Self::Ed25519(_) => SignatureAlgorithm::ED25519,
        }
    }
}

struct WithScheme {
    key: SigningPair,
    scheme: SignatureScheme,
    /// Of RSA.
    encoding: Option<&'static dyn RsaEncoding>,
}

impl Signer for WithScheme {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let failed = |_| Error::General("signing failed".to_owned());
        let random = SystemRandom::new();
        match &self.key {
            SigningPair::Rsa(key) => {
                let encoding = self.encoding.unwrap_or(&RSA_PSS_SHA256);
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(encoding, &random, message, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
            SigningPair::Ecdsa(_, key) => {
                let signature = key.sign(&random, message).map_err(failed)?;
                Ok(signature.as_ref().to_vec())
            }
            SigningPair::Ed25519(key) => Ok(key.sign(message).as_ref().to_vec()),
        }
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

impl fmt::Debug for SigningPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningPair").finish_non_exhaustive()
    }
}

impl fmt::Debug for WithScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithScheme")
            .field("scheme", &self.scheme)
            .finish_non_exhaustive()
    }
}
