use super::*;
use std::ffi::CString;

#[test]
fn all_names_are_known() {
    for name in NAMES.lines().filter(|name| name.starts_with("--")) {
        let word = CString::new(name).unwrap();
        let unknown = Error::new(What::ReadOption, &word, Why::NoSuchOption);
        if let Err(error) = parse([word.as_c_str()].into_iter()) {
            assert_ne!(error.cause(), unknown.cause(), "{name}");
        }
    }
}
