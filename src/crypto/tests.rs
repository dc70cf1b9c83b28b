//! The provider of `tls-builtin` beside those of rustls: each suite, group and kind of key, both ways.

use super::*;

#[cfg(all(feature = "tls-ring", feature = "tls-aws-lc"))]
#[test]
fn what_rustls_was_compiled_with_is_found() {
    assert!(compiled::ring_of_rustls().is_some());
    assert!(compiled::aws_lc_rs_of_rustls().is_some());
}

#[test]
fn nothing_is_installed_for_the_process() {
    let _ = provider();
    assert!(CryptoProvider::get_default().is_none());
}

#[cfg(all(feature = "tls-builtin", feature = "tls-ring", feature = "tls-aws-lc"))]
mod handshakes {
    use super::*;
    use std::io::{Read as _, Write as _};

    use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use rustls::server::WebPkiClientVerifier;
    use rustls::{
        ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
        SupportedCipherSuite,
    };

    fn references() -> [CryptoProvider; 2] {
        [
            rustls::crypto::ring::default_provider(),
            rustls::crypto::aws_lc_rs::default_provider(),
        ]
    }

    /// A certificate that is its own authority, and its key.
    fn identity(key: &KeyPair) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params.self_signed(key).unwrap();
        let der = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        (certificate.der().clone(), der)
    }

    fn keys() -> Vec<KeyPair> {
        let of = |algorithm| KeyPair::generate_for(algorithm).unwrap();
        vec![
            of(&rcgen::PKCS_ECDSA_P256_SHA256),
            of(&rcgen::PKCS_ECDSA_P384_SHA384),
            of(&rcgen::PKCS_ED25519),
            KeyPair::from_pem(include_str!("rsa_for_tests.pem")).unwrap(),
        ]
    }

    fn roots(certificate: &CertificateDer<'static>) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        roots
    }

    fn client(
        provider: CryptoProvider,
        key: &KeyPair,
        private: Option<PrivateKeyDer<'static>>,
    ) -> Result<ClientConnection, rustls::Error> {
        let (certificate, own) = identity(key);
        let config = ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(&certificate))
            .with_client_auth_cert(vec![certificate], private.unwrap_or(own))?;
        let name = ServerName::try_from("localhost").unwrap();
        ClientConnection::new(Arc::new(config), name)
    }

    fn server(provider: CryptoProvider, key: &KeyPair) -> ServerConnection {
        let (certificate, private) = identity(key);
        let provider = Arc::new(provider);
        let verifier = WebPkiClientVerifier::builder_with_provider(
            roots(&certificate).into(),
            Arc::clone(&provider),
        );
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![certificate], private)
            .unwrap();
        ServerConnection::new(Arc::new(config)).unwrap()
    }

    /// Shakes hands, and sends more than a record holds either way.
    fn talk(client: &mut ClientConnection, server: &mut ServerConnection) {
        let sent: Vec<u8> = (0..40_000_u32).map(|i| (i % 251) as u8).collect();
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        client.set_buffer_limit(None);
        server.set_buffer_limit(None);
        client.writer().write_all(&sent).unwrap();
        server.writer().write_all(&sent).unwrap();
        let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
        for _ in 0..10 {
            while client.wants_write() {
                client.write_tls(&mut to_server).unwrap();
            }
            feed(server, &mut to_server, &mut at_server);
            while server.wants_write() {
                server.write_tls(&mut to_client).unwrap();
            }
            feed(client, &mut to_client, &mut at_client);
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        assert!(at_server == sent && at_client == sent);
    }

    fn feed<Data>(
        connection: &mut impl std::ops::DerefMut<Target = rustls::ConnectionCommon<Data>>,
        bytes: &mut Vec<u8>,
        plain: &mut Vec<u8>,
    ) {
        let mut input = &bytes[..];
        while !input.is_empty() {
            connection.read_tls(&mut input).unwrap();
            connection.process_new_packets().unwrap();
            let mut buffer = vec![0; 1 << 17];
            while let Ok(n @ 1..) = connection.reader().read(&mut buffer) {
                plain.extend_from_slice(&buffer[..n]);
            }
        }
        bytes.clear();
    }

    /// A suite of TLS 1.2 goes with one kind of key.
    fn fits(suite: &SupportedCipherSuite, key: &KeyPair) -> bool {
        let is_rsa = key.algorithm() == &rcgen::PKCS_RSA_SHA256;
        match suite {
            SupportedCipherSuite::Tls13(_) => true,
            SupportedCipherSuite::Tls12(suite) => {
                format!("{:?}", suite.common.suite).contains("_RSA_") == is_rsa
            }
        }
    }

    #[test]
    fn every_suite_and_kind_of_key_talks_with_both_providers_of_rustls() {
        let (keys, mut count) = (keys(), 0);
        for reference in references() {
            for suite in builtin::provider().cipher_suites {
                for key in keys.iter().filter(|key| fits(&suite, key)) {
                    let mut own = builtin::provider();
                    own.cipher_suites = vec![suite];
                    let mut client = client(own.clone(), key, None).unwrap();
                    let mut server = server(reference.clone(), key);
                    talk(&mut client, &mut server);
                    assert_eq!(
                        client.negotiated_cipher_suite().unwrap().suite(),
                        suite.suite()
                    );
                    // It serves too, at the collector's ports.
                    let mut client = self::client(reference.clone(), key, None).unwrap();
                    let mut server = self::server(own, key);
                    talk(&mut client, &mut server);
                    count += 1;
                }
            }
        }
        // Of 1.3: 3 suites with 4 keys; of 1.2: 3 with ECDSA's 3, 3 with RSA.
        assert_eq!(count, 2 * (3 * 4 + 3 * 3 + 3));
    }

    #[test]
    fn every_group_is_exchanged() {
        let keys = keys();
        for reference in references() {
            for group in builtin::provider().kx_groups {
                for version in [0, 3] {
                    let mut own = builtin::provider();
                    own.kx_groups = vec![group];
                    // The first suite of each version.
                    own.cipher_suites = vec![own.cipher_suites[version]];
                    let mut client = client(own, &keys[0], None).unwrap();
                    let mut server = server(reference.clone(), &keys[0]);
                    talk(&mut client, &mut server);
                    let negotiated = client.negotiated_key_exchange_group().unwrap();
                    assert_eq!(negotiated.name(), group.name());
                }
            }
        }
    }

    #[test]
    fn old_forms_of_keys_are_read() {
        // PKCS#8 ends with the key itself, in the old form.
        let keys = keys();
        for (key, is_rsa) in [(&keys[0], false), (&keys[1], false), (&keys[3], true)] {
            let pkcs8 = key.serialize_der();
            let inner = (0..pkcs8.len()).rev().find_map(|at| {
                let old = pkcs8[at..].to_vec();
                let old: PrivateKeyDer<'static> = match is_rsa {
                    true => PrivateKeyDer::Pkcs1(old.into()),
                    false => PrivateKeyDer::Sec1(old.into()),
                };
                let loaded = builtin::provider()
                    .key_provider
                    .load_private_key(old.clone_key());
                loaded.is_ok().then_some(old)
            });
            let mut client = client(builtin::provider(), key, inner).unwrap();
            let [reference, _] = references();
            talk(&mut client, &mut server(reference, key));
        }
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let keys = keys();
        for (key, other) in keys.iter().zip(keys.iter().cycle().skip(1)) {
            let (_, private) = identity(other);
            assert!(client(builtin::provider(), key, Some(private)).is_err());
        }
        let nonsense = PrivateKeyDer::Pkcs8(vec![0x30, 0].into());
        assert!(client(builtin::provider(), &keys[0], Some(nonsense)).is_err());
    }

    #[test]
    fn what_was_changed_on_the_way_is_refused() {
        let keys = keys();
        for index in 0..builtin::provider().cipher_suites.len() {
            let mut own = builtin::provider();
            own.cipher_suites = vec![own.cipher_suites[index]];
            let suite = own.cipher_suites[0];
            let key = keys.iter().rev().find(|key| fits(&suite, key)).unwrap();
            let [reference, _] = references();
            let mut client = client(own, key, None).unwrap();
            let mut server = server(reference, key);
            talk(&mut client, &mut server);
            for cut in [0, 1] {
                let mut bytes = Vec::new();
                server.writer().write_all(b"span").unwrap();
                server.write_tls(&mut bytes).unwrap();
                let last = bytes.len() - 1;
                match cut {
                    0 => bytes[last] ^= 1,
                    // A record that is shorter than its own tag.
                    _ => bytes = vec![23, 3, 3, 0, 4, 1, 2, 3, 4],
                }
                client.read_tls(&mut &bytes[..]).unwrap();
                assert!(client.process_new_packets().is_err());
            }
        }
    }
}
