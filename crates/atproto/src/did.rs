//! DID documents: the key that signs an account's commits, its handle, and where it is hosted.
//! <https://atproto.com/specs/did#did-documents>

use serde_json::Value as Json;

use crate::{
    signature::{Curve, KeyError, PublicKey},
    syntax::{Did, Handle},
};

/// The longest document that is accepted, in bytes. Real ones have some 1,000; the directory of
/// `did:plc` takes operations of up to 7,500.
pub const DID_DOCUMENT_BYTES_MAX: usize = 65_536;

/// The longest address of a server that is accepted, in bytes: a scheme, a domain name of 253 and
/// a port, with some room.
const ENDPOINT_BYTES_MAX: usize = 300;

/// What atproto wants to know of a DID document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DidDocument {
    /// The account.
    pub did: String,
    /// The key that its commits are signed with.
    pub signing_key: PublicKey,
    /// The handle that the account claims. It is its own only when its domain says the same.
    pub handle: Option<String>,
    /// Where its repository is hosted: scheme, host and port, such as `https://pds.example`.
    pub pds: Option<String>,
}

/// Why a DID document is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DidDocumentError {
    /// Longer than [`DID_DOCUMENT_BYTES_MAX`].
    #[error("a DID document of {0} bytes, but at most {DID_DOCUMENT_BYTES_MAX} are allowed")]
    TooLarge(usize),
    /// It is not JSON.
    #[error("the DID document is not JSON: {0}")]
    Json(String),
    /// Its `id` is not the DID that it was asked for.
    #[error("the DID document is that of another DID")]
    OtherDid,
    /// It has no verification method `#atproto`, or the method has no key.
    #[error("the DID document has no key under `#atproto`")]
    NoKey,
    /// Its verification method has another type than `Multikey` and the two older ones.
    #[error("the DID document has a key of a type that is not in use")]
    KeyType,
    /// Its key is none.
    #[error("the key of the DID document: {0}")]
    Key(#[from] KeyError),
}

impl DidDocument {
    /// Reads the document of an account. A handle or an address that is malformed counts as
    /// absent, as nothing depends on them; without a key there is no document.
    pub fn parse(json: &[u8], did: &Did<'_>) -> Result<Self, DidDocumentError> {
        if json.len() > DID_DOCUMENT_BYTES_MAX {
            return Err(DidDocumentError::TooLarge(json.len()));
        }
        let document: Json = serde_json::from_slice(json)
            .map_err(|error| DidDocumentError::Json(error.to_string()))?;
        let did = did.as_str();
        if document["id"].as_str() != Some(did) {
            return Err(DidDocumentError::OtherDid);
        }
        Ok(Self {
            did: did.to_owned(),
            signing_key: signing_key(&document, did)?,
            handle: handle(&document),
            pds: pds(&document, did),
        })
    }
}

/// The elements of a list; none where there is no list.
fn elements<'a>(document: &'a Json, list: &str) -> impl Iterator<Item = &'a Json> {
    document[list].as_array().into_iter().flatten()
}

/// Whether the element has this id, which may stand with or without the DID before it.
fn has_id(element: &Json, did: &str, fragment: &str) -> bool {
    element["id"].as_str().is_some_and(|id| id.strip_prefix(did).unwrap_or(id) == fragment)
}

fn signing_key(document: &Json, did: &str) -> Result<PublicKey, DidDocumentError> {
    let method = elements(document, "verificationMethod")
        .find(|method| has_id(method, did, "#atproto"))
        .ok_or(DidDocumentError::NoKey)?;
    let text = method["publicKeyMultibase"].as_str().ok_or(DidDocumentError::NoKey)?;
    let key = match method["type"].as_str() {
        Some("Multikey") => PublicKey::from_multikey(text),
        Some("EcdsaSecp256k1VerificationKey2019") => {
            PublicKey::from_multibase_point(Curve::Secp256k1, text)
        }
        Some("EcdsaSecp256r1VerificationKey2019") => {
            PublicKey::from_multibase_point(Curve::P256, text)
        }
        _ => return Err(DidDocumentError::KeyType),
    };
    Ok(key?)
}

/// The first address that is a handle.
fn handle(document: &Json) -> Option<String> {
    elements(document, "alsoKnownAs").find_map(|name| {
        let handle = Handle::parse(name.as_str()?.strip_prefix("at://")?).ok()?;
        Some(handle.as_str().to_ascii_lowercase())
    })
}

