//! Both ends in memory, with certificates made here.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;

use super::*;

/// A folder with a certificate of `localhost` and its key; it goes when the test ends.
struct Identity(PathBuf);

impl Identity {
    fn new() -> Identity {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("corelane-tls-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
        fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        Identity(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn server(&self) -> TlsStream {
        let config = server_config(&self.file("cert.pem"), &self.file("key.pem")).unwrap();
        TlsStream::server(&config).unwrap()
    }

    fn client(&self, name: &'static str) -> TlsStream {
        let config = client_config(&Trust::File(self.file("cert.pem"))).unwrap();
        TlsStream::client(&config, ServerName::try_from(name).unwrap()).unwrap()
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Carry what `from` has to say to `to`, in pieces of so many bytes, and return what was said.
fn carry(from: &mut TlsStream, to: &mut TlsStream, piece: usize) -> Result<Vec<u8>, TlsError> {
    let (mut wire, mut plain) = (Vec::new(), Vec::new());
    from.output(&mut wire);
    for piece in wire.chunks(piece) {
        to.receive(piece, &mut plain)?;
    }
    Ok(plain)
}

fn shake_hands(client: &mut TlsStream, server: &mut TlsStream, piece: usize) -> Result<(), TlsError> {
    for _ in 0..4 {
        carry(client, server, piece)?;
        carry(server, client, piece)?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(())
}

#[test]
fn both_ends_hear_each_other_however_the_bytes_are_cut() {
    // Shows a handshake, words in both directions and the end, in pieces of 1, 7 and 1,460 bytes and whole.
    let identity = Identity::new();
    for piece in [1, 7, 1460, usize::MAX] {
        let (mut client, mut server) = (identity.client("localhost"), identity.server());
        // What is said before the handshake is done waits for it.
        assert_eq!(client.send(b"early"), 5);
        let mut heard = Vec::new();
        for _ in 0..4 {
            heard.extend(carry(&mut client, &mut server, piece).unwrap());
            carry(&mut server, &mut client, piece).unwrap();
        }
        assert_eq!(heard, b"early");
        assert_eq!(server.send(b"answer"), 6);
        assert_eq!(carry(&mut server, &mut client, piece).unwrap(), b"answer");
        assert_eq!(client.end(), Err(TlsError::Truncated));
        server.close();
        carry(&mut server, &mut client, piece).unwrap();
        assert_eq!((client.end(), client.is_ended()), (Ok(()), true));
        assert!(!server.is_ended() && !server.has_output());
    }
}

#[test]
fn what_waits_to_go_out_is_bounded() {
    // Shows that a sender is held back at the bound, and that everything arrives once the output is taken.
    let identity = Identity::new();
    let (mut client, mut server) = (identity.client("localhost"), identity.server());
    shake_hands(&mut client, &mut server, usize::MAX).unwrap();
    let said: Vec<u8> = (0..3 * BUFFER_MAX).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let (mut sent, mut heard) = (0, Vec::new());
    while sent < said.len() {
        let taken = server.send(&said[sent..]);
        assert!(taken > 0 && taken <= BUFFER_MAX, "{taken} bytes were taken");
        sent += taken;
        heard.extend(carry(&mut server, &mut client, 1460).unwrap());
    }
    assert!(heard == said);
}

#[test]
fn a_server_that_is_not_who_it_should_be_is_refused() {
    // Shows a wrong name and an unknown authority, that the server is told, and that `Anyone` believes both.
    let (identity, other) = (Identity::new(), Identity::new());
    for (mut client, mut server) in
        [(identity.client("elsewhere"), identity.server()), (identity.client("localhost"), other.server())]
    {
        let refused = shake_hands(&mut client, &mut server, usize::MAX);
        assert!(
            matches!(refused, Err(TlsError::Protocol(rustls::Error::InvalidCertificate(_)))),
            "{refused:?}"
        );
        let told = carry(&mut client, &mut server, usize::MAX);
        assert!(matches!(told, Err(TlsError::Protocol(rustls::Error::AlertReceived(_)))), "{told:?}");
        let config = client_config(&Trust::Anyone).unwrap();
        let mut client = TlsStream::client(&config, ServerName::try_from("elsewhere").unwrap()).unwrap();
        shake_hands(&mut client, &mut other.server(), usize::MAX).unwrap();
    }
}

#[test]
fn noise_is_refused_without_harm() {
    // Shows that what is no TLS ends the connection with an error on both sides.
    let identity = Identity::new();
    let noise = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    for mut end in [identity.server(), identity.client("localhost")] {
        let mut plain = Vec::new();
        assert!(matches!(end.receive(noise, &mut plain), Err(TlsError::Protocol(_))));
        assert_eq!((plain.len(), end.end()), (0, Err(TlsError::Truncated)));
    }
}

#[test]
fn files_that_will_not_do_are_named() {
    // Shows one line for each mistake an operator makes, with the file and the remedy in it.
    let (identity, other) = (Identity::new(), Identity::new());
    let (certificate, key, none) =
        (identity.file("cert.pem"), identity.file("key.pem"), identity.file("none.pem"));
    let empty = identity.file("empty.pem");
    fs::write(&empty, "nothing of the kind\n").unwrap();
    let broken = identity.file("broken.pem");
    fs::write(&broken, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let refusal = |certificate: &PathBuf, key: &PathBuf| {
        let error = server_config(certificate, key).err().unwrap().to_string();
        assert!(!error.contains('\n'), "{error}");
        error
    };
    assert!(refusal(&none, &key).contains("none.pem` ("));
    assert!(refusal(&certificate, &none).contains("none.pem` ("));
    assert!(refusal(&empty, &key).contains("no certificate in `"));
    assert!(refusal(&key, &key).contains("no certificate in `"));
    assert!(refusal(&certificate, &empty).contains("no private key in `"));
    assert!(refusal(&certificate, &certificate).contains("no private key in `"));
    assert!(refusal(&certificate, &other.file("key.pem")).contains("does not belong to"));
    assert!(refusal(&broken, &key).contains("broken.pem` ("));
    let trust = |file: PathBuf| client_config(&Trust::File(file)).err().map(|error| error.to_string());
    assert!(trust(none).is_some_and(|error| error.contains("none.pem` (")));
    assert!(trust(broken).is_some_and(|error| error.contains("no certificate in `")));
    assert_eq!(trust(certificate), None);
}

#[test]
fn a_session_opens_no_more_than_is_asked_for() {
    // Shows a handshake through a session, that further requests stay sealed until they are asked for, that a long
    // answer is sealed whole, and that the client is told of the end.
    let identity = Identity::new();
    let config = server_config(&identity.file("cert.pem"), &identity.file("key.pem")).unwrap();
    let mut session: Session<Vec<u8>> = Session::server(&config).unwrap();
    let mut client = identity.client("localhost");
    let said = |client: &mut TlsStream, session: &mut Session<Vec<u8>>| {
        let mut wire = Vec::new();
        client.output(&mut wire);
        wire.chunks(100).for_each(|piece| session.push(piece.to_vec()));
    };
    let mut heard = Vec::new();
    while client.is_handshaking() || session.is_handshaking() {
        said(&mut client, &mut session);
        assert_eq!(session.open_next(), Ok(None));
        if let Some(out) = session.output() {
            client.receive(&out, &mut heard).unwrap();
        }
    }
    for request in [&b"one"[..], b"two"] {
        client.send(request);
        said(&mut client, &mut session);
    }
    assert_eq!(session.open_next(), Ok(Some(Bytes::from_static(b"one"))));
    assert!(!session.is_empty());
    let body = vec![7; 300_000];
    client.receive(&session.seal(&[b"head", &body]).unwrap(), &mut heard).unwrap();
    assert!(heard.len() == 300_004 && heard.starts_with(b"head") && heard[4..] == body);
    assert_eq!((session.open_next(), session.is_empty()), (Ok(Some(Bytes::from_static(b"two"))), true));
    client.receive(&session.close().unwrap(), &mut heard).unwrap();
    assert_eq!((client.end(), session.output()), (Ok(()), None));
    // What comes after our own end is not looked at.
    session.push(b"no TLS".to_vec());
    assert_eq!(session.open_next(), Ok(None));
}
