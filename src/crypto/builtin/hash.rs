//! Hashes and HMACs, for the transcript and the derivation of keys.

use ring::{digest, hmac};
use rustls::crypto::hash::{Context, Hash, HashAlgorithm, Output};
use rustls::crypto::hmac::{Hmac, Key, Tag};

pub(super) static SHA256: Sha = Sha(HashAlgorithm::SHA256, &digest::SHA256);
pub(super) static SHA384: Sha = Sha(HashAlgorithm::SHA384, &digest::SHA384);
pub(super) static HMAC_SHA256: Keyed = Keyed(&hmac::HMAC_SHA256);
pub(super) static HMAC_SHA384: Keyed = Keyed(&hmac::HMAC_SHA384);

pub(super) struct Sha(HashAlgorithm, &'static digest::Algorithm);

impl Hash for Sha {
    fn start(&self) -> Box<dyn Context> {
        Box::new(RunningHash(digest::Context::new(self.1)))
    }

    fn hash(&self, data: &[u8]) -> Output {
        Output::new(digest::digest(self.1, data).as_ref())
    }

    fn output_len(&self) -> usize {
        self.1.output_len()
    }

    fn algorithm(&self) -> HashAlgorithm {
        self.0
    }
}

struct RunningHash(digest::Context);

impl Context for RunningHash {
    fn fork_finish(&self) -> Output {
        Output::new(self.0.clone().finish().as_ref())
    }

    fn fork(&self) -> Box<dyn Context> {
        Box::new(Self(self.0.clone()))
    }

    fn finish(self: Box<Self>) -> Output {
        Output::new(self.0.finish().as_ref())
    }

    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }
}

pub(super) struct Keyed(&'static hmac::Algorithm);

impl Hmac for Keyed {
    fn with_key(&self, key: &[u8]) -> Box<dyn Key> {
        Box::new(WithKey(hmac::Key::new(*self.0, key)))
    }

    fn hash_output_len(&self) -> usize {
        self.0.digest_algorithm().output_len()
    }
}

struct WithKey(hmac::Key);

impl Key for WithKey {
    fn sign_concat(&self, first: &[u8], middle: &[&[u8]], last: &[u8]) -> Tag {
        let mut running = hmac::Context::with_key(&self.0);
        running.update(first);
        middle.iter().for_each(|part| running.update(part));
        running.update(last);
        Tag::new(running.sign().as_ref())
    }

    fn tag_len(&self) -> usize {
        self.0.algorithm().digest_algorithm().output_len()
    }
}
