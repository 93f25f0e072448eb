//! Values out of their range.

use super::{SMALL, read_all, refused};

/// A slash of a root may be an escape, as some writers have it, and so may be any letter.
#[test]
fn roots_with_escapes() {
    for name in [r"dir:\/r\/s", r"\u0064ir\u003A/r\u002fs"] {
        let json = SMALL.replacen("dir:/r", name, 1);
        let (words, _) = read_all(json.as_bytes()).expect(name);
        assert_eq!(words[1], "dir:/r/s");
    }
    let json = SMALL.replacen("dir:/r", r"dir\u003b/r", 1);
    assert_eq!(refused(&json).0, "apps[0].image.name");
}

/// One value of the small manifest is another one.
#[test]
#[allow(clippy::too_many_lines, reason = "a line or two a case")]
fn values_out_of_their_range() {
    for (old, new, path, text) in [
        (
            "\"PodManifest\"",
            "\"ImageManifest\"",
            "acKind",
            "it is not PodManifest",
        ),
        (
            "\"0.8.11\"",
            "\"0.8\"",
            "acVersion",
            "it is no version as 0.8.11",
        ),
        (
            "\"apps\":[",
            "\"apps\":[],\"xapps\":[",
            "xapps",
            "there is no such field",
        ),
        (
            "\"a\"",
            "\"A\"",
            "apps[0].name",
            "a name has small letters and digits, and single hyphens between them",
        ),
        (
            "\"a\"",
            "\"a--b\"",
            "apps[0].name",
            "a name has small letters and digits, and single hyphens between them",
        ),
        (
            "\"a\"",
            "\"a-\"",
            "apps[0].name",
            "a name has small letters and digits, and single hyphens between them",
        ),
        ("\"a\"", "\"\"", "apps[0].name", "it is empty"),
        (
            "dir:/r",
            "example.com/r",
            "apps[0].image.name",
            "it is not dir:PATH with an absolute path: images come later",
        ),
        (
            "dir:/r",
            "dir:r",
            "apps[0].image.name",
            "it is not dir:PATH with an absolute path: images come later",
        ),
        (
            "{\"name\":\"dir:/r\"",
            "{\"name\":\"dir:/r\",\"id\":\"sha512-0\"",
            "apps[0].image.id",
            "a directory has no id: images come later",
        ),
        ("[\"/x\"]", "[]", "apps[0].app.exec", "it is empty"),
        ("[\"/x\"]", "[\"\"]", "apps[0].app.exec[0]", "it is empty"),
        (
            "[\"/x\"]",
            "[\"/x\",\"a\\u0000\"]",
            "apps[0].app.exec[1]",
            "it has a zero byte",
        ),
        (
            "[\"/x\"]",
            "[\"/x\",\"\\ud800\"]",
            "apps[0].app.exec[1]",
            "it has half a surrogate pair, which is no character",
        ),
        (
            "[\"/x\"]",
            "[\"/x\",\"---\"]",
            "apps[0].app.exec[1]",
            "--- parts programs, and can't be an argument",
        ),
        (
            "\"group\":\"0\"",
            "\"group\":\"/etc\"",
            "apps[0].app.group",
            "the owner of a file can't be named: use a name or a number",
        ),
        (
            "\"group\"",
            "\"supplementaryGIDs\":[4294967295],\"group\"",
            "apps[0].app.supplementaryGIDs[0]",
            "it is no number from 0 to 4294967294, in digits alone",
        ),
        (
            "\"group\"",
            "\"supplementaryGIDs\":[18446744073709551616],\"group\"",
            "apps[0].app.supplementaryGIDs[0]",
            "it is no number from 0 to 4294967294, in digits alone",
        ),
        (
            "\"group\"",
            "\"workingDirectory\":\"srv\",\"group\"",
            "apps[0].app.workingDirectory",
            "it is not absolute",
        ),
        (
            "\"group\"",
            "\"environment\":[{\"name\":\"A=B\",\"value\":\"\"}],\"group\"",
            "apps[0].app.environment[0].name",
            "the name of a variable has no =",
        ),
        (
            "\"group\"",
            "\"environment\":[{\"name\":\"A\",\"value\":\"\"},{\"name\":\"\\u0041\",\"value\":\"\"}],\"group\"",
            "apps[0].app.environment[1].name",
            "two variables have this name",
        ),
        (
            "\"group\"",
            "\"mountPoints\":[{\"name\":\"d\",\"path\":\"/d\"}],\"group\"",
            "apps[0].app.mountPoints[0].name",
            "there is no volume of this name",
        ),
        (
            "\"group\"",
            "\"eventHandlers\":[{\"name\":\"start\",\"exec\":[\"/x\"]}],\"group\"",
            "apps[0].app.eventHandlers[0].name",
            "it is neither pre-start nor post-stop",
        ),
        (
            "\"group\"",
            "\"ports\":[{\"name\":\"p\",\"protocol\":\"sctp\",\"port\":1}],\"group\"",
            "apps[0].app.ports[0].protocol",
            "it is neither tcp nor udp",
        ),
        (
            "\"group\"",
            "\"ports\":[{\"name\":\"p\",\"protocol\":\"tcp\",\"port\":0}],\"group\"",
            "apps[0].app.ports[0].port",
            "it is no number from 1 to 65535, in digits alone",
        ),
        (
            "\"apps\"",
            "\"volumes\":[{\"name\":\"v\",\"kind\":\"empty\"}],\"apps\"",
            "volumes[0].name",
            "no app mounts this volume",
        ),
        (
            "\"apps\"",
            "\"volumes\":[{\"name\":\"v\",\"kind\":\"disk\"}],\"apps\"",
            "volumes[0].kind",
            "it is neither host nor empty",
        ),
        (
            "\"apps\"",
            "\"volumes\":[{\"name\":\"v\",\"kind\":\"host\"}],\"apps\"",
            "volumes[0].source",
            "it is missing",
        ),
        (
            "\"apps\"",
            "\"volumes\":[{\"name\":\"v\",\"kind\":\"host\",\"source\":\"/a,b\"}],\"apps\"",
            "volumes[0].source",
            "it has a comma, which can't be mounted",
        ),
        (
            "\"apps\"",
            "\"volumes\":[{\"name\":\"v\",\"kind\":\"empty\",\"source\":\"/a\"}],\"apps\"",
            "volumes[0].source",
            "it is of host volumes only",
        ),
        (
            "\"apps\"",
            "\"volumes\":[{\"name\":\"v\",\"kind\":\"empty\",\"mode\":\"0999\"}],\"apps\"",
            "volumes[0].mode",
            "it is no octal mode from 0 to 7777, as 0755",
        ),
        (
            "\"apps\"",
            "\"volumes\":[{\"name\":\"v\",\"kind\":\"empty\",\"mode\":\"17777\"}],\"apps\"",
            "volumes[0].mode",
            "it is no octal mode from 0 to 7777, as 0755",
        ),
        (
            "\"apps\"",
            "\"volumes\":[{\"name\":\"v\",\"kind\":\"empty\",\"mode\":\"000755\"}],\"apps\"",
            "volumes[0].mode",
            "it is no octal mode from 0 to 7777, as 0755",
        ),
        (
            "\"apps\"",
            "\"ports\":[{\"name\":\"p\",\"hostPort\":80,\"hostIP\":\"localhost\"}],\"apps\"",
            "ports[0].hostIP",
            "it is no address",
        ),
    ] {
        let json = SMALL.replacen(old, new, 1);
        assert_ne!(json, SMALL);
        assert_eq!(refused(&json), (path.into(), text), "{json}");
    }
}
