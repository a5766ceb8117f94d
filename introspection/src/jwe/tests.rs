use aws_lc_rs::cipher::PaddedBlockEncryptingKey;
use aws_lc_rs::rsa::{KeySize, OaepPublicEncryptingKey};
use base64::prelude::BASE64_STANDARD;
use jsonwebtoken::Algorithm;
use serde_json::json;

use super::*;
use crate::testing::Signer;

const TEXT: &[u8] = b"what nobody else shall read";

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

struct Receiver {
    key: DecryptionKey,
    pem: String,
    algorithms: &'static [&'static str],
}

impl Receiver {
    fn new(kind: Algorithm, algorithms: &'static [&'static str]) -> Self {
        let pem = Signer::new(kind).pem;
        Self { key: DecryptionKey::from_pem(&pem).unwrap(), pem, algorithms }
    }

    fn decrypt(&self, jwe: &str) -> Option<Zeroizing<Vec<u8>>> {
        self.key.decrypt(jwe)
    }
}

fn receivers() -> [Receiver; 3] {
    let agreements = &["ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A256KW"];
    [
        Receiver::new(Algorithm::ES256, agreements),
        Receiver::new(Algorithm::ES384, agreements),
        Receiver::new(Algorithm::RS256, &["RSA-OAEP", "RSA-OAEP-256"]),
    ]
}

/// The sender: encrypts to a receiver by one pair of algorithms.
fn encrypt(receiver: &Receiver, algorithm: &str, encryption: &'static ContentEncryption, change: &Value) -> String {
    let mut header = json!({ "alg": algorithm, "enc": encryption.name });
    for (name, value) in change.as_object().unwrap() {
        header[name] = value.clone();
    }
    let mut content_key = vec![0; encryption.key_length];
    rand::fill(&mut content_key).unwrap();
    let mut encrypted_key = vec![];
    match &receiver.key.0 {
        Kind::Rsa(_) => {
            let hash = if algorithm == "RSA-OAEP" { &OAEP_SHA1_MGF1SHA1 } else { &OAEP_SHA256_MGF1SHA256 };
            let der = pem::parse(&receiver.pem).unwrap();
            let key = PrivateDecryptingKey::from_pkcs8(der.contents()).unwrap().public_key();
            let key = OaepPublicEncryptingKey::new(key).unwrap();
            encrypted_key = vec![0; key.ciphertext_size()];
            key.encrypt(hash, &content_key, &mut encrypted_key, None).unwrap();
        }
        Kind::P256(key) | Kind::P384(key) => {
            let (curve, name) =
                if key.algorithm() == &ECDH_P256 { (&ECDH_P256, "P-256") } else { (&ECDH_P384, "P-384") };
            let ephemeral = PrivateKey::generate(curve).unwrap();
            let (ours, theirs) = (ephemeral.compute_public_key().unwrap(), key.compute_public_key().unwrap());
            let (x, y) = ours.as_ref()[1..].split_at(ours.as_ref().len() / 2);
            header["epk"] = json!({ "kty": "EC", "crv": name, "x": encode(x), "y": encode(y) });
            let (identifier, length) = match algorithm {
                "ECDH-ES" => (encryption.name, encryption.key_length),
                "ECDH-ES+A128KW" => (algorithm, 16),
                _ => (algorithm, 32),
            };
            let agreed = agreement::agree(&ephemeral, UnparsedPublicKey::new(curve, theirs.as_ref()), (), |secret| {
                Ok(concat_kdf(secret, identifier, b"", b"", length))
            })
            .unwrap();
            if algorithm == "ECDH-ES" {
                content_key = agreed.to_vec();
            } else {
                let cipher = if length == 16 { &key_wrap::AES_128 } else { &key_wrap::AES_256 };
                encrypted_key = vec![0; content_key.len() + 8];
                AesKek::new(cipher, &agreed).unwrap().wrap(&content_key, &mut encrypted_key).unwrap();
            }
        }
    }
    let protected = encode(header.to_string());
    let (iv, ciphertext, tag) = encryption.seal(&content_key, protected.as_bytes());
    [protected, encode(encrypted_key), encode(iv), encode(ciphertext), encode(tag)].join(".")
}

