//! Which listeners an agent starts with.

use crate::support::{output, rabtrace};

/// Whether an agent with these keys is refused, and why.
fn refused(sets: &[&str]) -> Option<String> {
    let mut command = rabtrace();
    command.args(["config", "show"]);
    for set in sets {
        command.args(["--set", set]);
    }
    let (code, _, errors) = output(&mut command);
    assert!([0, 2].contains(&code), "{errors}");
    (code == 2).then_some(errors)
}

#[test]
fn off_loopback_wants_a_token_and_tls_of_every_listener() {
    let listeners = [
        ("receiver.grpc_listen", "receiver.token"),
        ("receiver.http_listen", "receiver.token"),
        ("api.listen", "api.token"),
    ];
    let tls = ["tls.certificate_file=/c", "tls.key_file=/k"];
    for (listener, token) in listeners {
        for address in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1"] {
            let listen = format!("{listener}={address}");
            let given = format!("{token}=secret");
            let told = refused(&[&listen]).unwrap();
            assert!(
                told.contains("2 mistakes") && told.contains(listener),
                "{told}"
            );
            let told = refused(&[&listen, &given]).unwrap();
            assert!(
                told.contains("1 mistake") && told.contains("allow_plaintext"),
                "{told}"
            );
            let told = refused(&[&listen, tls[0], tls[1]]).unwrap();
            assert!(told.contains("1 mistake") && told.contains(token), "{told}");
            let told = refused(&[&listen, "tls.allow_plaintext=true"]).unwrap();
            assert!(told.contains("1 mistake") && told.contains(token), "{told}");
            assert_eq!(refused(&[&listen, &given, tls[0], tls[1]]), None);
            assert_eq!(
                refused(&[&listen, &given, "tls.allow_plaintext=true"]),
                None
            );
        }
        assert_eq!(refused(&[&format!("{listener}=127.0.0.1:1")]), None);
        assert_eq!(refused(&[&format!("{listener}=[::1]:1")]), None);
    }
    let other = "api.token=secret";
    let told = refused(&["receiver.http_listen=0.0.0.0:1", other]).unwrap();
    assert!(
        told.contains("receiver.token"),
        "another listener's token: {told}"
    );
}

/// What `config show` refuses the agent does not start with, and nothing was made of it.
#[test]
fn an_agent_off_loopback_without_token_and_tls_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    for listener in ["receiver.grpc_listen", "receiver.http_listen", "api.listen"] {
        let mut command = rabtrace();
        command.arg("agent");
        command.args(["--set", &format!("{listener}=0.0.0.0:0")]);
        command.args(["--set", &format!("store.folder={}", store.display())]);
        let (code, _, errors) = output(&mut command);
        assert_eq!(code, 2, "{errors}");
        let told = errors.contains("2 mistakes") && errors.contains(listener);
        assert!(told && !store.exists(), "{errors}");
    }
}

#[test]
fn half_a_pair_is_a_mistake() {
    for (key, missing) in [
        ("tls.certificate_file", "tls.key_file"),
        ("tls.key_file", "tls.certificate_file"),
        ("broker.client_key_file", "broker.client_certificate_file"),
        ("influx.client_certificate_file", "influx.client_key_file"),
        ("forward.client_key_file", "forward.client_certificate_file"),
    ] {
        let told = refused(&[&format!("{key}=/x")]).unwrap();
        assert!(told.contains(key) && told.contains(missing), "{told}");
    }
}

#[test]
fn files_that_cannot_be_used_are_told_all_at_once_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let empty = crate::authority::write(folder.path(), "empty.pem", "");
    let mut command = rabtrace();
    command.arg("agent");
    for set in [
        format!("tls.certificate_file={empty}"),
        format!("tls.key_file={empty}"),
        "broker.ca_file=/nowhere.pem".to_owned(),
        format!("forward.ca_file={empty}"),
        format!("store.folder={}", folder.path().join("store").display()),
    ] {
        command.args(["--set", &set]);
    }
    let (code, _, errors) = output(&mut command);
    assert_eq!(code, 2, "{errors}");
    for part in [
        "3 mistakes",
        "tls.certificate_file",
        "holds no certificate",
        "/nowhere.pem",
        "forward.ca_file",
    ] {
        assert!(errors.contains(part), "{part} is not in {errors}");
    }
    assert!(!folder.path().join("store").exists());
}
