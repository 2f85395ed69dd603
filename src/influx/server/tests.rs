use super::{Api, Server, address, build, refusal};
use crate::config::{Config, Influx, Secret};

fn config(url: &str, token: &str) -> Influx {
    Influx {
        url: Some(Secret::new(url)),
        org: "my org".to_owned(),
        bucket: "a&b".to_owned(),
        token: Secret::new(token),
        ..Config::default().influx
    }
}

fn server(config: &Influx, version: Option<&str>) -> Server {
    let address = address(config).unwrap();
    build(config, &address, version.map(str::to_owned)).unwrap()
}

#[test]
fn each_version_has_its_own_address() {
    let check = |version: Option<&str>, api: Api, expect: &str| {
        let server = server(&config("http://h:1/proxy", ""), version);
        assert_eq!(server.api, api);
        assert_eq!(
            server.write_url.as_str(),
            format!("http://h:1/proxy/{expect}")
        );
    };
    let second = "api/v2/write?org=my+org&bucket=a%26b&precision=ns";
    check(Some("1.6.7~rc0"), Api::V1, "write?db=a%26b&precision=ns");
    check(Some("v2.7.12"), Api::V2, second);
    check(Some("2.7.12"), Api::V2, second);
    check(None, Api::V2, second);
    check(Some("Cloud"), Api::V2, second);
    check(
        Some("3.10.0"),
        Api::V3,
        "api/v3/write_lp?db=a%26b&precision=nanosecond",
    );
}

#[test]
fn each_version_has_its_own_authorization() {
    let check = |url: &str, token: &str, version: &str, expect: Option<&str>| {
        let server = server(&config(url, token), Some(version));
        let header = server.authorization.as_ref();
        assert_eq!(header.map(|value| value.to_str().unwrap()), expect);
        assert!(header.is_none_or(reqwest::header::HeaderValue::is_sensitive));
        assert!(
            !server.write_url.as_str().contains("pw"),
            "{}",
            server.write_url
        );
    };
    check("http://h", "", "1.8.10", None);
    check("http://h", "user:pw", "1.8.10", Some("Basic dXNlcjpwdw=="));
    check("http://h", "jwt", "1.8.10", Some("Bearer jwt"));
    check("http://user:pw@h", "", "1.8.10", Some("Basic dXNlcjpwdw=="));
    check(
        "http://user:p%77@h",
        "",
        "2.7.1",
        Some("Basic dXNlcjpwdw=="),
    );
    check("http://user:pw@h", "tok", "2.7.1", Some("Token tok"));
    check("http://h", "apiv3_x", "3.2.0", Some("Bearer apiv3_x"));
}

#[test]
fn a_token_that_no_header_can_carry_is_told() {
    let config = config("http://h", "a\nb");
    let address = address(&config).unwrap();
    let failure = build(&config, &address, None).unwrap_err();
    assert!(failure.why.contains("influx.token"), "{failure}");
}

#[test]
fn a_refusal_names_url_key_and_fix_but_no_secret() {
    for api in [Api::V1, Api::V2, Api::V3] {
        for status in ["400", "401", "403", "404", "405"] {
            let config = config("http://user:canary@h:1", "canary");
            let failure = refusal(&config, api, &format!("{status} why"));
            let text = failure.to_string();
            assert!(text.contains("http://user:***@h:1"), "{text}");
            assert!(text.contains("influx.") && text.contains(" why"), "{text}");
            assert!(
                !text.contains("canary") && !failure.fix.is_empty(),
                "{text}"
            );
        }
    }
}