impl ContentEncryption {
    fn seal(&self, key: &[u8], header: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        match self.method {
            Method::Gcm(algorithm) => {
                let key = aead::LessSafeKey::new(aead::UnboundKey::new(algorithm, key).unwrap());
                let (iv, mut text) = ([7; 12], TEXT.to_vec());
                let nonce = aead::Nonce::assume_unique_for_key(iv);
                let tag = key.seal_in_place_separate_tag(nonce, aead::Aad::from(header), &mut text).unwrap();
                (iv.to_vec(), text, tag.as_ref().to_vec())
            }
            Method::CbcHmac(algorithm, mac) => {
                let (mac_key, key) = key.split_at(self.key_length / 2);
                let key = PaddedBlockEncryptingKey::cbc_pkcs7(UnboundCipherKey::new(algorithm, key).unwrap()).unwrap();
                let mut text = TEXT.to_vec();
                let context = key.encrypt(&mut text).unwrap();
                let iv: &[u8] = (&context).try_into().unwrap();
                let header_bits = (header.len() as u64 * 8).to_be_bytes();
                let mac = hmac::sign(&hmac::Key::new(mac, mac_key), &[header, iv, &text, &header_bits].concat());
                (iv.to_vec(), text, mac.as_ref()[..mac.as_ref().len() / 2].to_vec())
            }
        }
    }
}

#[test]
fn what_is_encrypted_to_us_is_read_and_to_nobody_else() {
    let (ours, others) = (receivers(), receivers());
    for (key, other) in ours.iter().zip(&others) {
        for algorithm in key.algorithms {
            for encryption in &CONTENT_ENCRYPTIONS {
                let jwe = encrypt(key, algorithm, encryption, &json!({}));
                let name = format!("{algorithm} {}", encryption.name);
                assert_eq!(key.decrypt(&jwe).expect(&name).as_slice(), TEXT, "{name}");
                assert!(other.decrypt(&jwe).is_none(), "{name}");
                assert_eq!(ours.iter().filter(|key| key.decrypt(&jwe).is_some()).count(), 1, "{name}");
            }
        }
    }
}

#[test]
fn what_is_changed_on_its_way_is_not_read() {
    for key in receivers() {
        for algorithm in key.algorithms {
            for encryption in &CONTENT_ENCRYPTIONS {
                let jwe = encrypt(&key, algorithm, encryption, &json!({ "note": "for the authentication" }));
                let parts: Vec<Vec<u8>> = jwe.split('.').map(|part| decode(part).unwrap()).collect();
                for at in 0..parts.len() {
                    for position in [0, parts[at].len() / 2, parts[at].len().saturating_sub(1)] {
                        let mut changed = parts.clone();
                        let Some(byte) = changed[at].get_mut(position) else { continue };
                        *byte ^= 1;
                        let changed: Vec<String> = changed.iter().map(encode).collect();
                        assert!(key.decrypt(&changed.join(".")).is_none(), "{algorithm} {} {at}", encryption.name);
                    }
                    let mut shorter = parts.clone();
                    shorter[at].pop();
                    let shorter: Vec<String> = shorter.iter().map(encode).collect();
                    assert!(key.decrypt(&shorter.join(".")).is_none() || parts[at].is_empty());
                }
            }
        }
    }
}

#[test]
fn rfc7516_s4_1_a_header_that_asks_for_more_is_refused() {
    let ([key, ..], encryption) = (receivers(), &CONTENT_ENCRYPTIONS[0]);
    for change in [
        json!({ "zip": "DEF" }),
        json!({ "zip": null }),
        json!({ "crit": [] }),
        json!({ "enc": "A192GCM" }),
        json!({ "alg": "dir" }),
        json!({ "alg": "RSA1_5" }),
        json!({ "alg": "RSA-OAEP" }),
        json!({ "apu": 7 }),
        json!({ "apv": "not base64url!" }),
        json!({ "apu": encode("Alice") }),
    ] {
        assert!(key.decrypt(&encrypt(&key, "ECDH-ES", encryption, &change)).is_none(), "{change}");
    }
    let jwe = encrypt(&key, "ECDH-ES", encryption, &json!({}));
    assert!(key.decrypt(&jwe).is_some());
    let (header, rest) = jwe.split_once('.').unwrap();
    for broken in ["", ".", "....", &format!("{jwe}."), &format!("{header}.AAAA{rest}"), &format!("{header}..{rest}")] {
        assert!(key.decrypt(broken).is_none(), "{broken}");
    }
    assert!(key.decrypt(&format!("{jwe}{}", "A".repeat(MAX_LENGTH))).is_none());
}

