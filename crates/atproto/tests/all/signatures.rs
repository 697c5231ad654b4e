//! Keys and signatures: the published vectors, and what is signed here.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use wingbeat_atproto::{Curve, Did, DidDocument, PublicKey, SignatureError, SigningKey};

use crate::common::{read_json, shared_file, unhex};

fn curve(suite: &str) -> Curve {
    match suite {
        "EcdsaSecp256k1VerificationKey2019" => Curve::Secp256k1,
        "EcdsaSecp256r1VerificationKey2019" => Curve::P256,
        other => panic!("the unknown suite {other}"),
    }
}

#[test]
fn signature_vectors() {
    let Some(file) = shared_file("fixtures/interop/crypto/signature-fixtures.json") else { return };
    let vectors = read_json(&file);
    let mut accepted = 0;
    for vector in &vectors {
        let text = |field: &str| vector[field].as_str().unwrap();
        let key: PublicKey = text("publicKeyDid").parse().unwrap();
        let suite = text("didDocSuite");
        let older = PublicKey::from_multibase_point(curve(suite), text("publicKeyMultibase"));
        assert_eq!(older.as_ref(), Ok(&key));
        assert_eq!((key.curve(), key.to_string().as_str()), (curve(suite), text("publicKeyDid")));
        let content = STANDARD_NO_PAD.decode(text("messageBase64")).unwrap();
        let signature = STANDARD_NO_PAD.decode(text("signatureBase64")).unwrap();
        let result = key.verify(&content, &signature);
        let tag = vector["tags"][0].as_str();
        let expected = match tag {
            None => Ok(()),
            Some("high-s") => Err(SignatureError::HighS),
            Some("der-encoded") => Err(SignatureError::Length(signature.len())),
            Some(other) => panic!("the unknown tag {other}"),
        };
        assert_eq!(result, expected, "{}", vector["comment"]);
        assert_eq!(vector["validSignature"], result.is_ok());
        accepted += usize::from(result.is_ok());
        // The same key in a DID document of the older kind.
        let document = serde_json::json!({"id": "did:web:a.example", "verificationMethod": [{
            "id": "did:web:a.example#atproto", "type": suite,
            "publicKeyMultibase": text("publicKeyMultibase"),
        }]});
        let did = Did::parse("did:web:a.example").unwrap();
        let document = DidDocument::parse(document.to_string().as_bytes(), &did).unwrap();
        assert_eq!(document.signing_key, key);
    }
    assert_eq!((accepted, vectors.len()), (2, 6));
}

#[test]
fn did_key_vectors() {
    let Some(file) = shared_file("fixtures/interop/crypto/w3c_didkey_K256.json") else { return };
    let vectors = read_json(&file);
    assert!(!vectors.is_empty());
    for vector in &vectors {
        let seed = unhex(vector["privateKeyBytesHex"].as_str().unwrap());
        check_did_key(Curve::Secp256k1, &seed, vector["publicDidKey"].as_str().unwrap());
    }
    let file = shared_file("fixtures/interop/crypto/w3c_didkey_P256.json").unwrap();
    for vector in read_json(&file) {
        let seed = bs58::decode(vector["privateKeyBytesBase58"].as_str().unwrap());
        let did_key = vector["publicDidKey"].as_str().unwrap();
        check_did_key(Curve::P256, &seed.into_vec().unwrap(), did_key);
    }
}

fn check_did_key(curve: Curve, seed: &[u8], did_key: &str) {
    let key = SigningKey::from_seed_bytes(curve, seed.try_into().unwrap()).unwrap();
    assert_eq!(key.public().to_string(), did_key);
    assert_eq!(did_key.parse(), Ok(key.public()));
}

#[test]
fn what_is_signed_is_verified_and_any_flip_is_refused() {
    for curve in [Curve::Secp256k1, Curve::P256] {
        let key = SigningKey::from_seed_bytes(curve, &[7; 32]).unwrap();
        let other = SigningKey::from_seed_bytes(curve, &[8; 32]).unwrap();
        for content in [&b""[..], b"wing", b"beat"] {
            let signature = key.sign(content);
            assert_eq!(key.public().verify(content, &signature), Ok(()));
            assert_eq!(key.sign(content), signature);
            assert_eq!(other.public().verify(content, &signature), Err(SignatureError::Wrong));
            for bit in 0..signature.len() * 8 {
                let mut flipped = signature;
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(key.public().verify(content, &flipped).is_err());
            }
        }
        assert!(SigningKey::from_seed_bytes(curve, &[0; 32]).is_err());
        assert!(SigningKey::from_seed_bytes(curve, &[0xff; 32]).is_err());
        assert!(!format!("{key:?}").contains("0707"));
    }
}
