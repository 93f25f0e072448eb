//! How many of something there may be, and at which byte it is told.

use super::{SMALL, read_all};

/// What is wrong with it, and what stands at that byte.
fn wrong_at(json: &str) -> (String, &'static str, &str) {
    let (path, at, text) = read_all(json.as_bytes()).expect_err(json);
    (path, text, &json[at..])
}

#[test]
fn apps_have_roots_of_their_own() {
    let apps = |count: usize| {
        let app = |number| {
            format!(
                r#"{{"name":"a{number}","image":{{"name":"dir:/r"}},"app":{{"exec":["/x"],"user":"0","group":"0"}}}}"#
            )
        };
        let apps: Vec<String> = (0..count).map(app).collect();
        let before = &SMALL[..SMALL.find("[{").unwrap()];
        format!("{before}[{}]}}", apps.join(","))
    };
    assert!(read_all(apps(32).as_bytes()).is_ok());
    let json = apps(33);
    let (path, text, rest) = wrong_at(&json);
    assert_eq!((path.as_str(), text), ("apps[32]", "there may be 32 apps"));
    assert!(rest.starts_with("{\"name\":\"a32\""), "{rest}");
}

/// Those of the pod and of its apps together.
#[test]
fn empty_volumes() {
    let volumes = |count: usize| {
        let volume = |number| format!(r#"{{"name":"v{number}","kind":"empty"}}"#);
        let mount = |number| format!(r#"{{"volume":"v{number}","path":"/v{number}"}}"#);
        let volumes: Vec<String> = (0..count).map(volume).collect();
        let mounts: Vec<String> = (0..count).map(mount).collect();
        let own =
            r#"{"volume":"own","path":"/own","appVolume":{"name":"own","kind":"empty","uid":7}}"#;
        SMALL
            .replace(
                "\"apps\"",
                &format!("\"volumes\":[{}],\"apps\"", volumes.join(",")),
            )
            .replace(
                "\"app\"",
                &format!("\"mounts\":[{},{own}],\"app\"", mounts.join(",")),
            )
    };
    let (words, _) = read_all(volumes(16).as_bytes()).unwrap();
    let empty = words.iter().filter(|word| word.contains("kind=empty"));
    assert_eq!(empty.count(), 17);
    let text = "there may be 17 empty volumes";
    let json = volumes(17);
    let (path, found, rest) = wrong_at(&json);
    assert_eq!(
        (path.as_str(), found),
        ("apps[0].mounts[17].appVolume.kind", text)
    );
    assert!(rest.starts_with("\"empty\",\"uid\""), "{rest}");
    let json = volumes(18);
    let (path, found, rest) = wrong_at(&json);
    assert_eq!((path.as_str(), found), ("volumes[17].kind", text));
    assert!(rest.starts_with("\"empty\"}]"), "{rest}");
}