#[test]
fn an_ephemeral_key_that_is_none_is_refused() {
    let ([key, ..], encryption) = (receivers(), &CONTENT_ENCRYPTIONS[0]);
    let jwe = encrypt(&key, "ECDH-ES", encryption, &json!({}));
    let (header, rest) = jwe.split_once('.').unwrap();
    let good: Value = serde_json::from_slice(&decode(header).unwrap()).unwrap();
    for (name, value) in [
        ("kty", json!("OKP")),
        ("crv", json!("P-384")),
        ("x", json!(encode([0; 31]))),
        ("y", json!(encode([0; 32]))),
        ("y", Value::Null),
    ] {
        let mut header = good.clone();
        header["epk"][name] = value.clone();
        assert!(key.decrypt(&format!("{}.{rest}", encode(header.to_string()))).is_none(), "{name} {value}");
    }
}

#[test]
fn a_key_is_rsa_or_on_one_of_two_curves() {
    assert!(DecryptionKey::from_pem(&Signer::new(Algorithm::EdDSA).pem).is_none());
    assert!(DecryptionKey::from_pem(&Signer::rsa(Algorithm::RS256, KeySize::Rsa3072).pem).is_some());
    assert!(DecryptionKey::from_pem("no key").is_none());
}

/// The key of RFC 7516 §A.1.4, as PKCS #8.
const RFC7516_A_1: &str = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQChqFQihbDQrS6wo245HofjCR/igFRcdPFG+BvjwT4FW/GR4M2NsLiF7ytR\
     ZwmhmZ2zaHszvSKYRWFFTl2Mg1e2qWVcjgMWpwjUOCNP0t7A0PwxbYqt/dKmyT9mSgWeKVqQbKBPClne56wf48UAE0hRik6I3Xl2xBGSCvS8\
     SHE33aLZqxs56dJl7JrHOIrvZTDGusqgTG/qRzm3BdOriH5AKEs6WfT+a1RnB+xFoxK0+zqZLpeuDGfFtaGiN/rre24RC54YL4UIx+trfoL2\
     ScMUbMqw1rstkrZ2NiDIPclH8wH/g1Qlb9Oo5C3AdhvF6+gkCub4vlK2jCPMbL79urobAgMBAAECggEBAJC3bSI+hmw5LPwKQkk2ELXpXDbb\
     ZSojsj8zK1x3iPspNRe/pKQ8WOPlmOTVleSp7WhHl0tY/NhN++ccYVjB18r42HnD0/X6cEfzPYFfJ/R64dmp06Uw/dw7etsqVt8g7CcwZ056\
     2LtYsFkYASqxGGOOqgGSKwNsQMJ5tl+7hkdYYIZKg6dFao95G0gs9V8nwrOvy3oQcLcRyMofEYqcuNKduJqDgG4MVcN68U/75bd1FXuFjtyZ\
     CTs5aVH/ik1SNj7YJvnQEcUxLRPonfuDia9IfivlRbN1Up3VUyM50sX8q4/CCy+jBv1L/GALu1SC0gd5TltPOfuKhNw84K044MkCgYEA1r52\
     Xk46c+LsfB5P442p7atdPUrxQSy4mti/tZI3Mgf2EuFVbUoDBvaRQ+SWxkbkmoEzL7JXroSBjSrK3YIQgYdMgyAEPTPjXv/hI2/1eTSPVZfz\
     L0lffNn03IXqWF5MDFuoUYE0hzb2vhrlN/rKrbfDIwUbTrjjgieRbwC6Cl0CgYEAwLb35x7hmQWZsWJmB/vle87ihgZ19S8lBEROLIsZG4ay\
     ZVe9Hi9gDVCOBmUDdaDYVTSNx/8Fyw1YYa9XGrGnDew00J28cRUoeBB/jKI1oma0Orv1T9aXIWxKwd4gvxFImOWr3QRL9KEBRzk2RatUBnmD\
     ZJTIAfwTs0g68UZHvtcCgYBkr5jATt2JSHSpHW1HvDxYe2iUPHcxn85OjCIW+B95DdKKt6xeOb2BnkouExe+j67P4pQlYPFLmkVD8zR692jV\
     0qJFONXD/Hg3KrJc8zmdQs+RylTzbuuelnMAkql2FYCCqtcYoAQJAfRe3i1rOeOd3/NWkCZlmrrRY8wEx8py4QKBgA6tIH4CdQ3RRl4i70BG\
     Z7ihDdFFJrCQcZI8nXN4+GWHQYjEQMvOsdLxwo8sHDJWGIOMqAuGGWvYTVXLI6gNxXoi9fa5PIOkJ9vU7dHI/Kqshac/bzQwVHwgIiVXhEjo\
     yQ2T2B3R2PL9W/qPmdl+bby8fkwnpH+6Mcnig1Kilo4rAoGAVIMpMYbPf47dT1w/zDUXfPimsSegnMOA1zTaX7aGk/8urY6R8+ZW1FxU7AlW\
     AyLWybqq6t16VFd7hQd0y6flUK4SlOydB61gwanOsXGOAOv82cHq0E3eL4HrtZkUuKvnPrMnsUUFlfUdybVzxyjz9JF/XyaY14ardLSjf4L/\
     FNY=";

