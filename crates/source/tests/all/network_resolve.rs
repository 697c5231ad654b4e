//! DID documents over HTTP.

use wingbeat_atproto::Did;
use wingbeat_source::network::resolve::{Documents as _, NetworkDocuments, ResolveError};

use crate::{frames::DID, network_host::Host};

#[tokio::test]
async fn documents_of_did_plc_come_from_the_directory() {
    let host = Host::start().await;
    let directory = host.address().replace("ws://", "http://") + "/";
    let documents = NetworkDocuments::new(&directory).unwrap();
    let did = Did::parse(DID).unwrap();
    let (document, asked) = tokio::join!(documents.fetch(&did), host.answer(200, b"{}"));
    assert_eq!((&document.unwrap()[..], asked), (&b"{}"[..], format!("/{DID}")));
    let (absent, _) = tokio::join!(documents.fetch(&did), host.answer(404, b""));
    assert_eq!(absent, Err(ResolveError::Absent(DID.to_owned())));
    for (status, body) in [(500, vec![]), (302, vec![]), (200, vec![b' '; 70_000])] {
        // Of a body that is too long, the end is not waited for.
        let (failed, _) = tokio::join!(documents.fetch(&did), host.answer(status, &body));
        assert!(matches!(failed, Err(ResolveError::Failed(_))), "{status} {failed:?}");
    }
}
