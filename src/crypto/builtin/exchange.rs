//! Key exchange: a key pair for each connection, and the secret shared with the peer.

use ring::agreement::{
    self, Algorithm, ECDH_P256, ECDH_P384, EphemeralPrivateKey, PublicKey, UnparsedPublicKey,
    X25519,
};
use ring::rand::SystemRandom;
use rustls::crypto::{ActiveKeyExchange, GetRandomFailed, SharedSecret, SupportedKxGroup};
use rustls::{Error, NamedGroup, PeerMisbehaved};

pub(super) static GROUPS: &[&dyn SupportedKxGroup] = &[
    &Group(NamedGroup::X25519, &X25519),
    &Group(NamedGroup::secp256r1, &ECDH_P256),
    &Group(NamedGroup::secp384r1, &ECDH_P384),
];

#[derive(Debug)]
struct Group(NamedGroup, &'static Algorithm);

impl SupportedKxGroup for Group {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let private = EphemeralPrivateKey::generate(self.1, &SystemRandom::new())
            .map_err(|_| GetRandomFailed)?;
        let public = private.compute_public_key().map_err(|_| GetRandomFailed)?;
        Ok(Box::new(KeyExchange {
            name: self.0,
            algorithm: self.1,
            private,
            public,
        }))
    }

    fn name(&self) -> NamedGroup {
        self.0
    }
}

struct KeyExchange {
    name: NamedGroup,
    algorithm: &'static Algorithm,
    private: EphemeralPrivateKey,
    public: PublicKey,
}

impl ActiveKeyExchange for KeyExchange {
    /// *ring* refuses points that are not on the curve, and a secret that is zero.
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let peer = UnparsedPublicKey::new(self.algorithm, peer);
        agreement::agree_ephemeral(self.private, &peer, |secret| SharedSecret::from(secret))
            .map_err(|_| PeerMisbehaved::InvalidKeyShare.into())
    }

    fn pub_key(&self) -> &[u8] {
        self.public.as_ref()
    }

    fn group(&self) -> NamedGroup {
        self.name
    }
}
