//! Records of TLS 1.2: AES-GCM (RFC 5288) and ChaCha20-Poly1305 (RFC 7905).

use ring::aead::{self, Aad, LessSafeKey};
use rustls::SignatureScheme as Scheme;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, KeyBlockShape, MessageDecrypter,
    MessageEncrypter, NONCE_LEN, Nonce, OutboundOpaqueMessage, OutboundPlainMessage,
    PrefixedPayload, Tls12AeadAlgorithm, UnsupportedOperationError, make_tls12_aad,
};
use rustls::crypto::tls12::PrfUsingHmac;
use rustls::crypto::{CipherSuiteCommon, KeyExchangeAlgorithm};
use rustls::{CipherSuite, ConnectionTrafficSecrets, Error, Tls12CipherSuite};

use super::hash::{HMAC_SHA256, HMAC_SHA384, SHA256, SHA384};
use super::tls13::{GCM_RECORDS, key};

/// The longest content of a record (RFC 5246, 6.2.1).
const LONGEST: usize = 1 << 14;

static WITH_ECDSA: &[Scheme] = &[
    Scheme::ED25519,
    Scheme::ECDSA_NISTP384_SHA384,
    Scheme::ECDSA_NISTP256_SHA256,
];
static WITH_RSA: &[Scheme] = &[
    Scheme::RSA_PSS_SHA512,
    Scheme::RSA_PSS_SHA384,
    Scheme::RSA_PSS_SHA256,
    Scheme::RSA_PKCS1_SHA512,
    Scheme::RSA_PKCS1_SHA384,
    Scheme::RSA_PKCS1_SHA256,
];

pub(super) static SUITES: &[Tls12CipherSuite] = &[
    with_aes_256(
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        WITH_ECDSA,
    ),
    with_sha256(
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        WITH_ECDSA,
        &AES_128,
        GCM_RECORDS,
    ),
    with_sha256(
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        WITH_ECDSA,
        &CHACHA20,
        u64::MAX,
    ),
    with_aes_256(CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, WITH_RSA),
    with_sha256(
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        WITH_RSA,
        &AES_128,
        GCM_RECORDS,
    ),
    with_sha256(
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        WITH_RSA,
        &CHACHA20,
        u64::MAX,
    ),
];

const fn with_aes_256(suite: CipherSuite, sign: &'static [Scheme]) -> Tls12CipherSuite {
    Tls12CipherSuite {
        common: CipherSuiteCommon {
            suite,
            hash_provider: &SHA384,
            confidentiality_limit: GCM_RECORDS,
        },
        kx: KeyExchangeAlgorithm::ECDHE,
        sign,
        aead_alg: &AES_256,
        prf_provider: &PRF_SHA384,
    }
}

const fn with_sha256(
    suite: CipherSuite,
    sign: &'static [Scheme],
    aead_alg: &'static Tls12Aead,
    confidentiality_limit: u64,
) -> Tls12CipherSuite {
    Tls12CipherSuite {
        common: CipherSuiteCommon {
            suite,
            hash_provider: &SHA256,
            confidentiality_limit,
        },
        kx: KeyExchangeAlgorithm::ECDHE,
        sign,
        aead_alg,
        prf_provider: &PRF_SHA256,
    }
}

static PRF_SHA256: PrfUsingHmac<'static> = PrfUsingHmac(&HMAC_SHA256);
static PRF_SHA384: PrfUsingHmac<'static> = PrfUsingHmac(&HMAC_SHA384);
static AES_256: Tls12Aead = Tls12Aead {
    algorithm: &aead::AES_256_GCM,
    shape: OF_GCM,
};
static AES_128: Tls12Aead = Tls12Aead {
    algorithm: &aead::AES_128_GCM,
    shape: OF_GCM,
};
static CHACHA20: Tls12Aead = Tls12Aead {
    algorithm: &aead::CHACHA20_POLY1305,
    shape: Shape {
        fixed: NONCE_LEN,
        explicit: 0,
    },
};

/// The lengths of the nonce's parts: from the key block, and explicit in each record.
#[derive(Clone, Copy)]
struct Shape {
    fixed: usize,
    explicit: usize,
}