#[test]
fn rfc7516_a_1_rsa_oaep_and_aes_gcm() {
    let der = BASE64_STANDARD.decode(RFC7516_A_1).unwrap();
    let key = DecryptionKey::from_pem(&pem::encode(&pem::Pem::new("PRIVATE KEY", der))).unwrap();
    let text = key
        .decrypt(
            "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.\
             OKOawDo13gRp2ojaHV7LFpZcgV7T6DVZKTyKOMTYUmKoTCVJRgckCL9kiMT03JGeipsEdY3mx_etLbbWSrFr05kLzcSr4qKAq7YN7e9j\
             wQRb23nfa6c9d-StnImGyFDbSv04uVuxIp5Zms1gNxKKK2Da14B8S4rzVRltdYwam_lDp5XnZAYpQdb76FdIKLaVmqgfwX7XWRxv2322\
             i-vDxRfqNzo_tETKzpVLzfiwQyeyPGLBIO56YJ7eObdv0je81860ppamavo35UgoRdbYaBcoh9QcfylQr66oc6vFWXRcZ_ZT2LawVCWT\
             Iy3brGPi6UklfCpIMfIjf7iGdXKHzg.\
             48V1_ALb6US04U3b.\
             5eym8TW_c8SuK0ltJ3rpYIzOeDQz7TALvtu6UG9oMo4vpzs9tX_EFShS8iB7j6jiSdiwkIr3ajwQzaBtQD_A.\
             XFBoMYUZodetZdvTiFvSkQ",
        )
        .unwrap();
    assert_eq!(text.as_slice(), b"The true sign of intelligence is not knowledge but imagination.");
}

#[test]
fn rfc7518_c_ecdh_es_key_agreement() {
    let bob = decode("VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw").unwrap();
    let bob = DecryptionKey(Kind::P256(PrivateKey::from_private_key(&ECDH_P256, &bob).unwrap()));
    let header = json!({
        "alg": "ECDH-ES",
        "enc": "A128GCM",
        "apu": "QWxpY2U",
        "apv": "Qm9i",
        "epk": {
            "kty": "EC",
            "crv": "P-256",
            "x": "gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0",
            "y": "SLW_xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps"
        }
    });
    let header = Claims::parse(header.to_string().as_bytes()).unwrap();
    let derived = bob.content_key(&header, &CONTENT_ENCRYPTIONS[0], &[]).unwrap();
    assert_eq!(encode(derived.as_slice()), "VqqN6vgjbSBcIijNcacQGg");
    assert!(bob.content_key(&header, &CONTENT_ENCRYPTIONS[0], &[0]).is_none(), "there is no wrapped key");
}

#[test]
fn a_key_that_does_not_come_out_of_its_wrapping_is_a_random_one() {
    let [.., Receiver { key, .. }] = receivers();
    let header = Claims::parse(br#"{"alg":"RSA-OAEP"}"#).unwrap();
    let random = || key.content_key(&header, &CONTENT_ENCRYPTIONS[0], &[0; 256]).unwrap();
    assert_eq!(random().len(), 16);
    assert_ne!(random(), random());
}
