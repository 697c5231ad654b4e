//! The published test vectors of DRISL, CAR, CIDs and the atproto data model and syntax.

use crate::common::{read_json, shared_file, unhex};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use serde_json::Value as Json;
use wingbeat_atproto::{
    Car, Cid, Codec, Did, Nsid, RecordKey, RecordUri, Tid,
    cbor::{self, Kind, Reader, Value},
    to_json,
};

/// Reads one value into a tree, to be written again.
fn read_value<'a>(reader: &mut Reader<'a>) -> Value<'a> {
    match reader.kind().unwrap() {
        Kind::Integer => Value::Integer(reader.integer().unwrap()),
        Kind::Bytes => Value::Bytes(reader.bytes().unwrap()),
        Kind::Text => Value::Text(reader.text().unwrap()),
        Kind::Link => Value::Link(reader.link().unwrap()),
        Kind::Bool => Value::Bool(reader.bool().unwrap()),
        Kind::Float => Value::Float(reader.float().unwrap()),
        Kind::Null => {
            assert!(reader.take_null());
            Value::Null
        }
        Kind::Array => {
            let count = reader.array().unwrap();
            Value::Array((0..count).map(|_| read_value(reader)).collect())
        }
        Kind::Map => {
            let mut entries = reader.map().unwrap();
            let mut map = Vec::new();
            while let Some(key) = entries.next_checked_key(reader).unwrap() {
                map.push((key, read_value(reader)));
            }
            Value::Map(map)
        }
    }
}

fn written_again(bytes: &[u8]) -> Vec<u8> {
    read_value(&mut Reader::new(bytes)).encode().unwrap()
}

/// What is valid is accepted and written again byte for byte; what is not is refused. This
/// takes the vectors of all tags: DRISL is the strictest of the profiles that they name.
#[test]
fn dasl_cbor_vectors() {
    let Some(folder) = shared_file("fixtures/atmos/cbor/testdata/dasl-cbor") else { return };
    let (mut valid, mut invalid) = (0, 0);
    for file in std::fs::read_dir(folder).unwrap() {
        for vector in read_json(&file.unwrap().path()) {
            let bytes = unhex(vector["data"].as_str().unwrap());
            let name = &vector["name"];
            match vector["type"].as_str().unwrap() {
                "roundtrip" => {
                    assert_eq!(cbor::check(&bytes), Ok(()), "{name}");
                    assert_eq!(written_again(&bytes), bytes, "{name}");
                    valid += 1;
                }
                // What must not be written must not be read either: to read is the stronger claim
                // here, as `Value` has no words for most of these.
                "invalid_in" | "invalid_out" => {
                    assert!(cbor::check(&bytes).is_err(), "{name}");
                    invalid += 1;
                }
                other => panic!("a vector of the unknown type {other}"),
            }
        }
    }
    assert!(valid >= 20 && invalid >= 60, "{valid} valid, {invalid} invalid vectors");
}

/// The CBOR specification's own vectors: whatever is not well-formed or not canonical is refused.
#[test]
fn rfc8949_vectors_that_are_not_canonical_are_refused() {
    let Some(file) = shared_file("fixtures/atmos/cbor/testdata/rfc8949-vectors.json") else {
        return;
    };
    let mut refused = 0;
    for vector in read_json(&file) {
        let has_flag = |flag: &str| {
            vector["flags"].as_array().is_some_and(|flags| flags.iter().any(|f| f == flag))
        };
        let bytes = unhex(vector["hex"].as_str().unwrap());
        let result = cbor::check(&bytes);
        let _ = Reader::new(&bytes).skip();
        if has_flag("invalid") || !has_flag("canonical") {
            // "Canonical" is said for the profile of RFC 8949, which has short floats: some 64-bit
            // floats are canonical in DRISL only.
            let is_float64 = bytes.first() == Some(&0xfb);
            assert!(result.is_err() || is_float64, "{vector}");
            refused += usize::from(result.is_err());
        }
    }
    assert!(refused > 100, "{refused}");
}