const OF_GCM: Shape = Shape {
    fixed: 4,
    explicit: 8,
};

struct Tls12Aead {
    algorithm: &'static aead::Algorithm,
    shape: Shape,
}

impl Tls12Aead {
    fn protection(&self, key: &AeadKey, iv: &[u8], extra: &[u8]) -> Tls12Protection {
        let mut whole = [0; NONCE_LEN];
        let given = iv.iter().chain(extra);
        whole
            .iter_mut()
            .zip(given)
            .for_each(|(to, from)| *to = *from);
        Tls12Protection {
            key: self::key(self.algorithm, key),
            iv: whole.into(),
            shape: self.shape,
        }
    }
}

impl Tls12AeadAlgorithm for Tls12Aead {
    fn encrypter(&self, key: AeadKey, iv: &[u8], extra: &[u8]) -> Box<dyn MessageEncrypter> {
        Box::new(self.protection(&key, iv, extra))
    }

    fn decrypter(&self, key: AeadKey, iv: &[u8]) -> Box<dyn MessageDecrypter> {
        Box::new(self.protection(&key, iv, &[]))
    }

    fn key_block_shape(&self) -> KeyBlockShape {
        KeyBlockShape {
            enc_key_len: self.algorithm.key_len(),
            fixed_iv_len: self.shape.fixed,
            explicit_nonce_len: self.shape.explicit,
        }
    }

    fn extract_keys(
        &self,
        _: AeadKey,
        _: &[u8],
        _: &[u8],
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Err(UnsupportedOperationError)
    }
}

struct Tls12Protection {
    key: Option<LessSafeKey>,
    /// Of GCM when it decrypts, the first four bytes alone.
    iv: Iv,
    shape: Shape,
}

impl MessageEncrypter for Tls12Protection {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        record: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let key = self.key.as_ref().ok_or(Error::EncryptError)?;
        let plain = message.payload.len();
        // The nonce contains the record number, so that no two are equal.
        let nonce = Nonce::new(&self.iv, record).0;
        let (_, explicit) = nonce.split_at(NONCE_LEN - self.shape.explicit);
        let mut payload = PrefixedPayload::with_capacity(self.encrypted_payload_len(plain));
        payload.extend_from_slice(explicit);
        payload.extend_from_chunks(&message.payload);
        let aad = make_tls12_aad(record, message.typ, message.version, plain);
        let content = payload
            .as_mut()
            .get_mut(self.shape.explicit..)
            .ok_or(Error::EncryptError)?;
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let tag = key
            .seal_in_place_separate_tag(nonce, Aad::from(aad), content)
            .map_err(|_| Error::EncryptError)?;
        payload.extend_from_slice(tag.as_ref());
        Ok(OutboundOpaqueMessage::new(
            message.typ,
            message.version,
            payload,
        ))
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        let tag = self.key.as_ref().map_or(0, |key| key.algorithm().tag_len());
        self.shape.explicit + payload_len + tag
    }
}

impl MessageDecrypter for Tls12Protection {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        record: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let key = self.key.as_ref().ok_or(Error::DecryptError)?;
        let explicit = self.shape.explicit;
        let overhead = explicit + key.algorithm().tag_len();
        let payload = &mut message.payload;
        let plain = payload
            .len()
            .checked_sub(overhead)
            .ok_or(Error::DecryptError)?;
        let mut nonce = match explicit {
            0 => Nonce::new(&self.iv, record).0,
            _ => Nonce::new(&self.iv, 0).0,
        };
        let (_, of_record) = nonce.split_at_mut(NONCE_LEN - explicit);
        of_record.copy_from_slice(payload.get(..explicit).ok_or(Error::DecryptError)?);
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let aad = make_tls12_aad(record, message.typ, message.version, plain);
        let plain = key
            .open_within(nonce, Aad::from(aad), payload, explicit..)
            .map_err(|_| Error::DecryptError)?
            .len();
        if plain > LONGEST {
            return Err(Error::PeerSentOversizedRecord);
        }
        message.payload.truncate(plain);
        Ok(message.into_plain_message())
    }
}
