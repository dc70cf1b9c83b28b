//! Records of TLS 1.3 (RFC 8446, 5.2).

use ring::aead::{self, Aad, LessSafeKey, UnboundKey};
use rustls::crypto::CipherSuiteCommon;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter,
    Nonce, OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm,
    UnsupportedOperationError, make_tls13_aad,
};
use rustls::crypto::tls13::HkdfUsingHmac;
use rustls::{
    CipherSuite, ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion, Tls13CipherSuite,
};

use super::hash::{HMAC_SHA256, HMAC_SHA384, SHA256, SHA384};

/// The bound of records for one AES-GCM key (RFC 8446, 5.5).
pub(super) const GCM_RECORDS: u64 = 1 << 24;

pub(super) static SUITES: &[Tls13CipherSuite] = &[
    Tls13CipherSuite {
        common: CipherSuiteCommon {
            suite: CipherSuite::TLS13_AES_256_GCM_SHA384,
            hash_provider: &SHA384,
            confidentiality_limit: GCM_RECORDS,
        },
        hkdf_provider: &HkdfUsingHmac(&HMAC_SHA384),
        aead_alg: &Tls13Aead(&aead::AES_256_GCM),
        quic: None,
    },
    Tls13CipherSuite {
        common: CipherSuiteCommon {
            suite: CipherSuite::TLS13_AES_128_GCM_SHA256,
            hash_provider: &SHA256,
            confidentiality_limit: GCM_RECORDS,
        },
        hkdf_provider: &HkdfUsingHmac(&HMAC_SHA256),
        aead_alg: &Tls13Aead(&aead::AES_128_GCM),
        quic: None,
    },
    Tls13CipherSuite {
        common: CipherSuiteCommon {
            suite: CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
            hash_provider: &SHA256,
            confidentiality_limit: u64::MAX,
        },
        hkdf_provider: &HkdfUsingHmac(&HMAC_SHA256),
        aead_alg: &Tls13Aead(&aead::CHACHA20_POLY1305),
        quic: None,
    },
];

/// rustls passes keys of the suite's length; with another length encryption and decryption fail.
pub(super) fn key(algorithm: &'static aead::Algorithm, key: &AeadKey) -> Option<LessSafeKey> {
    let key = UnboundKey::new(algorithm, key.as_ref()).ok()?;
    Some(LessSafeKey::new(key))
}

struct Tls13Aead(&'static aead::Algorithm);

impl Tls13AeadAlgorithm for Tls13Aead {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        let key = self::key(self.0, &key);
        Box::new(Tls13Protection { key, iv })
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        let key = self::key(self.0, &key);
        Box::new(Tls13Protection { key, iv })
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(
        &self,
        _: AeadKey,
        _: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Err(UnsupportedOperationError)
    }
}

struct Tls13Protection {
    key: Option<LessSafeKey>,
    iv: Iv,
}

impl Tls13Protection {
    fn nonce(&self, record: u64) -> aead::Nonce {
        aead::Nonce::assume_unique_for_key(Nonce::new(&self.iv, record).0)
    }
}

impl MessageEncrypter for Tls13Protection {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        record: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let key = self.key.as_ref().ok_or(Error::EncryptError)?;
        let len = self.encrypted_payload_len(message.payload.len());
        let mut payload = PrefixedPayload::with_capacity(len);
        payload.extend_from_chunks(&message.payload);
        payload.extend_from_slice(&[message.typ.into()]);
        let aad = Aad::from(make_tls13_aad(len));
        key.seal_in_place_append_tag(self.nonce(record), aad, &mut payload)
            .map_err(|_| Error::EncryptError)?;
        Ok(OutboundOpaqueMessage::new(
            ContentType::ApplicationData,
            ProtocolVersion::TLSv1_2,
            payload,
        ))
    }

    /// One more byte: the content type.
    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        let tag = self.key.as_ref().map_or(0, |key| key.algorithm().tag_len());
        payload_len + 1 + tag
    }
}

impl MessageDecrypter for Tls13Protection {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        record: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let key = self.key.as_ref().ok_or(Error::DecryptError)?;
        let aad = Aad::from(make_tls13_aad(message.payload.len()));
        let plain = key
            .open_in_place(self.nonce(record), aad, &mut message.payload)
            .map_err(|_| Error::DecryptError)?
            .len();
        message.payload.truncate(plain);
        message.into_tls13_unpadded_message()
    }
}