/// The data model's vectors: CBOR, its CID, and its JSON.
#[test]
fn data_model_vectors() {
    let Some(file) = shared_file("fixtures/interop/data-model/data-model-fixtures.json") else {
        return;
    };
    for vector in read_json(&file) {
        let encoded = vector["cbor_base64"].as_str().unwrap();
        let bytes = STANDARD_NO_PAD.decode(encoded).unwrap();
        assert_eq!(cbor::check(&bytes), Ok(()));
        assert_eq!(written_again(&bytes), bytes);
        assert_eq!(Cid::of(Codec::Drisl, &bytes).to_string(), vector["cid"].as_str().unwrap());
        let json: Json = serde_json::from_str(&to_json(&bytes).unwrap()).unwrap();
        assert_eq!(json, vector["json"]);
    }
}

#[test]
fn car_vectors() {
    let Some(file) = shared_file("fixtures/atmos/car/testdata/car-file-fixtures.json") else {
        return;
    };
    for vector in read_json(&file) {
        let bytes = STANDARD_NO_PAD.decode(vector["car"].as_str().unwrap()).unwrap();
        let car = Car::parse(&bytes).unwrap();
        assert_eq!(car.root().unwrap().to_string(), vector["root"].as_str().unwrap());
        let blocks: Vec<_> = car.blocks().map(Result::unwrap).collect();
        let expected = vector["blocks"].as_array().unwrap();
        assert_eq!(blocks.len(), expected.len());
        for (block, expected) in blocks.iter().zip(expected) {
            assert_eq!(block.cid.to_string(), expected["cid"].as_str().unwrap());
            let content = STANDARD_NO_PAD.decode(expected["bytes"].as_str().unwrap()).unwrap();
            assert_eq!(block.content, content);
            assert_eq!(car.find_verified(&block.cid), Ok(&content[..]));
        }
    }
}

/// Each line of a syntax vector file that is no comment.
fn lines(path: &str) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(shared_file(path)?).unwrap();
    let is_vector = |line: &&str| !line.is_empty() && !line.starts_with('#');
    Some(text.lines().filter(is_vector).map(str::to_owned).collect())
}

fn check_syntax(name: &str, parses: impl Fn(&str) -> bool) {
    let Some(valid) = lines(&format!("fixtures/interop/syntax/{name}_syntax_valid.txt")) else {
        return;
    };
    let invalid = lines(&format!("fixtures/interop/syntax/{name}_syntax_invalid.txt")).unwrap();
    assert!(!valid.is_empty() && !invalid.is_empty());
    for line in valid {
        assert!(parses(&line), "{line:?} is valid");
    }
    for line in invalid {
        assert!(!parses(&line), "{line:?} is invalid");
    }
}

#[test]
fn syntax_vectors() {
    check_syntax("did", |text| Did::parse(text).is_ok());
    check_syntax("nsid", |text| Nsid::parse(text).is_ok());
    check_syntax("recordkey", |text| RecordKey::parse(text).is_ok());
    check_syntax("tid", |text| text.parse::<Tid>().is_ok_and(|tid| tid.to_string() == text));
}

/// Addresses of records by DID are the part of `at://` that is in use here.
#[test]
fn record_uri_vectors() {
    let Some(valid) = lines("fixtures/interop/syntax/aturi_syntax_valid.txt") else { return };
    let is_record_by_did =
        |uri: &&String| uri.starts_with("at://did:") && uri.matches('/').count() == 4;
    let mut accepted = 0;
    for uri in valid.iter().filter(is_record_by_did) {
        assert_eq!(RecordUri::parse(uri).unwrap().to_string(), *uri);
        accepted += 1;
    }
    assert!(accepted > 8, "{accepted}");
    for uri in lines("fixtures/interop/syntax/aturi_syntax_invalid.txt").unwrap() {
        assert!(RecordUri::parse(&uri).is_err(), "{uri:?}");
    }
}

/// The vectors hold CIDs of many kinds; the ones that atproto does not use are refused.
#[test]
fn cid_vectors() {
    let Some(invalid) = lines("fixtures/interop/syntax/cid_syntax_invalid.txt") else { return };
    for text in invalid {
        assert!(text.parse::<Cid>().is_err(), "{text:?}");
    }
    for text in lines("fixtures/interop/syntax/cid_syntax_valid.txt").unwrap() {
        if let Ok(cid) = text.parse::<Cid>() {
            assert_eq!(cid.to_string(), text);
        }
    }
}
