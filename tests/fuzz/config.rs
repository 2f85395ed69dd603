//! Configurations, whole and broken: taken or refused with the key, and a secret never shown.

use std::path::PathBuf;

use rabtrace::config::{Sources, example_toml, load};

use crate::cases::{Cases, fuzz};

const SECRET: &str = "canary-7f3a9c";
const VALUES: [&str; 11] = [
    "\"\"",
    "\"5s\"",
    "\"18446744073709551616s\"",
    "\"-1\"",
    "\"1e400GiB\"",
    "\"99999999999TiB\"",
    "\"127.0.0.1:99999\"",
    "[]",
    "{}",
    "1",
    "true",
];
/// Logins, whole and not.
const LOGINS: [&str; 6] = [
    "\"amqp://u:canary-7f3a9c@h:1/%2f\"",
    "\"http://u:canary-7f3a9c@\"",
    "\"http://u:canary-7f3a9c@h:port?x=canary-7f3a9c\"",
    "\"u:canary-7f3a9c@h:1\"",
    "\"http://u:x/y@z?canary-7f3a9c@h,http://u:canary-7f3a9c@h\"",
    "\"https://u:%zz,canary-7f3a9c@h\"",
];
const TOKENS: [&str; 3] = [
    "\"canary-7f3a9c\"",
    "\"a=canary-7f3a9c,b\"",
    "\"a=canary-7f3a9c,=canary-7f3a9c,\u{e9}=canary-7f3a9c\"",
];
/// Keys whose value holds a login.
const URLS: [&str; 5] = [
    "amqp_url",
    "management_url",
    "prometheus_urls",
    "endpoint",
    "url",
];
/// Keys whose value is a secret.
const SECRETS: [&str; 2] = ["token", "headers"];

/// The example, some of its keys set.
fn file(cases: &mut Cases) -> String {
    let mut text = String::new();
    for line in example_toml().lines() {
        let key = line
            .strip_prefix("# ")
            .and_then(|line| line.split_once(" = "));
        match key {
            Some((key, _)) if !key.contains(' ') && cases.one_in(8) => {
                let value = match key {
                    _ if cases.one_in(3) => cases.choice(&VALUES),
                    key if URLS.contains(&key) => cases.choice(&LOGINS),
                    key if SECRETS.contains(&key) => cases.choice(&TOKENS),
                    _ => cases.choice(&VALUES),
                };
                text += &format!("{key} = {value}\n");
            }
            _ => text += &format!("{line}\n"),
        }
    }
    text
}

#[test]
fn configurations_are_taken_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("rabtrace.toml");
    fuzz("config", 1_000, |cases| {
        let mut bytes = file(cases).into_bytes();
        let is_broken = cases.one_in(2);
        if is_broken {
            cases.breaks(&mut bytes);
        }
        std::fs::write(&path, &bytes).unwrap();
        let variable = cases.text(30);
        let env = |name: &str| (name.len() % 7 == 3).then(|| variable.clone());
        let with_env = cases.one_in(4);
        let loaded = load(&Sources {
            file: Some(path.clone()),
            flags: vec![(cases.text(8), cases.text(8), "--set".to_owned())]
                .into_iter()
                .filter(|_| with_env)
                .collect(),
            env: if with_env { &env } else { &|_| None },
        });
        let shown = match &loaded {
            Ok(loaded) => format!("{:?} {:?}", loaded.config, loaded.values),
            Err(errors) => format!("{errors} {errors:?}"),
        };
        // In a file that is broken a secret may stand where no secret belongs.
        assert!(is_broken || !shown.contains(SECRET), "{shown}");
        loaded.is_ok()
    });
}