fn pds(document: &Json, did: &str) -> Option<String> {
    let service = elements(document, "service").find(|service| {
        has_id(service, did, "#atproto_pds")
            && service["type"].as_str() == Some("AtprotoPersonalDataServer")
    })?;
    let endpoint = service["serviceEndpoint"].as_str()?;
    let endpoint = endpoint.strip_suffix('/').unwrap_or(endpoint);
    // `http` is for test networks; whether it is allowed is for whoever connects.
    let host = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"))?;
    let is_host = !host.is_empty()
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b));
    (is_host && endpoint.len() <= ENDPOINT_BYTES_MAX).then(|| endpoint.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DID: &str = "did:web:a.example";
    const MULTIKEY: &str = "zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc";

    fn parse(document: &Json) -> Result<DidDocument, DidDocumentError> {
        DidDocument::parse(document.to_string().as_bytes(), &Did::parse(DID).unwrap())
    }

    fn document() -> Json {
        json!({
            "id": DID,
            "alsoKnownAs": ["https://a.example", "at://not a handle", "at://A.example"],
            "verificationMethod": [
                {"id": "#other", "type": "Multikey", "publicKeyMultibase": "z"},
                {"id": "#atproto", "type": "Multikey", "publicKeyMultibase": MULTIKEY},
            ],
            "service": [
                {"id": "#chat", "type": "Chat", "serviceEndpoint": {"not": "a text"}},
                {
                    "id": format!("{DID}#atproto_pds"),
                    "type": "AtprotoPersonalDataServer",
                    "serviceEndpoint": "https://pds.example:8443/",
                },
            ],
        })
    }

    #[test]
    fn a_document_gives_key_handle_and_host() {
        let parsed = parse(&document()).unwrap();
        assert_eq!(parsed.signing_key.to_multikey(), MULTIKEY);
        assert_eq!(parsed.handle.as_deref(), Some("a.example"));
        assert_eq!(parsed.pds.as_deref(), Some("https://pds.example:8443"));
    }

    #[test]
    fn a_document_without_a_usable_key_is_refused() {
        let with = |pointer: &str, value: Json| {
            let mut document = document();
            *document.pointer_mut(pointer).unwrap() = value;
            parse(&document).unwrap_err()
        };
        assert_eq!(with("/id", json!("did:web:b.example")), DidDocumentError::OtherDid);
        assert_eq!(with("/verificationMethod", json!({})), DidDocumentError::NoKey);
        assert_eq!(with("/verificationMethod/1/id", json!(["#atproto"])), DidDocumentError::NoKey);
        let kind = "/verificationMethod/1/type";
        assert_eq!(with(kind, json!("JsonWebKey2020")), DidDocumentError::KeyType);
        let key = "/verificationMethod/1/publicKeyMultibase";
        assert_eq!(with(key, json!(7)), DidDocumentError::NoKey);
        for (text, error) in [
            (String::new(), KeyError::Multibase),
            ("zQ0".into(), KeyError::Multibase),
            // An Ed25519 key.
            ("z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK".into(), KeyError::Kind),
            (MULTIKEY[..40].into(), KeyError::Kind),
            (format!("z{}", "Q".repeat(200)), KeyError::TooLong(201)),
        ] {
            assert_eq!(with(key, json!(text)), DidDocumentError::Key(error), "{text}");
        }
        let did = Did::parse(DID).unwrap();
        let large = vec![b' '; DID_DOCUMENT_BYTES_MAX + 1];
        assert_eq!(DidDocument::parse(&large, &did), Err(DidDocumentError::TooLarge(large.len())));
        let deep = "[".repeat(10_000);
        assert!(matches!(
            DidDocument::parse(deep.as_bytes(), &did),
            Err(DidDocumentError::Json(_))
        ));
    }

    #[test]
    fn an_address_that_is_no_host_counts_as_absent() {
        for endpoint in
            ["ftp://a", "https://", "https://a/path", "https://u:p@a", "https://a?q", "a"]
        {
            let mut document = document();
            document["service"][1]["serviceEndpoint"] = json!(endpoint);
            assert_eq!(parse(&document).unwrap().pds, None, "{endpoint}");
        }
    }
}
